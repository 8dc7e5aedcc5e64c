"""What the network is shown: conditions drawn as hand picture, rays and static scene, all at the generator's size."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from h2w_ros.camera import Resize, ResizePolicy, intrinsics
from h2w_ros.condition import Camera, Condition, Image
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.drawn import DrawnCondition
from h2w_ros.generator.motion import Moment
from h2w_ros.generator.rays import FrameRays, RayTrack
from h2w_ros.geometry import Transform
from h2w_ros.hands.body import Body
from h2w_ros.hands.cover import hidden_by_hands, is_shown, with_margin
from h2w_ros.hands.dress import dress_by_seed, dressed, renewed_dress
from h2w_ros.hands.forearms import Shoulders, brightness, forearm_surface, forearms_world, with_forearms
from h2w_ros.hands.grip import grips_world, joints_world
from h2w_ros.hands.render import HandRenderer, Normals
from h2w_ros.hands.shoulders import SeenArms
from h2w_ros.hands.surface import HandSurface
from h2w_ros.scene.behind import without
from h2w_ros.scene.table_photo import TablePhoto
from h2w_ros.things.table_scene import NO_FOREARMS, TableScene

View = tuple[Camera, Transform]
Grips = Float[ndarray, "2 4 4"]
Mask = Bool[ndarray, "H W"]

MIN_KNOWN = 0.5
"""A static scene of which less is known, with no photo to fill it from, is unknown: the rest would be made up."""


@dataclass(frozen=True, eq=False)
class SceneSeen:
    """The scene without hands from one camera, as far as it does not depend on them."""

    untouched: Image | None
    """What the condition brings."""
    known: Mask | None
    """Where that has no holes; None: everywhere."""
    table: Image | None
    """The photo on the table; bare, where things are drawn by themselves."""

    def by_now(self, things: TableScene | None, view: View) -> Image | None:
        """As it should look by now, what was moved where it is: the untouched scene, else the photo, else unknown.

        Networks learn what a static scene is from whole pictures, of which the photo's are guesses beyond its
        edges. So holes of a render become such guesses: the photo on the table, or what is around them.
        """
        if self.untouched is None:
            return self._imagined(things, view)
        shown = self.untouched if things is None else things.over_untouched(self.untouched, self.table, view)
        return shown if self.known is None else without(shown, ~self.known, self._imagined(things, view))

    def _imagined(self, things: TableScene | None, view: View) -> Image | None:
        return self.table if self.table is None or things is None else things.over_bare_table(self.table, view)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What does not depend on the hands."""

    rays: FrameRays
    scene: SceneSeen


@dataclass(eq=False)
class SoFar:
    """What the hands of one future have told and done by now; it goes on as conditions are drawn."""

    body: Body
    things: TableScene | None
    """Of a network that is shown things where hands have taken them."""

    def begin(self) -> SoFar:
        """Of a new stream."""
        return SoFar(Body(table_height_m=self.body.table_height_m), None if self.things is None else self.things.begin())

    def branch(self) -> SoFar:
        """One that goes on from here by itself."""
        return SoFar(self.body, None if self.things is None else self.things.branch())


