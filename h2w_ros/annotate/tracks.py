"""Which sightings are one hand over time, which side it is, and which hands are the wearer's.

Detectors judge every picture alone: sides flip, a hand is seen twice, somebody else's hand is a hand too. Over time a hand
votes for its side, and of two hands of one side only one can be the wearer's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from h2w_ros.annotate.sighting import HandSighting, Sightings, distance
from h2w_ros.condition import Side

NS_PER_S = 1e9
FAR = 1e6


@dataclass(frozen=True)
class TrackConfig:
    """How sightings become hands.

    `longest_gap_s`: a hand that is not seen for longer is not filled in. `farthest`: a hand moves at most so many of its
    sizes from one sighting to the next. `least_frames`: hands seen in fewer frames are flickers. `same_hand`: two sightings
    nearer than this, in sizes of the hand, are one. `sure_side`: a hand whose votes agree by less than this share may be the other side.
    `other_side`: what a sighting of the other side, surely so, costs in sizes of the hand: sides flip in single pictures, hands do not.
    """

    longest_gap_s: float = 0.3
    farthest: float = 0.8
    least_frames: int = 4
    same_hand: float = 0.25
    sure_side: float = 0.6
    other_side: float = 0.5

    def __post_init__(self) -> None:
        for name in ("longest_gap_s", "farthest", "same_hand"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.least_frames < 2:
            raise ValueError(f"least_frames must be at least 2, got {self.least_frames}")
        if not 0.0 <= self.sure_side <= 1.0 or self.other_side < 0.0:
            raise ValueError(f"sure_side must be in [0, 1] and other_side not negative, got {self.sure_side} and {self.other_side}")


@dataclass(eq=False)
class Track:
    """One hand over time: its sightings by frame."""

    sightings: dict[int, HandSighting] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """The first frame."""
        return min(self.sightings)

    @property
    def last(self) -> int:
        """The last frame."""
        return max(self.sightings)

    @property
    def right_share(self) -> float:
        """Votes for the right side, from -1 (left, all sure) to 1."""
        votes = [(1.0 if seen.side == "right" else -1.0) * seen.side_confidence for seen in self.sightings.values()]
        return float(np.mean(votes))

    @property
    def side(self) -> Side:
        """What most votes say."""
        return "right" if self.right_share > 0.0 else "left"

    @property
    def presence(self) -> float:
        """How much of a hand this is: its sizes in the picture, as sure as they are, over all frames. The wearer's hands are near and stay."""
        return float(sum(seen.confidence * seen.size_px for seen in self.sightings.values()))


@dataclass(frozen=True, eq=False)
class SidedTrack:
    """A track whose side is settled."""

    side: Side
    sightings: Mapping[int, HandSighting]


@dataclass(frozen=True, eq=False)
class Tracks:
    """The wearer's hands, and what was left out, by reason, in sightings."""

    hands: tuple[SidedTrack, ...]
    dropped: Mapping[str, int]


def follow(frames: Sequence[Sightings], stamps_ns: Sequence[int], config: TrackConfig, dropped: Counter[str]) -> list[Track]:
    """Joins sightings of successive frames that are one hand."""
    tracks: list[Track] = []
    for frame, sightings in enumerate(frames):
        seen = _once(sightings, config.same_hand, dropped)
        alive = [track for track in tracks if stamps_ns[frame] - stamps_ns[track.last] <= config.longest_gap_s * NS_PER_S]
        costs = np.array([[_cost(track, sighting, config) for sighting in seen] for track in alive]).reshape(len(alive), len(seen))
        taken = set()
        for row, column in zip(*linear_sum_assignment(np.minimum(costs, FAR)), strict=True):
            missed = frame - alive[row].last
            if costs[row, column] <= config.farthest * np.sqrt(missed):
                alive[row].sightings[frame] = seen[column]
                taken.add(int(column))
        tracks += [Track({frame: sighting}) for index, sighting in enumerate(seen) if index not in taken]
    return tracks


def _cost(track: Track, sighting: HandSighting, config: TrackConfig) -> float:
    """How far a hand would have moved, and more where the sighting is of the other side: one hand goes and the other comes at the same place."""
    doubt = sighting.side_confidence * abs(track.right_share) if sighting.side != track.side else 0.0
    return distance(track.sightings[track.last], sighting) + config.other_side * doubt


def settle(tracks: Sequence[Track], config: TrackConfig, dropped: Counter[str]) -> Tracks:
    """Gives every track its side; where two claim a side at the same time the greater presence keeps it.

    The other one becomes the other side when its own votes left that open and the side is free; else it is left out:
    it is somebody else's.
    """
    owners: dict[Side, dict[int, SidedTrack]] = {"left": {}, "right": {}}
    hands: list[SidedTrack] = []
    for track in sorted(tracks, key=lambda track: -track.presence):
        if len(track.sightings) < config.least_frames:
            dropped["seen too briefly"] += len(track.sightings)
            continue
        side = _free_side(track, owners, config)
        if side is None:
            dropped["another hand of the same side"] += len(track.sightings)
            continue
        free = {frame: seen for frame, seen in track.sightings.items() if frame not in owners[side]}
        dropped["another hand of the same side"] += len(track.sightings) - len(free)
        dropped["side corrected"] += sum(seen.side != side for seen in free.values())
        hands.append(SidedTrack(side, dict(sorted(free.items()))))
        owners[side].update(dict.fromkeys(range(min(free), max(free) + 1), hands[-1]))
    return Tracks(tuple(hands), {reason: count for reason, count in dropped.items() if count})


def _free_side(track: Track, owners: Mapping[Side, Mapping[int, SidedTrack]], config: TrackConfig) -> Side | None:
    """The side that is nobody else's for most of the track's frames; its own first."""
    other: Side = "left" if track.side == "right" else "right"
    candidates: tuple[Side, ...] = (track.side, other) if abs(track.right_share) < config.sure_side else (track.side,)
    for side in candidates:
        if sum(frame in owners[side] for frame in track.sightings) < 0.5 * len(track.sightings):
            return side
    return None


def _once(sightings: Sightings, same_hand: float, dropped: Counter[str]) -> list[HandSighting]:
    """Every hand once, the surest sighting of it."""
    kept: list[HandSighting] = []
    for sighting in sorted(sightings, key=lambda seen: -seen.confidence):
        if all(distance(sighting, other) > same_hand for other in kept):
            kept.append(sighting)
    dropped["seen twice"] += len(sightings) - len(kept)
    return kept


def stretches(track: SidedTrack, stamps_ns: Sequence[int], longest_gap_s: float) -> list[list[int]]:
    """The frames with sightings, cut where the hand is not seen for too long."""
    frames = sorted(track.sightings)
    cuts = [i for i in range(1, len(frames)) if stamps_ns[frames[i]] - stamps_ns[frames[i - 1]] > longest_gap_s * NS_PER_S]
    return [frames[a:b] for a, b in zip([0, *cuts], [*cuts, len(frames)], strict=True)]
