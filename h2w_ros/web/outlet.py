"""One stream of pictures to one browser: the newest picture wins, and nobody waits for a slow line."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Awaitable, Callable, Mapping

from h2w_ros.condition import Image
from h2w_ros.web.encoders import ENCODERS, LADDER, Codec, Encoder

MAX_UNACKNOWLEDGED = 2
"""Pictures under way at once: enough to hide the line's delay, too few to pile up in it."""
SLOW_S, FAST_S = 0.25, 0.1
"""A picture that takes longer than the first asks for a lower quality; so many below the second in a row allow a higher one."""
FAST_IN_A_ROW = 48
STUCK_S = 1.0
SMOOTHING = 0.2
HEADER = "<I"
"""Length of the JSON text between it and the picture's bytes."""

Send = Callable[[bytes], Awaitable[None]]
Facts = Mapping[str, object]


class Outlet:
    """Takes pictures at any rate; sends what the line bears. One per browser and stream."""

    def __init__(self, stream: str, send: Send, codec: Codec = "jpeg") -> None:
        self.stream = stream
        self.num_offered, self.num_sent, self.level = 0, 0, 0
        self.round_trip_s = 0.0
        self._send = send
        self._newest: tuple[Image, Facts] | None = None
        self._sent_s: dict[int, float] = {}
        self._num_fast = 0
        self._changed = asyncio.Event()
        self.use(codec)

    def use(self, codec: Codec) -> None:
        """Another codec from the next picture on."""
        self.codec = codec
        self._encoder: Encoder = ENCODERS[codec](LADDER[self.level])

    def offer(self, picture: Image, facts: Facts) -> None:
        """A picture to show, instead of one that still waits."""
        self.num_offered += 1
        self._newest = (picture, facts)
        self._changed.set()

    def acknowledge(self, number: int) -> None:
        """The browser has shown this picture, and with it all before."""
        sent_s = self._sent_s.get(number)
        if sent_s is None:
            return
        for earlier in [one for one in self._sent_s if one <= number]:
            del self._sent_s[earlier]
        self._judge(time.monotonic() - sent_s)
        self._changed.set()

    @property
    def is_stuck(self) -> bool:
        """Whether the browser has not taken anything for a while: nobody needs to make more."""
        return len(self._sent_s) >= MAX_UNACKNOWLEDGED and time.monotonic() - max(self._sent_s.values()) > STUCK_S

    @property
    def line_ms(self) -> float:
        """How long a picture is under way to the browser and onto its screen."""
        return round(500.0 * self.round_trip_s, 1)

    async def run(self) -> None:
        """Sends until it is cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._newest is None or len(self._sent_s) >= MAX_UNACKNOWLEDGED:
                continue
            (picture, facts), self._newest = self._newest, None
            encoded = await asyncio.to_thread(self._encoder.encode, picture)
            self.num_sent += 1
            self._sent_s[self.num_sent] = time.monotonic()
            about = {"stream": self.stream, "number": self.num_sent, "codec": encoded.codec, "key": encoded.is_key, "line_ms": self.line_ms, **facts}
            await self._send(packed(about, encoded.data))

    def _judge(self, round_trip_s: float) -> None:
        """Goes down the ladder at once, up only after a while: a picture that changes its sharpness all the time is the worst."""
        self.round_trip_s += (SMOOTHING if self.round_trip_s else 1.0) * (round_trip_s - self.round_trip_s)
        self._num_fast = self._num_fast + 1 if round_trip_s < FAST_S else 0
        if self.round_trip_s > SLOW_S and self.level < len(LADDER) - 1:
            self._change_level(1)
        elif self._num_fast >= FAST_IN_A_ROW and self.level > 0:
            self._change_level(-1)

    def _change_level(self, step: int) -> None:
        self.level, self._num_fast, self.round_trip_s = self.level + step, 0, 0.0
        self.use(self.codec)


def packed(about: Facts, data: bytes) -> bytes:
    """One message: the JSON text's length, the text, the picture."""
    text = json.dumps(about).encode()
    return struct.pack(HEADER, len(text)) + text + data
