"""ROS parameters declared from frozen dataclasses: defaults, descriptions and ranges are written once, there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, field, fields
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

Config = TypeVar("Config")


def setting(
    default: Any, text: str, low: int | float | None = None, high: int | float | None = None, choices: tuple[str, ...] = (), live: bool = False
) -> Any:
    """A documented field of a config: `text` says what it does and its unit; `live` ones may change while the node works."""
    metadata: dict[str, Any] = {"help": text, "live": live}
    if low is not None and high is not None:
        metadata["range"] = (low, high)
    if choices:
        metadata["choices"] = choices
    return field(default=default, metadata=metadata)


def check_choices(config: Any) -> None:
    """ValueError when a field with choices has none of them."""
    for spec in fields(config):
        choices = spec.metadata.get("choices")
        if choices and getattr(config, spec.name) not in choices:
            raise ValueError(f"{spec.name} must be one of {choices}, got {getattr(config, spec.name)!r}")


def declare(node: Node, config_type: type) -> None:
    """Declares one parameter a field; one that is declared already (another config has the same field) stays."""
    for spec in fields(config_type):
        if not node.has_parameter(spec.name):
            node.declare_parameter(spec.name, _to_ros(_default(spec)), _descriptor(spec))


def read(node: Node, config_type: type[Config]) -> Config:
    """The config of the node's present parameters; ValueError from the config's own checks."""
    return _config(config_type, {spec.name: node.get_parameter(spec.name).value for spec in fields(config_type)})  # type: ignore[arg-type]


def check_changes(node: Node, config_type: type, parameters: Sequence[Parameter], is_configured: bool) -> None:
    """ValueError with the rule when a config may not be changed like this now."""
    names = {spec.name for spec in fields(config_type)}
    changes = {parameter.name: parameter.value for parameter in parameters if parameter.name in names}
    for spec in fields(config_type):
        if spec.name in changes and is_configured and not spec.metadata.get("live"):
            raise ValueError(f"{spec.name} is used when the node is configured: deactivate and clean it up, then change it")
    if changes:
        _config(config_type, {spec.name: changes.get(spec.name, node.get_parameter(spec.name).value) for spec in fields(config_type)})


def overrides(**values: Any) -> list[Parameter]:
    """Parameter overrides for a node's constructor."""
    return [Parameter(name, value=_to_ros(value)) for name, value in values.items()]


def _config(config_type: type[Config], values: Mapping[str, Any]) -> Config:
    return config_type(**{spec.name: _from_ros(values[spec.name], _default(spec)) for spec in fields(config_type)})  # type: ignore[arg-type]


def _default(spec: Field) -> Any:
    if spec.default is MISSING:
        raise TypeError(f"field {spec.name} needs a default to become a parameter")
    return spec.default


def _to_ros(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _from_ros(value: Any, default: Any) -> Any:
    return tuple(float(item) if isinstance(item, int) else item for item in value) if isinstance(default, tuple) else value


def _descriptor(spec: Field) -> ParameterDescriptor:
    text = spec.metadata.get("help", "")
    if spec.metadata.get("choices"):
        text = f"{text}; one of {', '.join(spec.metadata['choices'])}"
    if not spec.metadata.get("live"):
        text = f"{text}; read when the node is configured"
    # An empty list has no type of its own, and whole numbers in a YAML list make it a list of integers.
    descriptor = ParameterDescriptor(description=text, dynamic_typing=isinstance(spec.default, tuple))
    if "range" in spec.metadata:
        low, high = spec.metadata["range"]
        if isinstance(spec.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    return descriptor
