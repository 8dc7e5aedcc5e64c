"""Parameters and configs are the same thing."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

from dataclasses import fields

from rclpy.parameter import Parameter
from ros_fixture import ros_graph

from h2w_ros.nodes.conditioner import Conditioner, ConditionerConfig
from h2w_ros.nodes.generator import GeneratorConfig
from h2w_ros.nodes.lifecycle import NodeConfig
from h2w_ros.nodes.params import overrides, read
from h2w_ros.nodes.recorder import RecorderConfig
from h2w_ros.nodes.replay import ReplayConfig
from h2w_ros.nodes.worker import WorkerConfig
from h2w_ros.timeline import TimelineConfig

CONFIGS = (NodeConfig, ConditionerConfig, TimelineConfig, GeneratorConfig, WorkerConfig, RecorderConfig, ReplayConfig)


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
