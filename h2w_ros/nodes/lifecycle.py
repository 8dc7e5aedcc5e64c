"""What all our nodes share: lifecycle, parameters, throttled warnings, and a stop that lets every file be finished."""

from __future__ import annotations

import copy
import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
import rclpy.utilities
from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from h2w_ros.hardware import share_cores
from h2w_ros.nodes.executor import FrugalExecutor
from h2w_ros.nodes.middleware import make_room_for_pictures
from h2w_ros.nodes.params import check_changes, declare, setting
from h2w_ros.nodes.usage import usage

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
SPIN_TIMEOUT_S = 0.1
SWITCH_INTERVAL_S = 0.0005
LONGEST_SILENCE = 12
"""Periods between repetitions of a warning that has held for long."""


@dataclass(frozen=True)
class NodeConfig:
    """What every node can be told."""

    autostart: bool = setting(True, "configure and activate at once; false waits for a lifecycle manager")
    stale_after_s: float = setting(2.0, "an input that is silent for longer is reported as stale [s]", 0.1, 3600.0, live=True)
    warn_every_s: float = setting(5.0, "the same warning is said at most this often, of silence ever more seldom [s]", 0.1, 3600.0, live=True)


class StopRequested(BaseException):
    """A signal asked the process to end, in the midst of what may be interrupted."""


@dataclass
class _Interruption:
    is_welcome: bool = False


_interruption = _Interruption()


@contextmanager
def interruptible() -> Iterator[None]:
    """For what takes long in the main thread and leaves nothing half-done, such as loading a model: a stop signal raises StopRequested in it."""
    _interruption.is_welcome = threading.current_thread() is threading.main_thread()
    try:
        yield
    finally:
        _interruption.is_welcome = False


class Throttle:
    """Lets the same subject pass at most once in a period; one that `fades` after twice as long each time while it keeps coming, up to
    `LONGEST_SILENCE` periods."""

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self._said: dict[str, _Said] = {}

    def allows(self, subject: str, fades: bool = False) -> bool:
        """Whether this subject may be said now."""
        now_s = time.monotonic()
        said = self._said.get(subject)
        if said is None or now_s - said.came_s > 2.0 * self.period_s:  # it had ended
            self._said[subject] = _Said(now_s, now_s, 1)
            return True
        said.came_s = now_s
        if now_s - said.said_s < said.periods * self.period_s:
            return False
        said.said_s = now_s
        if fades:
            said.periods = min(LONGEST_SILENCE, 2 * said.periods)
        return True


@dataclass
class _Said:
    """When a subject was said and when it last came, and how many periods must pass until it is said again."""

    said_s: float
    came_s: float
    periods: int


