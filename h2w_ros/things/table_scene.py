"""The scene without hands as it is imagined to be by now: a table, and on it things that hands have moved, and the shadows of both.

A picture of the untouched scene tells nothing of what was taken away. So what the first picture shows on the table is lifted into
rigid parts, a learned rule moves these as hands act on them, and they are drawn where they are by now. Where shadows tell where the
light comes from, they are taken off the table and laid anew.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from h2w_ros.condition import Camera, Image
from h2w_ros.geometry import Transform, apply, invert, transform
from h2w_ros.hands.cover import with_margin
from h2w_ros.paths import models_dir
from h2w_ros.scene.splat import splat
from h2w_ros.scene.view import SceneView
from h2w_ros.things.handling import HandledParts, Handling, load_handling
from h2w_ros.things.lifting import Lifter, Look, load_lifter
from h2w_ros.things.parts import Part
from h2w_ros.things.shadows import Casters, Light, Seen, Solid, dimmed, hand_solids, lit_again, seen_light, shadow_of

MARGIN_PX = 1
"""Around things, pixels show a little of both."""
STAYED_M = 0.004
"""A part none of whose points are farther from where they were has not moved."""
MOSTLY = 0.5
View = tuple[Camera, Transform]
Joints = Float[ndarray, "2 21 3"]
Grips = Float[ndarray, "2 4 4"]
NO_FOREARMS = np.zeros((0, 2, 3))


@dataclass
class _Moment:
    """Parts where they were seen, and where each has gone since."""

    parts: list[Part]
    handled: HandledParts
    T_now_start: Float[ndarray, "m 4 4"]

    def places(self) -> list[Float[ndarray, "_ 3"]]:
        """Every part's points by now."""
        return [apply(T, part.points_world) for part, T in zip(self.parts, self.T_now_start, strict=True)]


