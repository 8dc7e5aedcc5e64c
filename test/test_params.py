"""Parameters and configs are the same thing."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

from dataclasses import fields

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from ros_fixture import EchoSession, ros_graph

from h2w_ros.nodes.conditioner import Conditioner, ConditionerConfig
from h2w_ros.nodes.generator import Generator, GeneratorConfig
from h2w_ros.nodes.lifecycle import NodeConfig
from h2w_ros.nodes.params import overrides, read
from h2w_ros.nodes.recorder import RecorderConfig
from h2w_ros.nodes.replay import ReplayConfig
from h2w_ros.nodes.tracker_bridge import TrackerBridgeConfig
from h2w_ros.nodes.video_out import VideoConfig
from h2w_ros.nodes.worker import WorkerConfig
from h2w_ros.timeline import TimelineConfig

CONFIGS = (
    NodeConfig,
    ConditionerConfig,
    TimelineConfig,
    GeneratorConfig,
    VideoConfig,
    WorkerConfig,
    RecorderConfig,
    ReplayConfig,
    TrackerBridgeConfig,
)
IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def make():
    nodes = []
    with ros_graph() as ros:

        def conditioner(**parameters: object) -> Conditioner:
            nodes.append(Conditioner(context=ros.context, parameter_overrides=overrides(**parameters)))
            return nodes[-1]

        yield conditioner
        for node in nodes:
            node.finish()
            node.destroy_node()


@pytest.mark.parametrize("config", CONFIGS)
def test_every_parameter_says_what_it_does(config: type) -> None:
    assert all(spec.metadata.get("help") for spec in fields(config))


def test_a_node_without_overrides_has_the_configs_defaults(make) -> None:
    node = make()
    assert read(node, ConditionerConfig) == ConditionerConfig()
    assert read(node, TimelineConfig) == TimelineConfig()


def test_descriptions_and_ranges_reach_ros(make) -> None:
    descriptor = make().describe_parameter("rate_hz")
    assert "frame rate" in descriptor.description
    assert descriptor.floating_point_range[0].to_value == 120.0


def test_values_out_of_range_are_refused(make) -> None:
    node = make()
    assert not node.set_parameters([Parameter("rate_hz", value=0.0)])[0].successful


def test_a_value_that_is_none_of_the_choices_fails_to_configure_with_the_rule(make) -> None:
    with pytest.raises(ValueError, match="image_transport must be one of"):
        make(image_transport="pigeon").start()


def test_a_mount_needs_seven_numbers(make) -> None:
    with pytest.raises(ValueError, match="T_child_optical must be 7 numbers"):
        make(T_child_optical=(1.0, 2.0)).start()


def test_whole_numbers_in_a_list_are_read_as_numbers(make) -> None:
    node = make(T_child_optical=(0, 0, 0, 0, 0, 0, 1))
    assert read(node, ConditionerConfig).T_child_optical == (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def changed(node: Conditioner | Generator, **values: object) -> SetParametersResult:
    [result] = node.set_parameters(overrides(**values))
    return result


def test_limits_change_while_the_node_works(make) -> None:
    node = make()
    node.start()
    assert changed(node, min_hand_confidence=0.8).successful
    assert changed(node, max_leap_m=3.0).successful
    assert changed(node, hand_style="solid").successful
    assert (node._config.min_hand_confidence, node._timeline.config.max_leap_m, node._renderer.style) == (0.8, 3.0, "solid")


def test_a_generators_limits_change_while_it_works() -> None:
    with ros_graph() as ros:
        node = ros.add(Generator(lambda config: EchoSession(), context=ros.context))
        assert changed(node, inbox_length=9).successful
        assert changed(node, seed=3).successful
        assert (node._worker._config.inbox_length, node._worker._live.config.seed) == (9, 3)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"rate_hz": 30.0}, "deactivate and clean it up, then change it"),
        ({"T_child_optical": IDENTITY}, "deactivate and clean it up, then change it"),
        ({"hand_style": "pigeon"}, "hand_style must be one of"),
        ({"max_leap_m": -1.0}, "range"),
    ],
)
def test_a_change_that_cannot_be_made_now_is_refused_with_the_rule(make, values: dict, rule: str) -> None:
    node = make()
    node.start()
    before = read(node, ConditionerConfig), read(node, TimelineConfig)
    result = changed(node, **values)
    assert not result.successful
    assert rule in result.reason
    assert (read(node, ConditionerConfig), read(node, TimelineConfig)) == before


def test_what_configures_a_node_can_be_changed_before_it_is_configured(make) -> None:
    node = make()
    assert changed(node, rate_hz=30.0).successful
    node.start()
    assert node._timeline.config.rate_hz == 30.0
    node.trigger_deactivate()
    node.trigger_cleanup()
    assert changed(node, rate_hz=8.0).successful


def test_every_parameter_says_when_it_is_read(make) -> None:
    node = make()
    assert node.describe_parameter("rate_hz").description.endswith("read when the node is configured")
    assert not node.describe_parameter("max_leap_m").description.endswith("read when the node is configured")
