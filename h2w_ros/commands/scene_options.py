"""Arguments that give a recording a static scene, and recordings that carry one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from h2w_ros.commands.recording_options import recording_of
from h2w_ros.episodes.recording import Recording

if TYPE_CHECKING:
    from h2w_ros.condition import Condition
    from h2w_ros.generator.config import GeneratorConfig
    from h2w_ros.scene.view import StaticScene


class SceneRecording(Recording):
    """A recording whose conditions carry a scene as their camera sees it; `known_share` is how much of these pictures showed something."""

    def __init__(self, recording: Recording, scene: StaticScene) -> None:
        self._recording, self._scene = recording, scene
        self.path, self.rate_hz, self.domain = recording.path, recording.rate_hz, recording.domain
        self.dropped, self.description = recording.dropped, recording.description
        self._known, self._num_seen = 0.0, 0

    @property
    def num_frames(self) -> int:
        """As many as the recording has."""
        return self._recording.num_frames

    @property
    def known_share(self) -> float:
        """Of all pictures so far, the share that the scene covers."""
        return self._known / max(self._num_seen, 1)

    def conditions(self, start: int = 0, stop: int | None = None) -> Iterator[Condition]:
        """Conditions start .. stop - 1 with the scene."""
        from h2w_ros.scene.along import along

        for condition in along(self._recording.conditions(start, stop), self._scene):
            if condition.static_known is not None:
                self._known, self._num_seen = self._known + float(condition.static_known.mean()), self._num_seen + 1
            yield condition
        self.dropped = self._recording.dropped  # complete only now


def add_scene_arguments(parser: argparse.ArgumentParser) -> None:
    """A scene and where it stands, or a video of it and one of hands instead of a recording."""
    scene = parser.add_argument_group("static scene")
    scene.add_argument("--scene", type=Path, metavar="FILE", help="untouched scene as .npz, .ply, .obj or .glb (default: what the episode has)")
    scene.add_argument("--scene-pose", metavar="'X Y Z QX QY QZ QW'", help="the file's frame in the recording's world (default: the same)")
    pair = parser.add_argument_group("instead of RECORDING, two videos along one camera path (Dexterous World Models)")
    pair.add_argument("--static-video", type=Path, metavar="F.mp4", help="the untouched scene; its first frame is where the prediction starts")
    pair.add_argument("--hand-video", type=Path, metavar="F.mp4", help="the hands alone on black, in the style that the model was trained with")
    pair.add_argument("--camera", type=Path, metavar="F.json", help="the path as Hand2World's camera.json; without it rays tell of a camera at rest")


def source_of(args: argparse.Namespace) -> Recording:
    """What the prediction answers: a recording, with a static scene where there is one, or a pair of rendered videos."""
    num_videos = sum(video is not None for video in (args.static_video, args.hand_video))
    if num_videos != (2 if args.recording is None else 0):
        raise ValueError("h2w generate takes either RECORDING, or both --static-video and --hand-video")
    if args.recording is not None:
        if args.camera is not None:
            raise ValueError("--camera belongs to --static-video and --hand-video; a recording has its own cameras")
        return with_scene_of(args, recording_of(args))
    if args.scene is not None:
        raise ValueError("--scene and --static-video both say what the scene looks like; give one of them")
    from h2w_ros.episodes.rendered_pair import RenderedPair

    return RenderedPair(args.static_video, args.hand_video, args.camera)


def check_fit(args: argparse.Namespace, config: GeneratorConfig, recording: Recording) -> None:
    """ValueError where a model cannot use what it is given; says where it must do without what it was trained with."""
    from h2w_ros.episodes.rendered_pair import RATE_TOLERANCE, RenderedPair

    if (args.scene or args.static_video) and not config.static_scene:
        raise ValueError(f"{config.name} must know static scenes to be shown one: static_scene in a model's config.json says whether it does")
    if not isinstance(recording, RenderedPair):
        return
    if abs(recording.rate_hz - config.rate_hz) > RATE_TOLERANCE:
        rule = f"videos must run at the model's {config.rate_hz:g} Hz, got {recording.rate_hz:g}"
        raise ValueError(f"{rule}: resample both, for instance with ffmpeg -i {recording.path.name} -r {config.rate_hz:g} resampled.mp4")
    if not recording.knows_camera and config.transformer.asks_for_rays:
        print(f"No camera path: {config.name} takes rays, too, and is shown those of a camera at rest. --camera gives them.")


def with_scene_of(args: argparse.Namespace, recording: Recording) -> Recording:
    """The recording with the scene that the arguments name, else with its own, else as it is."""
    from h2w_ros.episodes.episode import Episode
    from h2w_ros.ros_messages import transform_from_seven
    from h2w_ros.scene.files import load_scene

    path = args.scene
    if path is None and isinstance(recording, Episode) and "static_render" not in recording.manifest.pictures:
        path = recording.scene_path
    if path is None:
        return recording
    scene: StaticScene = load_scene(path)
    if args.scene_pose is not None:
        scene = scene.moved(transform_from_seven([float(word) for word in args.scene_pose.split()], "--scene-pose"))
    return SceneRecording(recording, scene)
