"""One door for everything that can be played: our episodes, LeRobotDatasets, ROS bags, Hand2World's example folders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h2w_ros.condition import Condition, Image

if TYPE_CHECKING:
    from h2w_ros.episodes.bag_alignment import BagOptions

SIMULATED_TABLETOP = "simulated tabletop"
REAL = "real"
UNKNOWN = "unknown"


class Recording(ABC):
    """Conditions on a clock of `rate_hz`, in the order of their stamps.

    `domain` says what kind of world was recorded: 'simulated tabletop', 'real' or 'unknown'. `dropped` counts by reason
    what was there but could not be used; it is complete once all conditions were read. `description` is what its maker
    wrote about it, any JSON.
    """

    path: Path
    rate_hz: float
    domain: str
    dropped: Mapping[str, int]
    description: Mapping[str, Any]

    @property
    @abstractmethod
    def num_frames(self) -> int:
        """How many conditions there are."""

    @abstractmethod
    def conditions(self, start: int = 0, stop: int | None = None) -> Iterator[Condition]:
        """Conditions start .. stop - 1, one by one (stop None: to the end)."""

    @property
    def scene_image(self) -> Image:
        """The picture of the first moment, from which a prediction starts."""
        first = next(self.conditions(0, min(1, self.num_frames)), None)
        if first is None or first.image is None:
            raise ValueError(f"{self.path} has no picture of its first moment, from which a prediction could start")
        return first.image


@dataclass(frozen=True)
class RecordingKind:
    """One row of the table of what can be opened: how it is recognised, and how it is opened."""

    name: str
    recognises: Callable[[Path], bool]
    opens: Callable[[Path, BagOptions | None], Recording]


def open_recording(path: Path | str, bag_options: BagOptions | None = None) -> Recording:
    """The recording at this path; `bag_options` say how to read it if it is a bag.

    FileNotFoundError when nothing is there, ValueError when it is of no known kind or damaged.
    """
    path = Path(path)
    for kind in RECORDING_KINDS:
        if kind.recognises(path):
            return kind.opens(path, bag_options)
    if not path.exists():
        raise FileNotFoundError(f"No recording at {path}")
    raise ValueError(f"{path} is no recording that h2w knows; it reads: {', '.join(kind.name for kind in RECORDING_KINDS)}")


def check_range(start: int, stop: int | None, num_frames: int, path: Path) -> tuple[int, int]:
    """The range as two frame numbers within the recording; ValueError otherwise."""
    end = num_frames if stop is None else stop
    if not 0 <= start <= end <= num_frames:
        raise ValueError(f"{path} holds frames 0..{num_frames - 1}, cannot read {start}..{end - 1}")
    return start, end


def _is_episode(path: Path) -> bool:
    from h2w_ros.episodes.layout import looks_like_episode

    return looks_like_episode(path)


def _open_episode(path: Path, _: BagOptions | None) -> Recording:
    from h2w_ros.episodes.episode import Episode

    return Episode(path)


def _is_lerobot(path: Path) -> bool:
    from h2w_ros.episodes.lerobot import looks_like_lerobot

    return looks_like_lerobot(path)


def _open_lerobot(path: Path, _: BagOptions | None) -> Recording:
    from h2w_ros.episodes.lerobot import open_lerobot

    return open_lerobot(path)


def _is_pair(path: Path) -> bool:
    return (path / "static_video.mp4").is_file()


def _open_pair(path: Path, _: BagOptions | None) -> Recording:
    from h2w_ros.episodes.rendered_pair import open_pair

    return open_pair(path)


def _is_example(path: Path) -> bool:
    return (path / "camera.json").is_file()


def _open_example(path: Path, _: BagOptions | None) -> Recording:
    from h2w_ros.episodes.hand2world import Hand2WorldExample

    return Hand2WorldExample(path)


def _is_bag(path: Path) -> bool:
    if not path.exists():
        return False
    is_folder = path.is_dir() and ((path / "metadata.yaml").is_file() or any(path.glob("*.mcap")) or any(path.glob("*.db3")))
    return is_folder or path.suffix in (".mcap", ".db3")


def _open_bag(path: Path, options: BagOptions | None) -> Recording:
    from h2w_ros.episodes.bag import Bag

    return Bag(path, options)


RECORDING_KINDS: tuple[RecordingKind, ...] = (
    RecordingKind("an episode folder (docs/episode.md)", _is_episode, _open_episode),
    RecordingKind("an episode of a LeRobotDataset v3 (DATASET:3)", _is_lerobot, _open_lerobot),
    RecordingKind("a pair of renders (static_video.mp4, hand_video.mp4, perhaps camera.json)", _is_pair, _open_pair),
    RecordingKind("a Hand2World example folder (scene_image.png, hand_video.mp4, camera.json)", _is_example, _open_example),
    RecordingKind("a ROS 2 bag (an .mcap or .db3 file, or its folder)", _is_bag, _open_bag),
)
