"""Which topic of a bag plays which part: named by the user, known by default, or the only one of its type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CAMERA_INFO_TYPES = ("sensor_msgs/msg/CameraInfo",)
ODOMETRY_TYPES = ("nav_msgs/msg/Odometry",)
HANDS_TYPES = ("h2w_msgs/msg/Hands",)

NEEDED = ("image", "camera_info", "odometry")
TF_STATIC = "/tf_static"
RECORDING_INFO = "/recording_info"
READY_MADE_HANDS = "/ready_made_hands"
READY_MADE_SCENE = "/ready_made_scene"

# What our own nodes publish: never a camera's picture.
OUR_PICTURES = (
    "ready_made_hands",
    "ready_made_scene",
    "hand_render",
    "static_render",
    "plucker_rays",
    "plucker_rays/picture",
    "predicted/image_raw",
    "predicted/compressed",
)
OUR_CAMERA, OUR_PREDICTIONS = "/predicted/camera_info", tuple(f"/{name}" for name in OUR_PICTURES if name.startswith("predicted/"))
"""They belong to one another, and to no other camera and picture."""


@dataclass(frozen=True)
class Part:
    """One part that topics can play."""

    types: tuple[str, ...]
    defaults: tuple[str, ...]


PARTS: Mapping[str, Part] = {
    "image": Part(IMAGE_TYPES, ("/image_raw", "/image_raw/compressed")),
    "camera_info": Part(CAMERA_INFO_TYPES, ("/camera_info",)),
    "odometry": Part(ODOMETRY_TYPES, ("/odometry",)),
    "hands": Part(HANDS_TYPES, ("/hands",)),
    "ready_made_hands": Part(IMAGE_TYPES, (READY_MADE_HANDS, f"{READY_MADE_HANDS}/compressed")),
    "ready_made_scene": Part(IMAGE_TYPES, (READY_MADE_SCENE, f"{READY_MADE_SCENE}/compressed")),
}


@dataclass(frozen=True)
class BagTopics:
    """The topic of each part. `hands` or `ready_made_hands` may be None, not both; `ready_made_scene` may be None."""

    image: str
    camera_info: str
    odometry: str
    hands: str | None = None
    ready_made_hands: str | None = None
    ready_made_scene: str | None = None

    def part_of(self, topic: str) -> str | None:
        """Which part this topic plays."""
        return next((spec.name for spec in fields(self) if getattr(self, spec.name) == topic), None)


def choose_topics(found: Mapping[str, str], chosen: Mapping[str, str], path: Path) -> BagTopics:
    """Topics for all parts, from topic -> type and the user's part -> topic.

    Hands as poses are preferred to ready-made pictures. ValueError names every part that is missing or ambiguous, and
    lists what the bag holds.
    """
    unknown = sorted(set(chosen) - set(PARTS))
    if unknown:
        raise ValueError(f"topics can be named for {', '.join(PARTS)}; got {', '.join(unknown)}")
    picked: dict[str, str] = {}
    faults: list[str] = []
    for part in PARTS:
        candidates = _candidates(part, found, chosen, picked)
        if len(candidates) == 1:
            picked[part] = candidates[0]
        elif candidates or part in chosen or part in NEEDED:
            faults.append(_fault(part, candidates, chosen))
    if not {"hands", "ready_made_hands"} & {*picked, *chosen} and not _candidates("hands", found, chosen, picked):
        faults.append(f"it lacks hands ({HANDS_TYPES[0]}), and ready-made pictures of hands at {READY_MADE_HANDS}")
    if faults:
        listing = ", ".join(f"{topic} ({kind})" for topic, kind in sorted(found.items())) or "nothing"
        raise ValueError(f"{path} cannot be played: {'; '.join(faults)}. Name topics with --topic PART=TOPIC. The bag holds {listing}")
    if "hands" in picked and "ready_made_hands" not in chosen:
        picked.pop("ready_made_hands", None)
    return BagTopics(**picked)


def _fault(part: str, candidates: list[str], chosen: Mapping[str, str]) -> str:
    """Why the part has no one topic."""
    types = " or ".join(PARTS[part].types)
    if candidates:
        return f"{part} could be any of {', '.join(candidates)}"
    return f"{part} should be {chosen[part]} of type {types}, which is not there" if part in chosen else f"it lacks {part} ({types})"


def _candidates(part: str, found: Mapping[str, str], chosen: Mapping[str, str], picked: Mapping[str, str]) -> list[str]:
    """Topics that could play the part; one means that the choice is clear."""
    of_type = [topic for topic, kind in found.items() if kind in PARTS[part].types]
    if part in chosen:
        return [topic for topic in of_type if topic == chosen[part]]
    image = picked.get("image", "")
    if part == "camera_info" and ((beside := _beside(image, of_type)) or image.endswith(OUR_PREDICTIONS)):
        return beside
    default = [topic for topic in PARTS[part].defaults if topic in of_type][:1]
    if default or part.startswith("ready_made"):
        return default
    if part == "image":
        return _cameras(of_type)
    return [topic for topic in of_type if not topic.endswith(OUR_CAMERA)]


def _beside(image: str, infos: list[str]) -> list[str]:
    """The camera_info that goes with a picture's topic by its name."""
    names = (image,) if image.endswith(OUR_PREDICTIONS) else (image, image.removesuffix("/compressed"))
    folders = [name.rpartition("/")[0] for name in names]
    return [f"{folder}/camera_info" for folder in folders if f"{folder}/camera_info" in infos][:1]


def _cameras(pictures: list[str]) -> list[str]:
    """Picture topics that come from cameras, each camera once: raw where there is raw and compressed."""
    cameras = [topic for topic in pictures if not topic.removesuffix("/compressed").endswith(tuple(f"/{name}" for name in OUR_PICTURES))]
    return [topic for topic in cameras if not (topic.endswith("/compressed") and topic.removesuffix("/compressed") in cameras)]
