"""As much of URDF as it takes to know where a robot hand's points are, and how they move with its motors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import Transform, cross_matrix, rotation_from_axis_angle, transform

KINDS = ("fixed", "revolute", "continuous", "prismatic")


@dataclass(frozen=True, eq=False)
class Joint:
    """One joint; a mimic joint's position is `multiplier` times its motor's, plus `offset`."""

    name: str
    kind: str
    parent: str
    child: str
    T_parent_joint: Transform
    axis: Float[ndarray, "3"]
    lower: float
    upper: float
    motor: str
    multiplier: float = 1.0
    offset: float = 0.0

    @cached_property
    def _cross(self) -> Float[ndarray, "3 3"]:
        return cross_matrix(self.axis)

    def motion(self, position: float) -> Transform:
        """What the joint does at this position [rad or m]."""
        T = np.eye(4)
        if self.kind == "prismatic":
            T[:3, 3] = position * self.axis
        elif self.kind != "fixed":
            T[:3, :3] += math.sin(position) * self._cross + (1.0 - math.cos(position)) * (self._cross @ self._cross)
        return T


class Kinematics:
    """A tree of joints under a base link; positions are those of its motors, in the order of `motors`."""

    def __init__(self, joints: Mapping[str, Joint], base_link: str) -> None:
        self._above = {joint.child: joint for joint in joints.values()}
        self._chains: dict[str, list[Joint]] = {}
        self.base_link = base_link
        self.motors = tuple(joint.name for joint in joints.values() if joint.kind != "fixed" and joint.motor == joint.name)
        self._column = {name: place for place, name in enumerate(self.motors)}
        self.lower = np.array([joints[name].lower for name in self.motors])
        self.upper = np.array([joints[name].upper for name in self.motors])
        for joint in joints.values():
            if joint.kind != "fixed" and joint.motor not in self._column:
                raise ValueError(f"joint {joint.name!r} must mimic a joint that moves by itself, got {joint.motor!r}")

    def chain(self, link: str) -> list[Joint]:
        """The joints from the base to a link; ValueError when the base does not carry it."""
        if link not in self._chains:
            found: list[Joint] = []
            place = link
            while place != self.base_link:
                if place not in self._above or len(found) > len(self._above):
                    raise ValueError(f"link must hang on {self.base_link!r}, got {place!r}; links: {sorted(self._above)}")
                found.append(self._above[place])
                place = found[-1].parent
            self._chains[link] = found[::-1]
        return self._chains[link]

    def points(
        self, links: Sequence[str], places: Float[ndarray, "n 3"], positions: Float[ndarray, "m"]
    ) -> tuple[Float[ndarray, "n 3"], Float[ndarray, "n 3 m"]]:
        """Points of links in the base frame [m], and their change per position of every motor."""
        T_base_link: dict[str, Transform] = {self.base_link: np.eye(4)}
        T_base_joint: dict[str, Transform] = {}
        for link in links:
            for joint in self.chain(link):
                if joint.child not in T_base_link:
                    T_base_joint[joint.name] = T_base_link[joint.parent] @ joint.T_parent_joint
                    T_base_link[joint.child] = T_base_joint[joint.name] @ joint.motion(self._position(joint, positions))
        points = np.stack([T_base_link[link][:3, :3] @ at + T_base_link[link][:3, 3] for link, at in zip(links, places, strict=True)])
        slopes = np.zeros((len(links), 3, len(self.motors)))
        for place, link in enumerate(links):
            for joint in self.chain(link):
                if joint.kind != "fixed":
                    slopes[place, :, self._column[joint.motor]] += joint.multiplier * _slope(joint, T_base_joint[joint.name], points[place])
        return points, slopes

    def _position(self, joint: Joint, positions: Float[ndarray, "m"]) -> float:
        return 0.0 if joint.kind == "fixed" else joint.multiplier * float(positions[self._column[joint.motor]]) + joint.offset


def read_urdf(file: Path, base_link: str) -> Kinematics:
    """The joints of a URDF file; ValueError, with file and joint, for what is not one."""
    try:
        root = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{file}: must be XML, as `xacro` makes it: {error}") from error
    try:
        joints = [_joint(element) for element in root.iter("joint") if element.find("parent") is not None]
        return Kinematics({joint.name: joint for joint in joints}, base_link)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _joint(element: ElementTree.Element) -> Joint:
    name, kind = element.get("name", ""), element.get("type", "")
    if kind not in KINDS:
        raise ValueError(f"joint {name!r} must be one of {KINDS}, got {kind!r}")
    origin, limit, mimic = element.find("origin"), element.find("limit"), element.find("mimic")
    axis = _numbers(element.find("axis"), "xyz", (1.0, 0.0, 0.0))
    length = float(np.linalg.norm(axis))
    if length < 1e-9:
        raise ValueError(f"joint {name!r} needs an axis of some length, got {axis}")
    return Joint(
        name=name,
        kind=kind,
        parent=_attribute(element, "parent", "link"),
        child=_attribute(element, "child", "link"),
        T_parent_joint=transform(_from_rpy(_numbers(origin, "rpy", (0.0, 0.0, 0.0))), _numbers(origin, "xyz", (0.0, 0.0, 0.0))),
        axis=axis / length,
        lower=-math.pi if limit is None or kind == "continuous" else float(limit.get("lower", 0.0)),
        upper=math.pi if limit is None or kind == "continuous" else float(limit.get("upper", 0.0)),
        motor=name if mimic is None else mimic.get("joint", ""),
        multiplier=1.0 if mimic is None else float(mimic.get("multiplier", 1.0)),
        offset=0.0 if mimic is None else float(mimic.get("offset", 0.0)),
    )


def _attribute(element: ElementTree.Element, child: str, attribute: str) -> str:
    found = element.find(child)
    if found is None or not found.get(attribute):
        raise ValueError(f"joint {element.get('name', '')!r} must name its {child} {attribute}")
    return str(found.get(attribute))


def _numbers(element: ElementTree.Element | None, attribute: str, default: tuple[float, float, float]) -> Float[ndarray, "3"]:
    text = None if element is None else element.get(attribute)
    numbers = np.array(default if text is None else [float(word) for word in text.split()], dtype=np.float64)
    if numbers.shape != (3,):
        raise ValueError(f"{attribute} must be three numbers, got {text!r}")
    return numbers


def _from_rpy(rpy_rad: Float[ndarray, "3"]) -> Float[ndarray, "3 3"]:
    """URDF's roll, pitch and yaw about fixed axes."""
    roll, pitch, yaw = (rotation_from_axis_angle(angle * axis) for angle, axis in zip(rpy_rad, np.eye(3), strict=True))
    return yaw @ pitch @ roll


def _slope(joint: Joint, T_base_joint: Transform, point: Float[ndarray, "3"]) -> Float[ndarray, "3"]:
    """How a point behind a joint moves as the joint does."""
    axis = T_base_joint[:3, :3] @ joint.axis
    return axis if joint.kind == "prismatic" else np.cross(axis, point - T_base_joint[:3, 3])
