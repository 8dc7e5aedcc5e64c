"""Both hands at common moments, though trackers send them one by one.

A message without the left hand says that it is not seen. So a hand that comes alone waits for the other one, which is
then interpolated to its moment: nothing is held over, nothing extrapolated.
"""

from __future__ import annotations

from dataclasses import dataclass

from h2w_ros.condition import HandPose, Side
from h2w_ros.timeline import interpolate_hand


@dataclass(frozen=True)
class HandsMoment:
    """The hands that are known at one moment."""

    stamp_ns: int
    hands: tuple[HandPose, ...]


@dataclass(frozen=True)
class _Timed:
    stamp_ns: int
    hand: HandPose


class HandPairing:
    """Hands of either side in, in the order of each side's stamps; moments out, in the order of theirs."""

    def __init__(self, patience_ns: int) -> None:
        if patience_ns < 0:
            raise ValueError(f"patience_ns must not be negative, got {patience_ns}")
        self._patience_ns = patience_ns
        self.reset()

    def reset(self) -> None:
        """Forgets both hands."""
        self._latest: dict[Side, _Timed] = {}
        self._given_ns: int | None = None

    def add(self, stamp_ns: int, hand: HandPose) -> HandsMoment | None:
        """The moment that this hand completes: the other hand's last one, or its own where the other is not seen at present."""
        before, new = self._latest.get(hand.side), _Timed(stamp_ns, hand)
        if before is not None and stamp_ns <= before.stamp_ns:
            self.reset()  # a recording began anew
            before = None
        self._latest[hand.side] = new
        other = self._latest.get("left" if hand.side == "right" else "right")
        if other is None or abs(stamp_ns - other.stamp_ns) > self._patience_ns:
            return self._given(stamp_ns, (hand,))
        if other.stamp_ns == stamp_ns:
            return self._given(stamp_ns, (other.hand, hand))
        if other.stamp_ns > stamp_ns or before is None or before.stamp_ns > other.stamp_ns:
            return None
        fraction = (other.stamp_ns - before.stamp_ns) / (stamp_ns - before.stamp_ns)
        return self._given(other.stamp_ns, (other.hand, interpolate_hand(before.hand, hand, fraction)))

    def lost(self, stamp_ns: int, side: Side) -> HandsMoment | None:
        """A hand is not seen now: the other need not wait for it, and where that one is not seen either, no hand is known."""
        self._latest.pop(side, None)
        other = next(iter(self._latest.values()), None)
        if other is not None and abs(stamp_ns - other.stamp_ns) <= self._patience_ns:
            return None
        return self._given(stamp_ns, ())

    def _given(self, stamp_ns: int, hands: tuple[HandPose, ...]) -> HandsMoment | None:
        if self._given_ns is not None and stamp_ns <= self._given_ns:
            return None
        self._given_ns = stamp_ns
        return HandsMoment(stamp_ns, tuple(sorted(hands, key=lambda hand: hand.side)))
