"""Which inputs a node waits for, and what follows from the silence of each."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass
class _Input:
    consequence: str
    heard_s: float | None = None


class Hearing:
    """Notes when each input was last heard; an input that was quiet for `stale_after_s` is stale."""

    def __init__(self, stale_after_s: float) -> None:
        self.stale_after_s = stale_after_s
        self._began_s = time.monotonic()
        self._inputs: dict[str, _Input] = {}

    def expect(self, name: str, consequence: str) -> None:
        """From now on this input's silence has this consequence."""
        self._inputs[name] = _Input(consequence)

    def forget(self, name: str) -> None:
        """Nobody waits for this input any more."""
        self._inputs.pop(name, None)

    def heard(self, name: str) -> None:
        """The input has just said something."""
        if name in self._inputs:
            self._inputs[name].heard_s = time.monotonic()

    def stale(self) -> dict[str, str]:
        """Inputs that are silent at present, each with a sentence for people."""
        texts = {name: self._text(name, state) for name, state in self._inputs.items()}
        return {name: text for name, text in texts.items() if text}

    def _text(self, name: str, state: _Input) -> str:
        quiet_s = time.monotonic() - (self._began_s if state.heard_s is None else state.heard_s)
        if quiet_s < self.stale_after_s:
            return ""
        since = "nothing yet on" if state.heard_s is None else f"stale, nothing for {quiet_s:.0f} s on"
        return f"{since} {name}: {state.consequence}"
