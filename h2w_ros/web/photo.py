"""Reach into a photo: one visitor's hand, one session, round and round."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from h2w_ros.condition import Condition, Image
from h2w_ros.web.generator_process import Begin, End, GeneratorGoneError, GeneratorProcess, Push
from h2w_ros.web.outlet import Facts
from h2w_ros.web.puppet import Puppet, Wish, followed
from h2w_ros.web.scenes import Scene
from h2w_ros.web.skeleton import skeletons
from h2w_ros.web.words import Hand

REST_AFTER_S = 30.0
"""A hand that nobody has moved for so long costs no more computing."""
RETRY_S = 0.5
STUCK_POLL_S = 0.1
MOST_ASKED = 2
"""Moments that may wait for an answer: while the network answers one, the next is drawn."""

Show = Callable[[Image, Facts], None]
Say = Callable[[str, str], None]
"""Told of every change: the phase (`running`, `paused`, `resting`, `error`) and what to tell the visitor."""


class PhotoLoop:
    """The closed loop of one visitor. All methods are called on the event loop.

    While `is_stuck` says that pictures are not taken, none are made: the generator's turns belong to those who look.
    """

    def __init__(self, generator: GeneratorProcess, visitor: str, show: Show, say: Say, is_stuck: Callable[[], bool]) -> None:
        self._generator, self._visitor, self._show, self._say, self._is_stuck = generator, visitor, show, say, is_stuck
        self._phase_told = ("", "")
        self._changed = asyncio.Event()
        self.is_paused = False
        self.puppet: Puppet | None = None
        self._needs_begin = False
        self._next_s = 0.0
        self._asked: deque[asyncio.Task[None]] = deque()

    def choose(self, scene: Scene, seed: int) -> Wish:
        """Begins in a scene; where its hand is."""
        self._scene, self._seed = scene, seed
        self.puppet = Puppet(scene)
        return self.reset(seed)

    def reset(self, seed: int) -> Wish:
        """Begins the scene anew; where its hand is."""
        if self.puppet is None:
            raise ValueError("choose a scene first")
        self._seed, self._needs_begin = seed, True
        self._now = self._goal = self.puppet.start
        self._sent_ms: float | None = None
        self.is_paused = False
        self._wake()
        return self.puppet.start

    def move(self, hand: Hand) -> None:
        """Where the hand should go from now on."""
        self._goal, self._sent_ms = hand.wish, hand.sent_ms
        self._wake()

    def pause(self, is_paused: bool) -> None:
        """Stops, or goes on."""
        self.is_paused = is_paused
        self._wake()

    async def run(self) -> None:
        """Goes on until it is cancelled; a generator that dies is waited for."""
        try:
            while True:
                await self._turn()
        finally:
            await self._give_up()
            await self._leave()

    async def _turn(self) -> None:
        try:
            await self._wait_for_work()
            await self._step()
        except (GeneratorGoneError, ValueError) as error:
            self._needs_begin = True
            await self._give_up()
            self._tell("error", str(error))
            await asyncio.sleep(RETRY_S)

    async def _wait_for_work(self) -> None:
        while self.puppet is None or self.is_paused or self._rests:
            if self._asked:
                await self._answered(down_to=0)
                continue  # meanwhile the visitor may have changed everything
            if self.puppet is not None:
                self._tell("paused" if self.is_paused else "resting", "")
            self._changed.clear()
            await self._changed.wait()
        while self._is_stuck():
            await asyncio.sleep(STUCK_POLL_S)

    @property
    def _rests(self) -> bool:
        return not self._needs_begin and time.monotonic() - self._touched_s > REST_AFTER_S

    def _wake(self) -> None:
        self._touched_s = time.monotonic()
        self._changed.set()

    async def _step(self) -> None:
        """One moment: the hand moves on, the generator answers, the clock is kept; what a slow generator has lost is not made up for."""
        if self._needs_begin:
            await self._answered(down_to=0)
            await self._begin()
        else:
            self._asked.append(asyncio.create_task(self._push()))
            await self._answered(down_to=MOST_ASKED - 1)
        now_s = time.monotonic()
        self._next_s = max(self._next_s + 1.0 / self._rate_hz, now_s)
        await asyncio.sleep(self._next_s - now_s)

    async def _answered(self, down_to: int) -> None:
        """Waits until no more than so many moments are without an answer."""
        while len(self._asked) > down_to or (self._asked and self._asked[0].done()):
            await self._asked.popleft()

    async def _give_up(self) -> None:
        """Waits for nothing any more."""
        for task in self._asked:
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)
        self._asked.clear()

    @property
    def _rate_hz(self) -> float:
        return 16.0 if self._generator.info is None else self._generator.info.rate_hz

    async def _begin(self) -> None:
        scene = self._scene
        self._index, self._needs_begin, self._touched_s = 0, False, time.monotonic()
        pictures = await self._generator.ask(Begin(self._visitor, scene.condition, scene.table_height_m, self._seed))
        if scene is self._scene and not self._needs_begin:
            self._give(pictures, 0, scene.condition, None)

    async def _push(self) -> None:
        self._index += 1
        self._now = followed(self._now, self._goal, 1.0 / self._rate_hz)
        sent_ms, self._sent_ms = self._sent_ms, None
        scene, index, condition = self._scene, self._index, self._condition()
        pictures = await self._generator.ask(Push(self._visitor, condition))
        if scene is self._scene and not self._needs_begin:
            self._give(pictures, index, condition, sent_ms)

    def _condition(self) -> Condition:
        """This moment, numbers only: the hand where it is now, the others where the photo shows them."""
        if self.puppet is None:
            raise ValueError("choose a scene first")
        photo, moved = self._scene.condition, self.puppet.hand(self._now)
        hands = tuple(moved if hand.side == moved.side else hand for hand in photo.hands)
        stamp_ns = photo.stamp_ns + round(self._index * 1e9 / self._rate_hz)
        return replace(photo.without_pictures(), stamp_ns=stamp_ns, hands=hands)

    def _give(self, pictures: tuple[Image, ...], index: int, condition: Condition, sent_ms: float | None) -> None:
        """Shows what came back; where the hand of this moment is goes with the newest."""
        self._tell("running", "")
        if not pictures:
            return
        hands = skeletons([hand for hand in condition.hands if hand.side == self._scene.side], condition.camera, condition.T_world_camera)
        self._show(pictures[-1], {"index": index, "sent_ms": sent_ms, "hands": hands})

    def _tell(self, phase: str, text: str) -> None:
        if (phase, text) != self._phase_told:
            self._phase_told = (phase, text)
            self._say(phase, text)

    async def _leave(self) -> None:
        try:
            await asyncio.shield(self._generator.ask(End(self._visitor)))
        except (GeneratorGoneError, asyncio.CancelledError):
            return