class ConditionDrawer:
    """Draws the conditions of one stream, in order.

    With `table_height_m`, the table's height in a world whose z axis points up, a model that knows static scenes is shown
    the scene's photo laid on that table wherever a condition brings no static render of its own, or one that shows hands:
    where cameras stand still, the first picture repeated (DWM's real half) is such a one.
    """

    def __init__(self, config: GeneratorConfig, resize_policy: ResizePolicy, renderer: HandRenderer | None, table_height_m: float | None) -> None:
        self.resize = Resize(config.width_px, config.height_px, resize_policy)
        self._renderer = renderer or HandRenderer(style=config.hand_style)
        self._has_forearms, self._is_dressed = config.forearms, config.dressed
        self._table_height_m = table_height_m if config.static_scene else None
        self._rays = RayTrack(config.rays, config.width_px, config.height_px)
        self._photo: TablePhoto | None = None
        self._in_render: Mask | None = None
        self._dress = dress_by_seed(0)
        height_m = self._table_height_m
        self.so_far = SoFar(Body(table_height_m=height_m), TableScene.at(height_m) if config.things and height_m is not None else None)
        """In this drawer's stream; whoever draws for several gives each its own."""

    def begin(self, seed: int = 0) -> ConditionDrawer:
        """A drawer for a new stream. The seed says how hands look until a picture shows them."""
        fresh = copy.copy(self)
        fresh._rays, fresh._photo, fresh._in_render = self._rays.begin(), None, None
        fresh._dress, fresh.so_far = dress_by_seed(seed), self.so_far.begin()
        return fresh

    def branch(self) -> ConditionDrawer:
        """A drawer that goes on from here by itself."""
        twin = copy.copy(self)
        twin._rays = self._rays.branch()
        twin.so_far = self.so_far.branch()
        return twin

    def draw(self, condition: Condition) -> DrawnCondition:
        """The stream's next condition as pictures and rays."""
        return self.draw_within(self.surroundings(condition), condition, self.so_far)

    def draw_within(self, around: Surroundings, condition: Condition, so_far: SoFar) -> DrawnCondition:
        """The condition whose surroundings are drawn already, in the future that has come so far: its hands act on that one's things."""
        (hands, normals), view, T_world_grips = self._drawn_hands(condition), self.view_of(condition), grips_world(condition.hands)
        if self._has_forearms:
            so_far.body = so_far.body.heard(T_world_grips, condition.T_world_camera)
        shoulders_world, things, coloured = so_far.body.shoulders_world, so_far.things, None
        control = with_forearms(hands, T_world_grips, *view, shoulders_world) if self._has_forearms else hands
        if self._is_dressed:
            coloured = dressed(hands, self._surface(hands, normals, T_world_grips, view, shoulders_world), self._dress)
        if things is not None:
            things.advance(joints_world(condition.hands), T_world_grips, self._forearms(T_world_grips, view, shoulders_world))
        return DrawnCondition(hands, control, around.rays, self._moment(view, T_world_grips), around.scene.by_now(things, view), coloured)

    def hands(self, condition: Condition) -> Image:
        """The hands alone; a ready-made hand render is taken as it is."""
        return self._drawn_hands(condition)[0]

    def _drawn_hands(self, condition: Condition) -> tuple[Image, Normals | None]:
        """The hands alone, and which way they face, for those who draw them in their colours; nobody knows that of a ready-made render."""
        if condition.hand_render is not None:
            return self.resize.picture(condition.hand_render), None
        if self._is_dressed:
            return self._renderer.render_with_normals(condition.hands, *self.view_of(condition))
        return self._renderer.render(condition.hands, *self.view_of(condition)), None

    def surroundings(self, condition: Condition) -> Surroundings:
        """Rays and static scene of the stream's next condition."""
        rays = self._rays.push(self.resize.kept(condition.camera), condition.T_world_camera)
        return Surroundings(rays, self._scene(condition))

    def take_picture(self, picture: Image, condition: Condition) -> None:
        """From now on table, things, hands and forearms are as in this picture of the generator's size, taken at this moment.

        Of the table, what hands hide stays as it was known before; of hands, what the picture does not show.
        """
        if self._table_height_m is None and not self._is_dressed and not self._has_forearms:
            return
        (hands, normals), view, T_world_grips = self._drawn_hands(condition), self.view_of(condition), grips_world(condition.hands)
        known = self.so_far.things
        look = None if known is None else known.look(picture, brightness(hands) > 0, view)
        is_hand = hidden_by_hands(picture, hands, T_world_grips, *view) if look is None else look.is_hand
        if self._has_forearms:
            self.so_far.body = self.so_far.body.seen(SeenArms(is_hand, hands, T_world_grips, *view)).heard(T_world_grips, view[1])
        shoulders_world = self.so_far.body.shoulders_world
        hidden, bare, things, light_from = with_margin(is_hand), picture, None, None
        if (
            condition.static_render is not None
            and self._in_render is None
            and is_shown(is_hand, picture, self.resize.picture(condition.static_render))
        ):
            self._in_render = hidden
        if known is not None and look is not None:
            arms = self._forearms(T_world_grips, view, shoulders_world)
            things = known.take(look, view, joints_world(condition.hands), T_world_grips, arms)
            bare, unsure = known.without_shadows(picture, hidden | things, view)
            things, light_from = things | unsure, known.light_from
        if self._is_dressed:
            surface = self._surface(hands, normals, T_world_grips, view, shoulders_world)
            self._dress = renewed_dress(self._dress, picture, surface, hidden, light_from)
        if self._table_height_m is not None:
            self._photo = TablePhoto(self._bare(bare, hidden, things, condition), *view, self._table_height_m)

    def _bare(self, picture: Image, hidden: Mask, things: Mask | None, condition: Condition) -> Image:
        """The picture without hands, and where things are drawn by themselves, without these: as it was known before, or guessed from around it."""
        scene = self._scene(condition)
        if things is None:
            return without(picture, hidden, scene.by_now(None, self.view_of(condition)))
        return without(picture, hidden | things, scene.table)

    def _forearms(self, T_world_grips: Grips, view: View, shoulders_world: Shoulders | None) -> Float[ndarray, "n 2 3"]:
        """What of forearms casts shadows, for networks that know them."""
        return forearms_world(T_world_grips, view[1], shoulders_world) if self._has_forearms else NO_FOREARMS

    def view_of(self, condition: Condition) -> View:
        """The camera at the generator's size, and where it is."""
        return self.resize.camera(condition.camera), condition.T_world_camera

    def _surface(self, hands: Image, normals: Normals | None, T_world_grips: Grips, view: View, shoulders_world: Shoulders | None) -> HandSurface:
        """What of hands and forearms each pixel may show."""
        forearms = forearm_surface(T_world_grips, *view, shoulders_world) if self._has_forearms else None
        return HandSurface.of(hands, normals, forearms, view[1])

    def _moment(self, view: View, T_world_grips: Grips) -> Moment:
        """Where the camera and the hands are."""
        camera, T_world_camera = view
        table_height_m = np.nan if self._table_height_m is None else self._table_height_m
        arrays = intrinsics(camera), T_world_camera, T_world_grips, np.array(table_height_m)
        return Moment(*(torch.from_numpy(array.astype(np.float32))[None] for array in arrays))

    def _scene(self, condition: Condition) -> SceneSeen:
        """What is known of the scene: the render that the condition brings, unless it shows hands or too little, and the photo on the table."""
        table = None if self._photo is None else self._photo.render(*self.view_of(condition))
        if condition.static_render is None or (self._in_render is not None and table is not None):
            return SceneSeen(None, None, table)
        if condition.static_known is None:
            return SceneSeen(self.resize.picture(condition.static_render), None if self._in_render is None else ~self._in_render, table)
        picture, known = self.resize.partial(condition.static_render, condition.static_known)
        known = known if self._in_render is None else known & ~self._in_render
        is_enough = table is not None or np.mean(known) >= MIN_KNOWN
        return SceneSeen(picture, known, table) if is_enough else SceneSeen(None, None, None)
