"""The static scene that a conditioner draws into its conditions: from a file, or from whoever publishes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sensor_msgs.msg import PointCloud2

from h2w_ros.condition import Condition
from h2w_ros.depth_messages import cloud_from_msg
from h2w_ros.frames import StaticFrames
from h2w_ros.geometry import Transform
from h2w_ros.nodes.params import setting
from h2w_ros.ros_messages import transform_from_seven
from h2w_ros.scene.along import WIDTH_PX, with_scene
from h2w_ros.scene.files import load_scene
from h2w_ros.scene.points import Points, radii_of
from h2w_ros.scene.view import StaticScene


@dataclass(frozen=True)
class SceneInputConfig:
    """Which static scene conditions carry, and how finely it is drawn."""

    scene_file: str = setting("", "static scene (.npz, .ply, .obj, .glb) that conditions carry as static_render; empty: the one on scene_points")
    T_world_scene: tuple[float, ...] = setting((), "the file's frame in odometry's world: x y z [m], quaternion x y z w; empty: the same")
    scene_width_px: int = setting(WIDTH_PX, "the scene is drawn at most this wide, then enlarged to the camera's size [px]", 16, 4096, live=True)

    def __post_init__(self) -> None:
        if self.T_world_scene:
            transform_from_seven(self.T_world_scene, "T_world_scene")

    @property
    def place(self) -> Transform | None:
        """T_world_scene, or None where the file is in the world's frame already."""
        return transform_from_seven(self.T_world_scene, "T_world_scene") if self.T_world_scene else None


class SceneInput:
    """Keeps the newest scene, and brings it into odometry's world. `drop` counts a reason and warns with a text."""

    def __init__(self, config: SceneInputConfig, frames: StaticFrames, drop: Callable[[str, str], None]) -> None:
        self.config, self._frames, self._drop = config, frames, drop
        self._here: StaticScene | None = None
        self._elsewhere: tuple[str, Points] | None = None
        if config.scene_file:
            scene = load_scene(config.scene_file)
            self._here = scene if config.place is None else scene.moved(config.place)

    def take(self, msg: PointCloud2) -> None:
        """A scene that somebody publishes; it replaces the one before, and one without points ends it. One that cannot be read is dropped."""
        try:
            cloud = cloud_from_msg(msg)
            if not len(cloud.points):
                self._here = self._elsewhere = None
                return
            radii_m = radii_of(cloud.points) if cloud.radii_m is None else cloud.radii_m
            self._elsewhere = msg.header.frame_id, Points(cloud.points, cloud.colors, radii_m)
        except ValueError as error:
            self._drop("scene_unreadable", f"scene_points: {error}; the scene stays as it was")

    def into(self, condition: Condition, world_frame: str) -> Condition:
        """The condition with the scene as its camera sees it; as it is while no scene is known in this world."""
        scene = self._in_world(world_frame)
        return condition if scene is None else with_scene(condition, scene, self.config.scene_width_px)

    def _in_world(self, world_frame: str) -> StaticScene | None:
        if self._elsewhere is not None:
            frame, points = self._elsewhere
            T_world_frame = self._frames.find(world_frame, frame)
            if T_world_frame is None:
                text = f"the scene is in frame {frame!r}, which /tf_static does not connect to odometry's world {world_frame!r}: it is not drawn"
                self._drop("scene_in_other_frame", text)
                return self._here
            self._here, self._elsewhere = points if frame == world_frame else points.moved(T_world_frame), None
        return self._here
