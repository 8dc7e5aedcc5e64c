"""A recording through conditioner and generator, recorded again beside what was predicted; every message carries the stamp of its moment.

ros2 launch h2w_ros synthesize.launch.py bag:=run.mcap out:=predicted_run

The predicted episode is `h2w import-episodes rosbag predicted_run --topic image=/predicted/image_raw --out episodes`. `h2w synthesize` does the
same without ROS, faster than the recording's own pace, with variations and a gate.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

REPLAY = str(Path(__file__).resolve().parent / "replay.launch.py")


def generate_launch_description() -> LaunchDescription:
    """The replay, with its recorder."""
    told = {"path": LaunchConfiguration("bag"), "record": LaunchConfiguration("out"), "rate": LaunchConfiguration("rate")}
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="an episode folder, a bag, or a Hand2World example folder"),
            DeclareLaunchArgument("out", default_value="synthesized", description="folder of a new bag for inputs and predictions"),
            DeclareLaunchArgument("rate", default_value="1.0", description="speed; below 1 leaves a slow machine time for every frame"),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(REPLAY), launch_arguments=told.items()),
        ]
    )