class ManagedNode(LifecycleNode):
    """A lifecycle node whose subclasses write `set_up` and `tear_down`; a ValueError or OSError in `set_up` is said and fails the transition."""

    def __init__(self, name: str, config_types: Sequence[type], **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self._config_types = (NodeConfig, *config_types)
        for config_type in self._config_types:
            declare(self, config_type)
        self.is_active = False
        self._is_configured, self._is_finalized = False, False
        self._refusal = "a transition was refused"
        self._throttle = Throttle(self.get_parameter("warn_every_s").value)
        self.add_on_set_parameters_callback(self._judge_changes)
        self.add_post_set_parameters_callback(self._use_changes)

    def create_publisher(self, msg_type: type, topic: str, qos_profile: Any, **kwargs: Any) -> Any:
        """As rclpy's, which writes overrides into the profile that it is given: this node's must not reach others."""
        return super().create_publisher(msg_type, topic, copy.copy(qos_profile), **kwargs)

    def create_lifecycle_publisher(self, msg_type: type, topic: str, qos_profile: Any, **kwargs: Any) -> Any:
        """As rclpy's, with a profile of its own."""
        return super().create_lifecycle_publisher(msg_type, topic, copy.copy(qos_profile), **kwargs)

    def create_subscription(self, msg_type: type, topic: str, callback: Callable[..., None], qos_profile: Any, **kwargs: Any) -> Any:
        """As rclpy's, with a profile of its own."""
        return super().create_subscription(msg_type, topic, callback, copy.copy(qos_profile), **kwargs)

    def set_up(self) -> None:
        """Reads parameters, creates what the node works with."""
        raise NotImplementedError

    def tear_down(self) -> None:
        """Ends what `set_up` began; called once, also when the node was never activated."""
        raise NotImplementedError

    def take_changes(self) -> None:
        """Uses new values of live parameters; called only while the node is configured."""

    def warn(self, subject: str, text: str, fades: bool = False) -> None:
        """A warning that is not repeated within `warn_every_s` for the same subject; one that `fades` ever more seldom while it holds."""
        if self._throttle.allows(subject, fades):
            self.get_logger().warning(text)

    def start(self) -> None:
        """Configures and activates; ValueError with the reason when that is refused."""
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise ValueError(f"node {self.get_name()} could not start: {self._refusal}")

    def finish(self) -> None:
        """Leaves every state in order, so that files are whole; does nothing where a manager did it already."""
        if not self._is_finalized:
            self.trigger_shutdown()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """unconfigured -> inactive."""
        try:
            self.set_up()
        except (ValueError, OSError) as error:
            self._refusal = str(error)
            self.get_logger().error(self._refusal)
            return TransitionCallbackReturn.FAILURE
        except StopRequested:
            self._refusal = "it was asked to end meanwhile"
            return TransitionCallbackReturn.FAILURE
        self._is_configured = True
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """inactive -> active."""
        self.is_active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """active -> inactive."""
        self.is_active = False
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """inactive -> unconfigured."""
        self._is_configured = False
        self.tear_down()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """any state -> finalized."""
        self.is_active, self._is_configured, self._is_finalized = False, False, True
        if state.label in ("active", "inactive"):
            self.tear_down()
        return super().on_shutdown(state)

    def _judge_changes(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            for config_type in self._config_types:
                check_changes(self, config_type, parameters, self._is_configured)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _use_changes(self, _: list[Parameter]) -> None:
        self._throttle.period_s = self.get_parameter("warn_every_s").value
        if self._is_configured:
            self.take_changes()


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set. They cut nothing short but what is `interruptible`: an open file would stay unfinished.

    Once one came, the others are ignored to the end of the process: a terminal and `ros2 launch` both send theirs.
    """
    stop = threading.Event()

    def on_signal(*_: object) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the next one would come in the middle of this function
        stop.set()
        if _interruption.is_welcome:
            _interruption.is_welcome = False
            raise StopRequested

    old = {number: signal.signal(number, on_signal) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, signal.SIG_IGN if stop.is_set() else handler)


def spin(nodes: Sequence[ManagedNode], is_done: Callable[[], bool]) -> None:
    """Starts the nodes that start by themselves and spins until `is_done`; then finishes all while ROS still works."""
    executor = FrugalExecutor(context=nodes[0].context)
    try:
        for node in nodes:
            executor.add_node(node)
            if node.get_parameter("autostart").value and not is_done():
                _start(node, is_done)
        while not is_done():
            executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
    except ExternalShutdownException:
        nodes[0].get_logger().info("ROS was shut down")
    finally:
        for node in nodes:
            node.finish()
            node.destroy_node()
        executor.shutdown()


def _start(node: ManagedNode, is_done: Callable[[], bool]) -> None:
    """Starts a node; one that was asked to end meanwhile needs no start."""
    try:
        node.start()
    except ValueError:
        if not is_done():
            raise


def _asks_for_help(words: Sequence[str]) -> bool:
    """Whether the words that are not ROS's ask for help; ValueError when they are anything else."""
    others = rclpy.utilities.remove_ros_args(list(words))[1:]
    if set(others) - {"-h", "--help"}:
        raise ValueError(f"arguments for ROS follow --ros-args; got {' '.join(others)}: --help says more")
    return bool(others)


def main(make_nodes: Callable[[], Sequence[ManagedNode]], args: list[str] | None = None) -> int:
    """Body of every executable: ROS up, nodes started, spun, finished. Exit code 2 when one could not start.

    `--help` is answered before anything starts.
    """
    words = sys.argv if args is None else args
    # Inference shares the process: a callback must not wait for Python's usual 5 ms each time it wants to go on.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    make_room_for_pictures()
    # rclpy's own handlers end the context first, and a recorder could no longer be told to finish.
    share_cores()
    rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
    try:
        with stop_signals() as stop:
            nodes = make_nodes()
            if _asks_for_help(words):
                print(usage(Path(words[0]).name, nodes))  # noqa: T201  what was asked for
                return 0
            spin(nodes, lambda: stop.is_set() or any(getattr(node, "is_done", False) for node in nodes))
    except (ValueError, ParameterException) as error:
        print(error, file=sys.stderr)  # noqa: T201  an executable's last word
        return 2
    finally:
        rclpy.utilities.try_shutdown()
        # The interpreter's own end would search torch's objects for garbage: a second of a core, for nothing.
        gc.freeze()
    return 0
