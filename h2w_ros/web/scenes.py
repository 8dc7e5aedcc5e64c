"""Photos to reach into: shipped ones, any recording's first moment, and a visitor's own picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from h2w_ros.camera import Resize, project
from h2w_ros.condition import Condition, HandPose, Image, Side
from h2w_ros.episodes.recording import REAL, open_recording
from h2w_ros.geometry import apply, invert
from h2w_ros.hands.grip import T_world_grip
from h2w_ros.paths import models_dir

OWN = "own"
"""The name of a visitor's own picture."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A photo, through which camera it was taken, where its hands were, and the height of the table [m] where that is known.

    `side` is the hand that a visitor moves; `domain` says what kind of world the photo shows.
    """

    name: str
    title: str
    condition: Condition
    side: Side
    table_height_m: float | None
    domain: str

    def __post_init__(self) -> None:
        if self.condition.image is None or self.condition.hand(self.side) is None:
            raise ValueError(f"scene {self.name} needs a picture and a {self.side} hand")

    @property
    def photo(self) -> Image:
        """What the camera saw."""
        if self.condition.image is None:
            raise ValueError(f"scene {self.name} has no picture")
        return self.condition.image

    @property
    def hand(self) -> HandPose:
        """The hand that is moved, where the photo shows it."""
        hand = self.condition.hand(self.side)
        if hand is None:
            raise ValueError(f"scene {self.name} has no {self.side} hand")
        return hand


def shipped_scenes() -> list[Scene]:
    """The photos of `models/scenes`, by name."""
    return [scene_of_recording(path) for path in sorted((models_dir() / "scenes").glob("*.mcap"))]


def scene_of_recording(path: Path) -> Scene:
    """The first moment of a recording that has a picture and a hand; ValueError when there is none."""
    recording = open_recording(path)
    condition = next((one for one in recording.conditions() if one.image is not None and one.hands), None)
    if condition is None:
        raise ValueError(f"{path} holds no moment with a picture and a hand, so there is nothing to reach into")
    height_m = recording.description.get("table_height_m")
    side = max(condition.hands, key=lambda hand: _off_middle(condition, hand)).side
    return Scene(
        path.stem, path.stem.lstrip("0123456789_").replace("_", " "), condition, side, None if height_m is None else float(height_m), recording.domain
    )


def scene_of_picture(picture: Image, like: Scene) -> Scene:
    """A visitor's picture as if the camera of another scene had taken it: nothing else is known about it.

    Its middle is kept, in the other picture's shape; the hand begins where it is in the other scene.
    """
    camera = like.condition.camera
    cut = Resize(camera.width_px, camera.height_px, "crop").picture(picture)
    condition = replace(like.condition, image=cut, static_render=None, hand_render=None, hands=(like.hand,))
    return Scene(OWN, "your picture", condition, like.side, like.table_height_m, REAL)


def by_name(scenes: Iterable[Scene]) -> dict[str, Scene]:
    """Scenes under their names; of two with one name the later."""
    return {scene.name: scene for scene in scenes}


def _off_middle(condition: Condition, hand: HandPose) -> float:
    """How near the hand is to the picture's middle: minus the distance in picture widths; far less for one behind the camera."""
    point = apply(invert(condition.T_world_camera), T_world_grip(hand)[None, :3, 3])
    if point[0, 2] <= 0:
        return -1e9
    camera = condition.camera
    u, v = project(camera, point)[0]
    return -float(abs(u / camera.width_px - 0.5) + abs(v / camera.height_px - 0.5))
