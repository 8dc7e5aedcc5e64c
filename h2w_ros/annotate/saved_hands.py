"""Hands that other tools saved, as sightings: they are then followed, sided and fitted like those of any detector.

The layouts are those that the tools' own writers write. A new tool is a reader and a row of `TOOLS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.saved_crops import read_crops
from h2w_ros.annotate.saved_points import Frames
from h2w_ros.annotate.saved_worlds import read_dyn_hamr, read_hawor
from h2w_ros.annotate.sighting import Sightings
from h2w_ros.condition import Camera

TOOLS: Mapping[str, Callable[[Path, Path | None, Clip], Frames]] = {
    "hamer": read_crops,
    "wilor": read_crops,
    "hawor": read_hawor,
    "dyn-hamr": read_dyn_hamr,
}


@dataclass(frozen=True)
class SavedHands:
    """A detector that reads a tool's results; `{name}` in the path stands for the video's name. `mano`: for tools that give MANO's parameters."""

    name: str
    path_of: str
    mano: Path | None = None

    def sightings(self, clip: Clip, camera: Camera) -> Iterator[Sightings]:
        """The saved hands of every frame; FileNotFoundError or ValueError that names the file."""
        del camera
        path = Path(self.path_of.replace("{name}", clip.path.stem))
        if not path.exists():
            raise FileNotFoundError(f"No saved hands at {path}, which --hands {self.name} needs")
        found = TOOLS[self.name](path, self.mano, clip)
        return (found.get(frame, ()) for frame in clip.frames)
