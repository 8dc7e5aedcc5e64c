"""A robot hand: its kinematics, and the table of which points of a human hand stand where on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float, Int
from numpy import ndarray

from h2w_ros.condition import Side
from h2w_ros.hands.robots.urdf import Kinematics, read_urdf
from h2w_ros.hands.trackers.names import POINTS
from h2w_ros.paths import models_dir

# Tips among our 21 points begin here.
FIRST_TIP = 16
KEYS = {"urdf", "side", "base_link", "approach", "points"}


@dataclass(frozen=True, eq=False)
class RobotHand:
    """`links` and `places` say where each of `points` (places among our 21) stands on the robot; `approach` is where the hand points."""

    name: str
    side: Side
    kinematics: Kinematics
    approach: Float[ndarray, "3"]
    points: Int[ndarray, "n"]
    links: tuple[str, ...]
    places: Float[ndarray, "n 3"]

    @cached_property
    def is_tip(self) -> ndarray:
        """Which of the points are fingertips."""
        return self.points >= FIRST_TIP

    def points_base(self, positions: Float[ndarray, "m"]) -> tuple[Float[ndarray, "n 3"], Float[ndarray, "n 3 m"]]:
        """The points in the base link [m], and their change per motor."""
        return self.kinematics.points(self.links, self.places, positions)

    def positions_of(self, joint_positions: Mapping[str, float]) -> Float[ndarray, "m"]:
        """The motors' positions from a robot's joints by name; ValueError names those that are missing."""
        missing = [name for name in self.kinematics.motors if name not in joint_positions]
        if missing:
            raise ValueError(f"{self.name} needs the positions of {missing}, got only {sorted(joint_positions)}")
        positions = np.array([joint_positions[name] for name in self.kinematics.motors], dtype=np.float64)
        if not np.isfinite(positions).all():
            raise ValueError(f"joint positions must be finite, got {dict(zip(self.kinematics.motors, positions.tolist(), strict=True))}")
        return positions


@lru_cache(maxsize=8)
def load_robot_hand(name_or_file: str) -> RobotHand:
    """A shipped robot hand by its name, or the user's own by its table; ValueError with file, key and remedy."""
    file = Path(name_or_file) if name_or_file.endswith((".yaml", ".yml")) else models_dir() / "robots" / f"{name_or_file}.yaml"
    if not file.is_file():
        shipped = sorted(path.stem for path in (models_dir() / "robots").glob("*.yaml"))
        raise FileNotFoundError(f"no robot hand at {file}; shipped are {shipped}, models/robots/README.md says how to add your own")
    table = yaml.safe_load(file.read_text())
    if not isinstance(table, dict) or set(table) != KEYS:
        raise ValueError(f"{file}: must hold the keys {sorted(KEYS)}, got {sorted(table) if isinstance(table, dict) else table!r}")
    return _robot_hand(file, table)


def _robot_hand(file: Path, table: Mapping[str, Any]) -> RobotHand:
    if table["side"] not in ("left", "right"):
        raise ValueError(f"{file}: side must be 'left' or 'right', got {table['side']!r}")
    names = list(table["points"])
    unknown = [name for name in names if POINTS.get(name) is None]
    if unknown:
        raise ValueError(f"{file}: points must be among {sorted(name for name, place in POINTS.items() if place is not None)}, got {unknown}")
    tips = [name for name in names if name.endswith("_tip")]
    if "thumb_tip" not in tips or len(tips) < 2:
        raise ValueError(f"{file}: points must hold thumb_tip and one more tip at least, got {tips}")
    robot = RobotHand(
        name=file.stem,
        side=table["side"],
        kinematics=read_urdf(file.with_name(table["urdf"]), table["base_link"]),
        approach=np.array(table["approach"], dtype=np.float64) / np.linalg.norm(table["approach"]),
        points=np.array([POINTS[name] for name in names]),
        links=tuple(table["points"][name]["link"] for name in names),
        places=np.array([table["points"][name]["at"] for name in names], dtype=np.float64),
    )
    robot.points_base(np.zeros(len(robot.kinematics.motors)))  # every link must be there
    return robot
