"""What a predicted future is worth: measures of one candidate, ours and those that other packages bring.

Another package adds its own through the entry point group `h2w_ros.scorers`; what it names is a `Scorer`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from h2w_ros.planning.goal import goal_distance, goal_remaining
from h2w_ros.planning.hand_agreement import hand_agreement
from h2w_ros.planning.prediction import Future
from h2w_ros.planning.spread import spread

log = logging.getLogger(__name__)

GROUP = "h2w_ros.scorers"


@dataclass(frozen=True)
class Scorer:
    """A measure by name. `measure` gives one number for one candidate, NaN where it is not defined; `meaning` says in which unit."""

    name: str
    meaning: str
    higher_is_better: bool
    measure: Callable[[Future], float]


@dataclass(frozen=True)
class Score:
    """One measure of all candidates, in their order; NaN where it is not defined. `fault` says what went wrong, if anything."""

    scorer: Scorer
    values: tuple[float, ...]
    fault: str = ""

    @property
    def ranking(self) -> list[int]:
        """Candidates from best to worst; those without a value are left out."""
        defined = [index for index, value in enumerate(self.values) if not math.isnan(value)]
        return sorted(defined, key=lambda index: self.values[index], reverse=self.scorer.higher_is_better)


BUILT_IN = (
    Scorer(
        "goal_distance",
        "how far the last picture is from the goal's: mean absolute difference over five scales, in grey levels; NaN without a goal",
        False,
        goal_distance,
    ),
    Scorer(
        "goal_remaining",
        "share of the wanted change, from the start to the goal, that the last picture lacks: 0 at the goal, 1 as at the start; NaN without a goal",
        False,
        goal_remaining,
    ),
    Scorer(
        "hand_agreement",
        "chance that a pixel where a hand is asked for has more of a hand's colour than one elsewhere: 1 certain, 0.5 as good as none; "
        "NaN where the picture to begin from shows no hand",
        True,
        hand_agreement,
    ),
    Scorer("spread", "mean standard deviation across seeds, in grey levels; NaN with one seed", False, spread),
)


def scorers(names: Sequence[str] = ()) -> list[Scorer]:
    """The scorers of these names; without names all of ours and all installed ones. ValueError for a name that nobody has."""
    known = _known()
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"no scorer {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return [_loaded(known[name]) for name in names] if names else [scorer for name in known if (scorer := _usable(known[name])) is not None]


def score(futures: Sequence[Future], chosen: Sequence[Scorer]) -> list[Score]:
    """Every future by every scorer. A scorer that fails gives no values, and its fault is told."""
    return [_scored(scorer, futures) for scorer in chosen]


def _scored(scorer: Scorer, futures: Sequence[Future]) -> Score:
    try:
        return Score(scorer, tuple(float(scorer.measure(future)) for future in futures))
    except Exception as error:  # another package's code may fail in any way; what was predicted is still worth having
        log.exception("scorer %s failed", scorer.name)
        return Score(scorer, (math.nan,) * len(futures), f"scorer {scorer.name} failed: {type(error).__name__}: {error}")


def _known() -> Mapping[str, Scorer | EntryPoint]:
    """Ours, and whatever is installed; the latter is imported only when it is wanted."""
    ours = {scorer.name: scorer for scorer in BUILT_IN}
    installed = {point.name: point for point in entry_points(group=GROUP)}
    taken = sorted(set(ours) & set(installed))
    if taken:
        raise ValueError(f"an installed package offers a scorer named {taken[0]!r}, which is one of ours: rename its entry point in {GROUP}")
    return ours | installed


def _usable(point: Scorer | EntryPoint) -> Scorer | None:
    """One that nobody asked for by name: when it can't be used, the others still can."""
    try:
        return _loaded(point)
    except ValueError as error:
        log.warning("a scorer is left out: %s", error)
        return None


def _loaded(point: Scorer | EntryPoint) -> Scorer:
    if isinstance(point, Scorer):
        return point
    try:
        scorer = point.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"scorer {point.name!r} ({point.value}) cannot be loaded: {error}") from error
    if not isinstance(scorer, Scorer):
        raise ValueError(f"scorer {point.name!r} ({point.value}) must be an h2w_ros.planning.scores.Scorer, got {type(scorer).__name__}")
    return scorer
