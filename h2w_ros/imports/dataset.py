"""What every importer gives: a dataset's name and licence, the sequences in a folder, and each of them moment by moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from h2w_ros.condition import Condition

if TYPE_CHECKING:
    from h2w_ros.episodes.bag_alignment import BagOptions

NS_PER_S = 1_000_000_000
GENERATOR_RATE_HZ = 16.0


@dataclass(frozen=True)
class ImportOptions:
    """How sequences are read.

    `rate_hz`: frames a second that are kept; a sequence with fewer keeps all of its own. `mano`: folder of the user's
    MANO files, which datasets in MANO's parameters need. `metres_per_unit`: for joints that come in another unit.
    `intrinsics_px`: fx, fy, cx, cy, corner origin, of videos that come without. `bag`: how bags are read.
    """

    rate_hz: float = GENERATOR_RATE_HZ
    mano: Path | None = None
    metres_per_unit: float = 1.0
    intrinsics_px: tuple[float, float, float, float] | None = None
    bag: BagOptions | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.rate_hz <= 1000.0:
            raise ValueError(f"rate_hz must be in (0, 1000] frames a second, got {self.rate_hz}")
        if not 0.0 < self.metres_per_unit < float("inf"):
            raise ValueError(f"metres_per_unit must be positive, got {self.metres_per_unit}; millimetres are 0.001")


@runtime_checkable
class SequenceReader(Protocol):
    """One sequence; every `Recording` is one, too."""

    @property
    def rate_hz(self) -> float:
        """Moments a second."""

    @property
    def domain(self) -> str:
        """What kind of world was recorded, a word of `episodes.recording`."""

    @property
    def description(self) -> Mapping[str, Any]:
        """Where the sequence comes from, any JSON."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """By reason, what could not be used; complete once all conditions were read."""

    def conditions(self) -> Iterator[Condition]:
        """The moments in the order of their stamps; ValueError when the files are damaged."""
        ...


@dataclass(frozen=True)
class Dataset:
    """A row of the table: what the data is, under which terms, and how its sequences are found and read.

    `layout`: what the source folder must hold. `sequences` lists names within a source folder; `opens` reads one of them.
    `has_hands` False is for plain video, whose hands are still to be annotated.
    """

    licence: str
    layout: str
    sequences: Callable[[Path], list[str]]
    opens: Callable[[Path, str, ImportOptions], SequenceReader]
    has_hands: bool = True


@dataclass(frozen=True)
class Picked:
    """Which frames of a sequence are kept, and how many a second that makes."""

    frames: list[int]
    rate_hz: float


def frames_at(stamps_ns: Sequence[int], rate_hz: float) -> Picked:
    """The frame nearest to every tick of a clock that begins with the first; pictures and poses stay those of one moment.

    A tick without a frame within half the frames' own period is left out; frames that come more slowly are all kept.
    ValueError when stamps do not grow, or there are none.
    """
    if not all(abs(stamp) < 2**62 for stamp in stamps_ns):
        raise ValueError("a sequence's stamps must be nanoseconds of a life's length")
    stamps = np.asarray(stamps_ns, dtype=np.int64)
    if not len(stamps) or (np.diff(stamps) <= 0).any():
        raise ValueError(f"a sequence needs frames with stamps that grow, got {len(stamps)} frames")
    if len(stamps) == 1:
        return Picked([0], rate_hz)
    period_ns = float(np.median(np.diff(stamps)))
    if period_ns >= NS_PER_S / rate_hz:
        return Picked(list(range(len(stamps))), NS_PER_S / period_ns)
    ticks = stamps[0] + np.arange(0.0, float(stamps[-1] - stamps[0]) + 1.0, NS_PER_S / rate_hz)
    after = np.clip(np.searchsorted(stamps, ticks), 1, len(stamps) - 1)
    nearest = np.where(ticks - stamps[after - 1] <= stamps[after] - ticks, after - 1, after)
    is_near = np.abs(stamps[nearest] - ticks) <= 0.5 * period_ns + 1.0
    return Picked(np.unique(nearest[is_near]).tolist(), rate_hz)


def counted_stamps_ns(num_frames: int, rate_hz: float) -> list[int]:
    """Stamps of frames that are only counted, the first at 0."""
    return [round(index * NS_PER_S / rate_hz) for index in range(num_frames)]


def entry(table: Any, key: str, path: Path) -> Any:
    """A value of a file's table; ValueError that names the file, the key and what is there instead."""
    if not isinstance(table, Mapping) or key not in table:
        found = sorted(map(str, table)) if isinstance(table, Mapping) else type(table).__name__
        raise ValueError(f"{path} must hold {key!r}, it holds {found}")
    return table[key]


def numbers(value: Any, shape: tuple[int | None, ...], name: str) -> np.ndarray:
    """The value as float64 of this shape (None: any length); ValueError that names what was expected."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers, got {type(value).__name__}") from error
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        wanted = "x".join("n" if length is None else str(length) for length in shape)
        raise ValueError(f"{name} must have shape {wanted}, got {'x'.join(map(str, array.shape)) or 'one number'}")
    return array
