"""A recording as synthesis needs it: its moments without pictures, the picture to begin from, and what its hands look like."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.camera import Resize
from h2w_ros.condition import Condition, Image
from h2w_ros.episodes.episode import Episode
from h2w_ros.episodes.lerobot import looks_like_lerobot, named, read_episodes, split_name
from h2w_ros.episodes.recording import RECORDING_KINDS, Recording
from h2w_ros.hands.render import HandRenderer
from h2w_ros.planning.hand_agreement import hand_likelihood
from h2w_ros.scene.files import Scene, load_scene

LOOK_EVERY = 4
"""Of the recording's own pictures, every so many are looked at for hands."""
MAX_SIDE_OF_LOOK_PX = 128
HASH_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Source:
    """`scene` belongs to the first of the moments. `likelihood`: how much more common each colour is in hands; None where no picture shows any.
    `static`: what the recording keeps of the untouched scene, seen from anywhere."""

    recording: Recording
    moments: list[Condition]
    scene: Image
    likelihood: Float[ndarray, "bins"] | None
    static: Scene | None = None

    @property
    def table_height_m(self) -> float | None:
        """Where the recording's maker noted it."""
        noted = self.recording.description.get("table_height_m")
        return float(noted) if isinstance(noted, int | float) and not isinstance(noted, bool) else None


def read_source(recording: Recording, max_frames: int | None = None) -> Source:
    """From the first moment that has a picture on, at most so many moments. ValueError when no picture can be begun from."""
    moments, scene, best = list[Condition](), None, _Look()
    for condition in recording.conditions():
        if scene is None:
            scene = condition.image
        if scene is None:
            continue
        if len(moments) % LOOK_EVERY == 0:
            best = best.or_better(condition)
        moments.append(replace(condition, image=None, static_render=None, hand_render=None if condition.hands else condition.hand_render))
        if len(moments) == max_frames:
            break
    if scene is None or len(moments) < 2:
        raise ValueError(f"{recording.path} must have a picture to begin from and moments after it; {_found(recording, len(moments))}")
    path = recording.scene_path if isinstance(recording, Episode) else None
    return Source(recording, moments, scene, best.likelihood, None if path is None else load_scene(path))


def _found(recording: Recording, num_moments: int) -> str:
    dropped = ", ".join(f"{name} {count}" for name, count in sorted(recording.dropped.items()) if count)
    return f"it has {num_moments} moments from a picture on; dropped: {dropped or 'nothing'}"


@dataclass(frozen=True, eq=False)
class _Look:
    """The picture seen so far that shows most of the hands."""

    num_pixels: int = 0
    likelihood: Float[ndarray, "bins"] | None = None

    def or_better(self, condition: Condition) -> _Look:
        """This look, or that at another moment, whichever shows more hand."""
        if condition.image is None or not (condition.hands or condition.hand_render is not None):
            return self
        small = _small(condition)
        assert small.image is not None
        render = small.hand_render if small.hand_render is not None else HandRenderer().render(small.hands, small.camera, small.T_world_camera)
        hands = np.asarray(render.any(axis=-1))
        found = hand_likelihood(small.image, hands) if hands.sum() > self.num_pixels else None
        return self if found is None else _Look(int(hands.sum()), found)


def _small(condition: Condition) -> Condition:
    """Colours need no large pictures."""
    camera = condition.camera
    scale = min(1.0, MAX_SIDE_OF_LOOK_PX / max(camera.width_px, camera.height_px))
    resize = Resize(max(1, round(camera.width_px * scale)), max(1, round(camera.height_px * scale)))
    render = None if condition.hand_render is None else resize.picture(condition.hand_render)
    image = None if condition.image is None else resize.picture(condition.image)
    return replace(condition, camera=resize.camera(camera), image=image, hand_render=render, static_render=None)


def sources_at(path: Path) -> Iterator[Path]:
    """Every recording that a path names: itself, the episodes of a LeRobotDataset, or what a folder holds. FileNotFoundError for none."""
    if looks_like_lerobot(path):
        root, index = split_name(path)
        numbers = range(len(read_episodes(root))) if index is None else [index]
        yield from (named(root, number) for number in numbers)
    elif any(kind.recognises(path) for kind in RECORDING_KINDS):
        yield path
    else:
        inside = sorted(child for child in path.iterdir() if any(kind.recognises(child) for kind in RECORDING_KINDS)) if path.is_dir() else []
        inside = [child for child in inside if not child.name.startswith(".")]
        if not path.exists():
            raise FileNotFoundError(f"No recording at {path}")
        if not inside:
            raise FileNotFoundError(f"{path} is no recording and holds none; there can be: {', '.join(kind.name for kind in RECORDING_KINDS)}")
        yield from inside


def content_hash(path: Path) -> str:
    """SHA-256 of a recording's files, names included; of a LeRobotDataset's episode, of the whole dataset's tables and the episode's number."""
    root, index = split_name(path)
    files = [root] if root.is_file() else sorted(file for file in root.rglob("*") if file.is_file())
    if looks_like_lerobot(path):
        files = [file for file in files if file.suffix in (".json", ".parquet")]
    digest = hashlib.sha256(str(index).encode())
    for file in files:
        digest.update(str(file.relative_to(root)).encode())
        with file.open("rb") as stream:
            while block := stream.read(HASH_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()
