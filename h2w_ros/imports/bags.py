"""ROS 2 bags, LeRobotDatasets, and Hand2World's example folders: what `h2w` can play already, kept as episodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from h2w_ros.episodes.bag_alignment import BagOptions
from h2w_ros.episodes.lerobot import named, read_episodes
from h2w_ros.episodes.recording import Recording, open_recording
from h2w_ros.imports.dataset import Dataset, ImportOptions

STORAGES = (".mcap", ".db3")


def bags(source: Path) -> list[str]:
    """Every bag at or under a path: folders with metadata.yaml, and storage files that lie in none; '.' is the source itself."""
    if source.is_file():
        return ["."]
    folders = {file.parent for file in source.rglob("metadata.yaml")}
    files = {file for file in source.rglob("*") if file.suffix in STORAGES and file.parent not in folders}
    return [str(path.relative_to(source)) for path in sorted(folders | files)]


def open_bag(source: Path, name: str, options: ImportOptions) -> Recording:
    """The bag, aligned on the wanted clock; ValueError when it is unreadable, or topics are missing."""
    bag = options.bag or BagOptions()
    return open_recording(source / name, replace(bag, timeline=replace(bag.timeline, rate_hz=options.rate_hz)))


def lerobot_episodes(source: Path) -> list[str]:
    """Every episode of every dataset at or under a path."""
    roots = sorted(file.parent.parent for file in source.rglob("meta/info.json"))
    return [str(named(root.absolute(), index).relative_to(source.absolute().parent)) for root in roots for index in range(len(read_episodes(root)))]


def open_lerobot_episode(source: Path, name: str, _: ImportOptions) -> Recording:
    """The episode, as exact as it was written."""
    return open_recording(source.absolute().parent / name)


def examples(source: Path) -> list[str]:
    """Every example folder at or under a path."""
    return [str(file.parent.relative_to(source)) for file in sorted(source.rglob("camera.json"))]


def open_example(source: Path, name: str, _: ImportOptions) -> Recording:
    """The example: hands as ready-made pictures, the camera's path, the first picture."""
    return open_recording(source / name)


ROSBAG = Dataset("yours", "a bag (.mcap, .db3 or its folder), or a folder of bags; topics as for `h2w generate`", bags, open_bag)
LEROBOT = Dataset(
    "as its card says",
    "LeRobotDatasets v3 with hands and cameras in the columns that `h2w synthesize` writes",
    lerobot_episodes,
    open_lerobot_episode,
)
HAND2WORLD = Dataset(
    "none is stated with Hand2World's release: ask its authors before you pass anything on",
    "folders with scene_image.png, hand_video.mp4 and camera.json",
    examples,
    open_example,
)
