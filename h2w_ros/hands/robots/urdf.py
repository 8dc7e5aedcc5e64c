"""As much of URDF as it takes to know where a robot hand's points are, and how they move with its motors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import Transform, rotation_from_axis_angle, transform

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


class PlacedJoint(NamedTuple):
    """A joint at some positions: its place and axis in the base link's frame."""

    joint: Joint
    origin: Float[ndarray, "3"]
    axis: Float[ndarray, "3"]


class Kinematics:
    """A tree of joints under a base link; positions are those of its motors, in the order of `motors`."""

    def __init__(self, joints: Mapping[str, Joint], base_link: str) -> None:
        self._above = {joint.child: joint for joint in joints.values()}
        self.base_link = base_link
        self.motors = tuple(joint.name for joint in joints.values() if joint.kind != "fixed" and joint.motor == joint.name)
        self.lower = np.array([joints[name].lower for name in self.motors])
        self.upper = np.array([joints[name].upper for name in self.motors])
        for joint in joints.values():
            if joint.kind != "fixed" and joint.motor not in self.motors:
                raise ValueError(f"joint {joint.name!r} must mimic a joint that moves by itself, got {joint.motor!r}")

    def chain(self, link: str) -> list[Joint]:
        """The joints from the base to a link; ValueError when the base does not carry it."""
        found: list[Joint] = []
        while link != self.base_link:
            if link not in self._above or len(found) > len(self._above):
                raise ValueError(f"link must hang on {self.base_link!r}, got {link!r}; links: {sorted(self._above)}")
            found.append(self._above[link])
            link = found[-1].parent
        return found[::-1]

    def place(self, link: str, positions: Float[ndarray, "m"]) -> tuple[Transform, list[PlacedJoint]]:
        """T_base_link, and the joints that move the link, where they are."""
        T, placed = np.eye(4), []
        for joint in self.chain(link):
            T = T @ joint.T_parent_joint
            if joint.kind == "fixed":
                continue
            placed.append(PlacedJoint(joint, T[:3, 3], T[:3, :3] @ joint.axis))
            T = T @ _motion(joint, joint.multiplier * float(positions[self.motors.index(joint.motor)]) + joint.offset)
        return T, placed

    def point(self, link: str, at: Float[ndarray, "3"], positions: Float[ndarray, "m"]) -> tuple[Float[ndarray, "3"], Float[ndarray, "3 m"]]:
        """A link's point in the base frame [m], and its change per position of every motor."""
        T, placed = self.place(link, positions)
        point = T[:3, :3] @ at + T[:3, 3]
        slopes = np.zeros((3, len(self.motors)))
        for joint, origin, axis in placed:
            slope = axis if joint.kind == "prismatic" else np.cross(axis, point - origin)
            slopes[:, self.motors.index(joint.motor)] += joint.multiplier * slope
        return point, slopes


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


def _motion(joint: Joint, position: float) -> Transform:
    if joint.kind == "prismatic":
        return transform(np.eye(3), position * joint.axis)
    return transform(rotation_from_axis_angle(position * joint.axis), np.zeros(3))
