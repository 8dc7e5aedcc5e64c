"""What each kind of thing is made of: primitives, and for those that open, their hinge or slide.

A new kind is one function and one row in MAKERS (here), HALF_SIZES_M and SHARES (in placement.py). In an object's frame z points up and x
runs across the table for the person who faces it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from h2w_ros.world.articulation import Articulation
from h2w_ros.world.solids import Solid, Triple

Made = tuple[tuple[Solid, ...], Articulation | None]

WALL_M = 0.0045
LID_M = 0.008
BAR_OFF_M = 0.022
"""Between a drawer's front and its bar there is room for fingers."""
KNOB_RADIUS_M = 0.008
COVER_M = 0.0018
LID_OPENS_RAD = 1.95
HANDLE_REACH_M = 0.024


def _box(half: Triple) -> Made:
    return (Solid("box", half),), None


def _cylinder(half: Triple) -> Made:
    return (Solid("cylinder", half),), None


def _sphere(half: Triple) -> Made:
    return (Solid("ellipsoid", half),), None


def _capsule(half: Triple) -> Made:
    return (Solid("capsule", half, axis="x"),), None


def _turned(half: Triple) -> Made:
    return (Solid("cylinder", half, is_seen=False),), None


def _mug(half: Triple) -> Made:
    radius, _, half_height = half
    grip = Solid("box", (HANDLE_REACH_M / 2, 0.005, half_height * 0.65), (radius + HANDLE_REACH_M / 2, 0.0, 0.0), is_seen=False)
    return (Solid("cylinder", half, is_seen=False), grip), None


def _hammer(half: Triple) -> Made:
    length, thickness, _ = half
    head = Solid("box", (thickness * 1.1, length * 0.42, thickness * 1.2), (length, 0.0, 0.0), paint="trim")
    return (Solid("capsule", half, axis="x"), head), None


def _screwdriver(half: Triple) -> Made:
    length, radius, _ = half
    shaft = Solid("capsule", (length * 0.9, 0.0035, 0.0035), (length * 1.8, 0.0, 0.0), axis="x", paint="trim")
    return (Solid("cylinder", half, axis="x"), Solid("ellipsoid", (radius, radius, radius), (-length, 0.0, 0.0)), shaft), None


def _spoon(half: Triple) -> Made:
    length, width, height = half
    return (
        Solid("box", half, paint="trim"),
        Solid("ellipsoid", (width * 4, width * 2.9, height), (length + width * 3, 0.0, 0.0), paint="trim"),
    ), None


def _lid_box(half: Triple) -> Made:
    """An open box under a lid that is hinged at the far side, with a knob near its front edge."""
    x, y, z = half
    walls = _tray((x, y, z - LID_M / 2), WALL_M, z_m=-LID_M / 2)
    lid = Solid("box", (x + 0.002, y + 0.002, LID_M / 2), (0.0, 0.0, z - LID_M / 2), paint="trim", moves=True)
    grip = np.array([0.0, 0.014 - y, z + KNOB_RADIUS_M * 0.8])
    knob = Solid("ellipsoid", (KNOB_RADIUS_M * 1.6, KNOB_RADIUS_M, KNOB_RADIUS_M), (grip[0], grip[1], grip[2]), moves=True)
    hinge = Articulation("hinge", np.array([-1.0, 0.0, 0.0]), np.array([0.0, y, z - LID_M]), LID_OPENS_RAD, grip)
    return (*walls, lid, knob), hinge


def _drawer(half: Triple) -> Made:
    """A chest, open in front, with one drawer that comes out towards the person by a bar."""
    x, y, z = half
    inner_x, inner_z = x - WALL_M - 0.001, z - WALL_M - 0.001
    shell = (
        Solid("box", (x, y, WALL_M / 2), (0.0, 0.0, z - WALL_M / 2)),
        Solid("box", (x, y, WALL_M / 2), (0.0, 0.0, WALL_M / 2 - z)),
        *(Solid("box", (WALL_M / 2, y, z), (side * (x - WALL_M / 2), 0.0, 0.0)) for side in (-1, 1)),
        Solid("box", (x, WALL_M / 2, z), (0.0, y - WALL_M / 2, 0.0)),
    )
    tray = tuple(
        Solid(wall.kind, wall.half_size_m, wall.centre_m, paint="trim", moves=True) for wall in _tray((inner_x, y - WALL_M, inner_z * 0.8), 0.003)
    )
    front = Solid("box", (x - 0.002, 0.003, z - 0.002), (0.0, -y - 0.003, 0.0), paint="trim", moves=True)
    grip = np.array([0.0, -y - 0.006 - BAR_OFF_M, 0.0])
    bar = Solid("capsule", (x * 0.4, 0.005, 0.005), (grip[0], grip[1], grip[2]), axis="x", moves=True)
    posts = (Solid("box", (0.003, BAR_OFF_M / 2, 0.003), (side * x * 0.3, -y - 0.006 - BAR_OFF_M / 2, 0.0), moves=True) for side in (-1, 1))
    slide = Articulation("slide", np.array([0.0, -1.0, 0.0]), np.zeros(3), 1.3 * y, grip)
    return (*shell, *tray, front, bar, *posts), slide


def _book(half: Triple) -> Made:
    """Two halves of pages between covers; the upper one turns about the middle of the spine, so that both lie flat when open."""
    x, y, z = half
    hinge = Articulation("hinge", np.array([0.0, -1.0, 0.0]), np.array([-x, 0.0, 0.0]), np.pi, np.array([x, 0.0, z * 0.6]))
    return (*_half_book(x, y, z, side=-1), *_half_book(x, y, z, side=1)), hinge


def _half_book(x: float, y: float, z: float, side: int) -> tuple[Solid, ...]:
    moves, pages_half_z = side > 0, (z - 2 * COVER_M) / 2
    return (
        Solid("box", (x, y, COVER_M), (0.0, 0.0, side * (z - COVER_M)), moves=moves),
        Solid("box", (COVER_M, y, z / 2), (COVER_M - x, 0.0, side * z / 2), moves=moves),
        Solid("box", (x - 0.003, y - 0.003, pages_half_z), (0.0, 0.0, side * pages_half_z), paint="paper", moves=moves),
    )


def _tray(half: Triple, wall_m: float, z_m: float = 0.0) -> tuple[Solid, ...]:
    """A floor and four walls, open above, centred at this height."""
    x, y, z = half
    return (
        Solid("box", (x, y, wall_m / 2), (0.0, 0.0, z_m - z + wall_m / 2)),
        *(Solid("box", (wall_m / 2, y, z), (side * (x - wall_m / 2), 0.0, z_m)) for side in (-1, 1)),
        *(Solid("box", (x - wall_m, wall_m / 2, z), (0.0, side * (y - wall_m / 2), z_m)) for side in (-1, 1)),
    )


MAKERS: dict[str, Callable[[Triple], Made]] = {
    "box": _box,
    "block": _box,
    "cylinder": _cylinder,
    "sphere": _sphere,
    "capsule": _capsule,
    "cup": _turned,
    "mug": _mug,
    "bowl": _turned,
    "bottle": _turned,
    "hammer": _hammer,
    "screwdriver": _screwdriver,
    "spoon": _spoon,
    "lid_box": _lid_box,
    "drawer": _drawer,
    "book": _book,
}