class TableScene:
    """Things on a table of known height, in a world whose z axis points up; one stream's, driven in order."""

    def __init__(self, lifter: Lifter, handling: Handling, table_height_m: float) -> None:
        self._lifter, self._handling = lifter, handling
        self._T_table_world = transform(np.eye(3), np.array([0.0, 0.0, -table_height_m]))
        self._now: _Moment | None = None
        self._hands: list[Solid] = []
        self._light: Light | None = None

    @classmethod
    def at(cls, table_height_m: float) -> TableScene:
        """One with the shipped networks, which a process reads once."""
        return cls(*_networks(models_dir() / "things"), table_height_m)

    def begin(self) -> TableScene:
        """The same for a new stream."""
        fresh = copy.copy(self)
        fresh._now, fresh._hands, fresh._light = None, [], None
        return fresh

    def branch(self) -> TableScene:
        """One that goes on from here by itself."""
        twin = copy.copy(self)
        if self._now is not None:
            twin._now = _Moment(self._now.parts, self._now.handled.copy(), self._now.T_now_start)
        return twin

    def look(self, picture: Image, hands: Bool[ndarray, "H W"], view: View) -> Look:
        """What a picture shows; `hands`: where they are drawn."""
        return self._lifter.look(picture, hands, view[0], self._T_table_world @ view[1])

    def take(
        self, look: Look, view: View, joints_world: Joints, T_world_grips: Grips, forearms_world: Float[ndarray, "n 2 3"] = NO_FOREARMS
    ) -> Bool[ndarray, "H W"]:
        """From now on things look, and are, as in this picture; those that hands hide now stay as they were known before.

        Hands as `hands.grip` gives them, and `forearms.forearms_world`. Returns the pixels that show things, with a margin.
        """
        parts = self._hidden_parts(look.is_hand, view) + look.parts
        handled = self._handling.begin([part.points_world for part in parts], np.array([part.is_link for part in parts], bool))
        T_now_start = handled.advance(*self._over_table(joints_world, T_world_grips))
        self._now = _Moment(parts, handled, T_now_start)
        self._hold_up(joints_world, forearms_world)
        return with_margin(self._splatted(self._start(look.parts), look.parts, view).known, MARGIN_PX)

    def advance(self, joints_world: Joints, T_world_grips: Grips, forearms_world: Float[ndarray, "n 2 3"] = NO_FOREARMS) -> None:
        """One frame on: what these hands, where they are now, have done to the things."""
        if self._now is not None:
            self._now.T_now_start = self._now.handled.advance(*self._over_table(joints_world, T_world_grips))
            self._hold_up(joints_world, forearms_world)

    @property
    def light_from(self) -> Float[ndarray, "3"] | None:
        """Where the light comes from, a unit vector in the world; None while no shadow has told."""
        return None if self._light is None else self._light.direction

    def without_shadows(self, picture: Image, hidden: Bool[ndarray, "H W"], view: View) -> tuple[Image, Bool[ndarray, "H W"]]:
        """The picture that was taken last, its table as if nothing stood in the light; and where that is not to be believed: at shadows' edges.

        `hidden`: what shows no table. Where shadows fall tells where light comes from.
        """
        seen, casters = self._seen(view), self._casters()
        self._light = seen_light(picture, hidden, casters, seen, self._light)
        if self._light is None:
            return picture, np.zeros(hidden.shape, bool)
        return lit_again(picture, hidden, shadow_of(casters, self._light.direction, seen), self._light, seen)

    def over_bare_table(self, table: Image, view: View) -> Image:
        """All things where they are by now, and all shadows, over a picture of the table without them."""
        if self._now is None:
            return table
        if self._light is not None:
            table = dimmed(table, self._light.share(shadow_of(self._casters(), self._light.direction, self._seen(view))))
        if not self._now.parts:
            return table
        drawn = self._splatted(self._now.places(), self._now.parts, view)
        return np.where(drawn.known[..., None], drawn.picture, table)

    def over_untouched(self, untouched: Image, table: Image | None, view: View) -> Image:
        """What has moved, where it is by now, over a picture of the untouched scene; `table`, without things, shows where it was.

        The untouched scene has the things' shadows, and none of hands.
        """
        now = self._now
        if now is None:
            return untouched
        untouched = self._shaded_anew(untouched, now, view)
        if not (moved := self._moved(now)).any():
            return untouched
        places, start = now.places(), self._start(now.parts)
        drawn, owner = self._splatted(places, now.parts, view), self._splatted(places, now.parts, view, moved)
        left = self._splatted(start, now.parts, view, moved)
        cleared = untouched if table is None else np.where(_is_of(left)[..., None], table, untouched)
        return np.where(_is_of(owner)[..., None], drawn.picture, cleared)

    def _shaded_anew(self, untouched: Image, now: _Moment, view: View) -> Image:
        """The untouched scene with the shadows as they are by now. Over things of any height, so they are drawn again."""
        if self._light is None:
            return untouched
        seen, direction = self._seen(view), self._light.direction
        share = self._light.share(shadow_of(self._casters(), direction, seen))
        share /= self._light.share(shadow_of(Casters([], _points(self._start(now.parts))), direction, seen))
        shaded, things = dimmed(untouched, share), self._splatted(self._start(now.parts), now.parts, view).known
        return np.where(things[..., None], untouched, shaded)

    def _hold_up(self, joints_world: Joints, forearms_world: Float[ndarray, "n 2 3"]) -> None:
        """What hands hold into the light from now on."""
        joints, forearms = (apply(self._T_table_world, points) for points in (joints_world, forearms_world))
        self._hands = hand_solids(joints, list(forearms))

    def _casters(self) -> Casters:
        return Casters(self._hands, _points([] if self._now is None else self._now.places()))

    def _seen(self, view: View) -> Seen:
        camera, T_world_camera = view
        return camera, invert(self._T_table_world @ T_world_camera)

    def _over_table(self, joints_world: Joints, T_world_grips: Grips) -> tuple[Joints, Grips]:
        """The hands in the table's frame."""
        return apply(self._T_table_world, joints_world), self._T_table_world @ T_world_grips

    def _hidden_parts(self, hidden: Bool[ndarray, "H W"], view: View) -> list[Part]:
        """Parts that are mostly out of sight now, where they are by now."""
        now = self._now
        if now is None:
            return []
        kept = []
        for part, place in zip(now.parts, now.places(), strict=True):
            shown = self._splatted([place], [part], view).known
            if not shown.any() or (shown & hidden).sum() > MOSTLY * shown.sum():
                kept.append(Part(place.astype(np.float32), part.colors, part.radii_m, part.is_link))
        return kept

    def _moved(self, now: _Moment) -> Bool[ndarray, "m"]:
        ways = [np.linalg.norm(place - part.points_world, axis=-1).max() for place, part in zip(now.places(), now.parts, strict=True)]
        return np.array(ways) > STAYED_M

    def _start(self, parts: list[Part]) -> list[Float[ndarray, "_ 3"]]:
        return [part.points_world for part in parts]

    def _splatted(self, places: list[Float[ndarray, "_ 3"]], parts: list[Part], view: View, marked: Bool[ndarray, "m"] | None = None) -> SceneView:
        """The parts as a camera sees them; with `marked`, white where a marked part is in front and black where another is."""
        camera, T_world_camera = view
        if not parts:
            return SceneView(np.zeros((camera.height_px, camera.width_px, 3), np.uint8), np.zeros((camera.height_px, camera.width_px), bool))
        T_camera_table = invert(self._T_table_world @ T_world_camera)
        points = apply(T_camera_table, np.concatenate(places)).astype(np.float32)
        white = None if marked is None else np.repeat(marked, [len(part.points_world) for part in parts])
        colors = np.concatenate([part.colors for part in parts]) if white is None else np.repeat(255 * white[:, None].astype(np.uint8), 3, axis=1)
        return splat(points, colors, np.concatenate([part.radii_m for part in parts]), camera)


@cache
def _networks(folder: Path) -> tuple[Lifter, Handling]:
    return load_lifter(folder), load_handling(folder)


def _points(clouds: list[Float[ndarray, "_ 3"]]) -> Float[ndarray, "n 3"]:
    return np.concatenate([np.zeros((0, 3)), *clouds])


def _is_of(view: SceneView) -> Bool[ndarray, "H W"]:
    """Where marked parts are in front."""
    return view.known & (view.picture[..., 0] > 127)
