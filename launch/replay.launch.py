"""A recording through conditioner and generator, on its own clock; optionally recorded again with what was predicted.

ros2 launch h2w_ros replay.launch.py path:=run.mcap record:=predicted_run
"""

from __future__ import annotations

from pathlib import Path

from launch import Event, LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, IncludeLaunchDescription, RegisterEventHandler
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, NotEqualsSubstitution
from launch_ros.actions import Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import StateTransition
from launch_ros.parameter_descriptions import ParameterValue

PREVIEW = str(Path(__file__).resolve().parent / "preview.launch.py")


def arguments() -> list[DeclareLaunchArgument]:
    """What can be said on the command line, besides the arguments of preview.launch.py."""
    return [
        DeclareLaunchArgument("path", description="an episode folder, a bag, or a Hand2World example folder"),
        DeclareLaunchArgument("rate", default_value="1.0", description="speed; 2 is twice as fast as recorded"),
        DeclareLaunchArgument("loop", default_value="false", description="begin again at the end"),
        DeclareLaunchArgument("record", default_value="", description="folder of a new bag for inputs and predictions; empty records nothing"),
        DeclareLaunchArgument("page", default_value="false", description="serve the preview page too"),
        DeclareLaunchArgument("namespace", default_value="", description="in front of every topic"),
    ]


def replay() -> Node:
    """The node that plays; it starts by itself."""
    told = {
        "path": LaunchConfiguration("path"),
        "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
        "loop": ParameterValue(LaunchConfiguration("loop"), value_type=bool),
    }
    return Node(package="h2w_ros", executable="replay", name="replay", namespace=LaunchConfiguration("namespace"), parameters=[told], output="screen")


def recorder() -> Node:
    """The node that records, where `record` names a folder."""
    return Node(
        package="h2w_ros",
        executable="recorder",
        name="recorder",
        namespace=LaunchConfiguration("namespace"),
        parameters=[{"path": LaunchConfiguration("record"), "use_sim_time": True}],
        condition=IfCondition(NotEqualsSubstitution(LaunchConfiguration("record"), "")),
        output="screen",
    )


def conditioner_is_active(event: Event) -> bool:
    """Whether this event says that everything which predicts is ready."""
    return isinstance(event, StateTransition) and event.goal_state == "active" and event.action.node_name.endswith("/conditioner")


def generate_launch_description() -> LaunchDescription:
    """Everything that listens is up before the first message is played; the end of the recording ends all."""
    player = replay()
    told = {"use_sim_time": "true", "page": LaunchConfiguration("page")}
    preview = IncludeLaunchDescription(PythonLaunchDescriptionSource(PREVIEW), launch_arguments=told.items())
    return LaunchDescription(
        [
            *arguments(),
            RegisterEventHandler(OnStateTransition(matcher=conditioner_is_active, entities=[player])),
            RegisterEventHandler(OnProcessExit(target_action=player, on_exit=EmitEvent(event=Shutdown(reason="the recording has ended")))),
            recorder(),
            preview,
        ]
    )
