"""The folder that synthesis fills.

`episodes/` holds what is done, one episode folder each, and the ledger; the LeRobotDataset (`data/ videos/ meta/`) and the bags in `mcap/`
are the same files under other names, put together whenever a run ends.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from h2w_ros.bulk.ledger import Ledger
from h2w_ros.episodes.episode import Episode
from h2w_ros.episodes.lerobot_writer import write_lerobot
from h2w_ros.synthesis.sheet import write_sheet
from h2w_ros.synthesis.work import MCAP

EPISODES = "episodes"
BAGS = "mcap"
SHEET = "contact_sheet.png"


def finished_episodes(root: Path) -> list[Episode]:
    """All episodes that are done, by name."""
    folder = root / EPISODES
    done = [name for name, outcome in Ledger(folder).outcomes.items() if outcome.status == "done" and (folder / name).is_dir()]
    return [Episode(folder / name) for name in sorted(done)]


def put_together(root: Path, lerobot: bool = True) -> int:
    """LeRobotDataset, bags and contact sheet of all that is done; returns how many episodes that are."""
    episodes = finished_episodes(root)
    if not episodes:
        return 0
    if lerobot:
        write_lerobot(root, episodes)
    link_bags(root, episodes)
    write_sheet(root / SHEET, episodes)
    return len(episodes)


def link_bags(root: Path, episodes: list[Episode]) -> None:
    """Every episode's bag under the episode's name."""
    bags = [(episode.path / MCAP, root / BAGS / f"{episode.path.name}.mcap") for episode in episodes if (episode.path / MCAP).is_file()]
    shutil.rmtree(root / BAGS, ignore_errors=True)
    for bag, name in bags:
        name.parent.mkdir(exist_ok=True)
        try:
            os.link(bag, name)
        except OSError:
            shutil.copyfile(bag, name)
