"""Conditioner and generator, each a process: the generator first, so that no condition comes before it listens. Beside them the page to watch.

ros2 launch h2w_ros preview.launch.py camera:=realsense odometry:=/robot/odometry hands:=/tracker/hands

With `fuse_scene:=true` the node `scene` fuses a depth camera's measurements into the static scene that the conditioner draws.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch.conditions import IfCondition
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

CONFIG_FOLDER = Path(__file__).resolve().parent.parent / "config"
PARAMETERS_OF_CAMERA = [f"{CONFIG_FOLDER}/", LaunchConfiguration("camera"), ".yaml"]

INPUTS = {
    "image_raw": "camera pictures; compressed ones are looked for at <image_raw>/compressed",
    "camera_info": "calibration of these pictures",
    "odometry": "where the camera's carrier is in the world",
    "hands": "h2w_msgs/Hands in the odometry's world frame",
    "ready_made_hands": "drawn hands, used instead of poses with the parameter ready_made_hands",
    "ready_made_scene": "pictures of the untouched scene from where the camera is, as a renderer or a recording has them",
    "scene_points": "a coloured cloud of the static scene, as the node `scene` and mapping systems publish",
}
DEPTHS = {
    "depth_image": ("depth/image_raw", "for fuse_scene: depth that is aligned with image_raw; compressed at <depth_image>/compressedDepth"),
    "depth_points": ("depth/points", "for fuse_scene: a coloured cloud, instead of depth pictures"),
}


def arguments() -> list[DeclareLaunchArgument]:
    """What can be said on the command line."""
    return [
        DeclareLaunchArgument("camera", default_value="simulated", description="a file of config/, without .yaml"),
        DeclareLaunchArgument("parameters", default_value=PARAMETERS_OF_CAMERA, description="parameter file; replaces that of `camera`"),
        DeclareLaunchArgument("model", default_value="tiny", description="a model of models/, or a checkpoint's path"),
        DeclareLaunchArgument("namespace", default_value="", description="in front of every topic"),
        DeclareLaunchArgument("use_sim_time", default_value="false", description="time comes from /clock"),
        DeclareLaunchArgument("page", default_value="true", description="serve the preview page too"),
        DeclareLaunchArgument("page_port", default_value="8765", description="where: http://localhost:<page_port>; 0 takes any free one"),
        DeclareLaunchArgument("tf_static", default_value="/tf_static", description="fixed frames; tf_static for those of the namespace"),
        DeclareLaunchArgument("fuse_scene", default_value="false", description="make the static scene from a depth camera, too"),
        *[DeclareLaunchArgument(topic, default_value=topic, description=text) for topic, text in INPUTS.items()],
        *[DeclareLaunchArgument(name, default_value=topic, description=text) for name, (topic, text) in DEPTHS.items()],
    ]


def managed(name: str, **parameters: object) -> LifecycleNode:
    """One of our nodes, which waits to be configured and activated."""
    common = {"autostart": False, "use_sim_time": sim_time()}
    return LifecycleNode(
        package="h2w_ros",
        executable=name,
        name=name,
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("parameters"), common | parameters],
        remappings=remappings(),
        output="screen",
    )


def remappings() -> list[tuple[object, object]]:
    """Every input's topic, as the arguments say."""
    topics = {topic: LaunchConfiguration(topic) for topic in INPUTS} | {topic: LaunchConfiguration(name) for name, (topic, _) in DEPTHS.items()}
    transports = {
        "image_raw/compressed": [LaunchConfiguration("image_raw"), "/compressed"],
        "depth/image_raw/compressedDepth": [LaunchConfiguration("depth_image"), "/compressedDepth"],
    }
    return [*topics.items(), *transports.items(), ("/tf_static", LaunchConfiguration("tf_static"))]


def sim_time() -> ParameterValue:
    """The argument `use_sim_time`."""
    return ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)


def scene() -> Node:
    """What fuses depth; it starts by itself, and says what it waits for."""
    return Node(
        package="h2w_ros",
        executable="scene",
        name="scene",
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("parameters"), {"use_sim_time": sim_time()}],
        remappings=remappings(),
        condition=IfCondition(LaunchConfiguration("fuse_scene")),
        output="screen",
    )


def page() -> Node:
    """The preview page; it starts by itself, and says so while there is nothing to show."""
    return Node(
        package="h2w_ros",
        executable="preview",
        name="preview",
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("parameters"), {"port": ParameterValue(LaunchConfiguration("page_port"), value_type=int)}],
        condition=IfCondition(LaunchConfiguration("page")),
        output="screen",
    )


def change(node: LifecycleNode, transition_id: int) -> EmitEvent:
    """Asks a node for a transition."""
    return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition_id))


def when(node: LifecycleNode, from_state: str, state: str, *actions: object) -> RegisterEventHandler:
    """Does something once the node has come from one state to another."""
    return RegisterEventHandler(OnStateTransition(target_lifecycle_node=node, start_state=from_state, goal_state=state, entities=list(actions)))


def generate_launch_description() -> LaunchDescription:
    """Generator configured, activated; then the conditioner likewise. The page does not wait for them."""
    generator = managed("generator", model=LaunchConfiguration("model"))
    conditioner = managed("conditioner")
    return LaunchDescription(
        [
            *arguments(),
            when(generator, "configuring", "inactive", change(generator, Transition.TRANSITION_ACTIVATE)),
            when(generator, "activating", "active", change(conditioner, Transition.TRANSITION_CONFIGURE)),
            when(conditioner, "configuring", "inactive", change(conditioner, Transition.TRANSITION_ACTIVATE)),
            generator,
            conditioner,
            page(),
            scene(),
            change(generator, Transition.TRANSITION_CONFIGURE),
        ]
    )
