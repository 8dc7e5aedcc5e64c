"""The RViz configuration and the Foxglove layout name what our nodes really send, under names and types that viewers can show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("foxglove_msgs.msg", reason="foxglove_msgs is not installed")

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from robot_fixture import conditioner, generator, values_of
from ros_fixture import EchoSession, Ros, wait_until

from h2w_ros.nodes import topics
from h2w_ros.nodes.scene import Scene
from h2w_ros.nodes.tracker_bridge import TrackerBridge

CONFIG = Path(__file__).resolve().parent.parent / "config"
RVIZ = CONFIG / "h2w.rviz"
FOXGLOVE = CONFIG / "h2w.foxglove.json"

IMAGE, JPEG, VIDEO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "foxglove_msgs/msg/CompressedVideo"
MARKERS, FRAMES, DIAGNOSTICS = "visualization_msgs/msg/MarkerArray", "tf2_msgs/msg/TFMessage", "diagnostic_msgs/msg/DiagnosticArray"
CLOUD = "sensor_msgs/msg/PointCloud2"
# What each display, or panel, can show.
SHOWN_BY_RVIZ = {"Image": {IMAGE, JPEG}, "MarkerArray": {MARKERS}, "Odometry": {"nav_msgs/msg/Odometry"}, "PointCloud2": {CLOUD}}
WITHOUT_TOPIC = {"Grid", "TF"}
SHOWN_BY_FOXGLOVE = {
    "Image": {IMAGE, JPEG, VIDEO},
    "3D": {MARKERS, FRAMES, CLOUD},
    "DiagnosticSummary": {DIAGNOSTICS},
    "DiagnosticStatusPanel": {DIAGNOSTICS},
}
# What a robot sends, and our nodes hear.
FROM_OUTSIDE = {f"/{name}" for name in topics.INPUTS} | {"/tf", "/tf_static"}


def rviz_displays() -> list[dict[str, Any]]:
    return yaml.safe_load(RVIZ.read_text())["Visualization Manager"]["Displays"]


def rviz_topics() -> Iterator[tuple[str, str]]:
    """Kind of display and the topic that it shows."""
    for display in rviz_displays():
        kind = display["Class"].removeprefix("rviz_default_plugins/")
        if kind not in WITHOUT_TOPIC:
            yield kind, display["Topic"]["Value"]


def foxglove_panels() -> dict[str, dict[str, Any]]:
    return json.loads(FOXGLOVE.read_text())["configById"]


def foxglove_topics() -> Iterator[tuple[str, str]]:
    """Kind of panel and each topic that it shows."""
    for name, panel in foxglove_panels().items():
        kind = name.split("!")[0]
        if kind == "3D":
            yield from ((kind, topic) for topic in panel["topics"])
        elif kind == "Image":
            yield kind, panel["imageMode"]["imageTopic"]
        elif kind.startswith("Diagnostic"):
            yield kind, panel["topicToRender"]


def panels_in(layout: Any) -> Iterator[str]:
    """Every panel that a layout puts somewhere."""
    if isinstance(layout, str):
        yield layout
        return
    for part in ("first", "second"):
        yield from panels_in(layout[part])


@pytest.fixture
def offered(ros: Ros) -> dict[str, set[str]]:
    """Types of all topics of a graph with our nodes in it."""
    nodes = [conditioner(ros), generator(ros, EchoSession()), *(ros.add(make(context=ros.context)) for make in (TrackerBridge, Scene))]
    assert wait_until(lambda: len([name for name in ros.node.get_node_names() if name in {node.get_name() for node in nodes}]) == len(nodes))
    assert wait_until(lambda: "/predicted/video" in dict(ros.node.get_topic_names_and_types()))
    return {name: set(kinds) for name, kinds in ros.node.get_topic_names_and_types()}


@pytest.mark.parametrize(("named", "shown"), [(rviz_topics, SHOWN_BY_RVIZ), (foxglove_topics, SHOWN_BY_FOXGLOVE)], ids=["rviz", "foxglove"])
def test_every_topic_is_there_with_a_type_that_its_display_shows(ros: Ros, offered: dict[str, set[str]], named: Any, shown: dict) -> None:
    rows = list(named())
    for kind, topic in rows:
        assert offered[topic] <= shown[kind], topic
        assert topic in FROM_OUTSIDE or ros.node.count_publishers(topic), f"{topic} is sent by nobody"
    assert {topic for _, topic in rows} >= {"/hand_render", "/condition_markers", "/hand_markers", "/plucker_rays/picture"}
    assert any(topic.startswith("/predicted/") for _, topic in rows)
    assert any(topic.startswith("/image_raw") for _, topic in rows)


def test_displays_of_rviz_hear_every_publisher(ros: Ros, offered: dict[str, set[str]]) -> None:
    for display in rviz_displays():
        assert display["Enabled"] == display["Value"]
        if "Topic" in display:
            wanted = display["Topic"]["Reliability Policy"], display["Topic"]["Durability Policy"]
            sent = [(qos_of(end.reliability), qos_of(end.durability)) for end in publishers_of(ros, display["Topic"]["Value"])]
            assert wanted == ("Best Effort", "Volatile") or set(sent) == {wanted}, display["Name"]


def publishers_of(ros: Ros, topic: str) -> list[QoSProfile]:
    return [info.qos_profile for info in ros.node.get_publishers_info_by_topic(topic)]


def qos_of(policy: ReliabilityPolicy | DurabilityPolicy) -> str:
    """The policy as RViz calls it."""
    return policy.name.replace("_", " ").title()


def test_every_panel_of_the_layout_has_its_place_once() -> None:
    panels = foxglove_panels()
    placed = list(panels_in(json.loads(FOXGLOVE.read_text())["layout"]))
    placed += [tab["layout"] for name in placed if name.startswith("Tab!") for tab in panels[name]["tabs"]]
    assert sorted(placed) == sorted(panels)


def test_what_the_layout_plots_is_in_the_generators_diagnostics(ros: Ros) -> None:
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    generator(ros, EchoSession())
    assert wait_until(lambda: values_of(diagnostics, "generator"))
    plotted = [path["value"] for path in foxglove_panels()["Plot!latency"]["paths"]]
    words = [re.fullmatch(r'/diagnostics\.status\[:\]\{name=="/(\w+)"\}\.values\[:\]\{key=="([\w.]+)"\}\.value', path) for path in plotted]
    assert all(word is not None and word[2] in values_of(diagnostics, word[1]) for word in words)
    assert foxglove_panels()["DiagnosticStatusPanel!generator"]["selectedName"] == "/generator"
