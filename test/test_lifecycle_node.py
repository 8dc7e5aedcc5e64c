"""Nodes start, stop and start again: in any order, a hundred times, and on any signal."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

pytest.importorskip("rclpy")

from page_fixture import EchoGenerator, scenes
from process_fixture import ECHO_GENERATOR, main_of, process
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from robot_fixture import generator
from ros_fixture import PERIOD_NS, START_NS, EchoSession, Ros, conditions, wait_until
from sensor_msgs.msg import Image as ImageMsg

from h2w_ros.annotate.mediapipe_hands import MediaPipeConfig
from h2w_ros.condition import Image
from h2w_ros.episodes.bag_writer import write_bag
from h2w_ros.nodes import lifecycle, topics
from h2w_ros.nodes.conditioner import Conditioner
from h2w_ros.nodes.generator import Generator
from h2w_ros.nodes.hand_tracker import HandTracker
from h2w_ros.nodes.lifecycle import ManagedNode, Throttle
from h2w_ros.nodes.messages import Moment
from h2w_ros.nodes.params import overrides
from h2w_ros.nodes.preview import Preview
from h2w_ros.nodes.recorder import Recorder
from h2w_ros.nodes.replay import Replay
from h2w_ros.nodes.scene import Scene
from h2w_ros.nodes.tracker_bridge import TrackerBridge
from h2w_ros.ros_messages import stamp_to_ns

TRANSITIONS = ("configure", "activate", "deactivate", "cleanup")
CLOSING_S = 2.0


def closing_s() -> float:
    """How long closing may take; longer where more wants to run than there are cores."""
    return CLOSING_S * max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


def test_a_lifecycle_manager_can_stop_and_start_the_nodes(ros: Ros) -> None:
    images = ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    node = generator(ros, EchoSession())
    node.trigger_deactivate()
    node.accept(Moment(conditions(1)[0]))
    node.trigger_cleanup()
    assert wait_until(lambda: ros.node.count_subscribers(f"/{topics.CONDITION}") == 0)
    node.start()
    node.accept(Moment(conditions(2)[1]))
    assert wait_until(lambda: len(images) == 1)
    assert stamp_to_ns(images[0].header.stamp) == START_NS + PERIOD_NS


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "bag.mcap"
    write_bag(path, conditions(40))
    return path


def make_conditioner(ros: Ros, _recording: Path, _out: Path) -> ManagedNode:
    return Conditioner(context=ros.context)


def make_generator(ros: Ros, _recording: Path, _out: Path) -> ManagedNode:
    return Generator(lambda config: EchoSession(), context=ros.context)


def make_recorder(ros: Ros, _recording: Path, out: Path) -> ManagedNode:
    return Recorder(context=ros.context, parameter_overrides=overrides(path=str(out / "first")))


def make_replay(ros: Ros, recording: Path, _out: Path) -> ManagedNode:
    return Replay(context=ros.context, parameter_overrides=overrides(path=str(recording), wait_for_listeners_s=0.0))


def make_tracker_bridge(ros: Ros, _recording: Path, _out: Path) -> ManagedNode:
    return TrackerBridge(context=ros.context)


def make_preview(ros: Ros, _recording: Path, _out: Path) -> ManagedNode:
    return Preview(lambda _: None, scenes(), EchoGenerator, context=ros.context, parameter_overrides=overrides(port=0))


def make_scene(ros: Ros, _recording: Path, _out: Path) -> ManagedNode:
    return Scene(context=ros.context)


class BlindDetector:
    """Stands where MediaPipe's process stands."""

    def __init__(self, config: MediaPipeConfig) -> None:
        self.config = config

    def find(self, picture: Image) -> tuple[()]:
        return ()

    def close(self) -> None:
        pass


def make_hand_tracker(ros: Ros, _recording: Path, _out: Path) -> ManagedNode:
    return HandTracker(BlindDetector, context=ros.context)


MAKERS = (make_conditioner, make_generator, make_hand_tracker, make_preview, make_recorder, make_replay, make_scene, make_tracker_bridge)


def resources() -> tuple[int, int, int]:
    """Threads, open files and resident bytes of this process."""
    gc.collect()
    me = psutil.Process()
    return me.num_threads(), me.num_fds(), me.memory_info().rss


def wander(node: ManagedNode, out: Path, num_steps: int, rng: random.Random) -> int:
    """Asks for transitions in any order; returns how many were made. A recorder gets a new place for each bag."""
    num_made = 0
    for step in range(num_steps):
        if node.has_parameter("path") and isinstance(node, Recorder):
            node.set_parameters([Parameter("path", value=str(out / f"{id(node)}_{step}"))])
        try:
            num_made += getattr(node, f"trigger_{rng.choice(TRANSITIONS)}")() == TransitionCallbackReturn.SUCCESS
        except rclpy_implementation.RCLError:
            continue  # ROS refuses transitions that the present state does not know
        time.sleep(0.001)
    return num_made


@pytest.mark.parametrize("make", MAKERS)
def test_a_hundred_transitions_in_any_order_leave_no_thread_file_or_memory_behind(
    ros: Ros, recording: Path, tmp_path: Path, make: Callable[[Ros, Path, Path], ManagedNode]
) -> None:
    rng = random.Random(0)
    node = make(ros, recording, tmp_path)
    assert wander(node, tmp_path, 60, rng) > 10  # what is made once stays
    for _ in range(2):
        before = resources()
        num_made = wander(node, tmp_path, 300, rng)
        while node._state_machine.current_state[1] != "unconfigured":
            wander(node, tmp_path, 1, rng)
        assert num_made >= 100
        after = resources()
        if after[2] - before[2] < 8e6:
            break  # a leak grows in every round; this process's memory may move once, for what ran in it before
    began_s = time.monotonic()
    node.finish()
    assert time.monotonic() - began_s < closing_s()
    node.destroy_node()
    assert after[0] <= before[0]
    assert after[1] <= before[1] + 2
    assert after[2] - before[2] < 8e6
    assert not [thread for thread in threading.enumerate() if thread.name in ("inference", "replay")]


LOADS_FOR_A_MINUTE = (
    "import sys, time; from h2w_ros.nodes import lifecycle; from h2w_ros.nodes.generator import Generator; "
    "load = lambda config: (print('loading', flush=True), time.sleep(60.0)); "
    "sys.exit(lifecycle.main(lambda: [Generator(load)]))"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_generator_that_is_still_loading_ends_as_soon(ros: Ros, number: signal.Signals) -> None:
    with process(ros, LOADS_FOR_A_MINUTE, stdout=subprocess.PIPE) as running:
        assert running.stdout.readline() == "loading\n"
        began_s = time.monotonic()
        running.send_signal(number)
        assert running.wait(20.0) == 0
        assert time.monotonic() - began_s < closing_s()


def test_a_process_that_has_loaded_torch_does_not_search_it_for_garbage_at_its_end(ros: Ros) -> None:
    # The search takes a second of a core; on a busy machine that lasts longer than `ros2 launch` waits.
    code = f"import atexit, gc, torch.nn; atexit.register(lambda: print(gc.get_freeze_count(), len(gc.get_objects()))); {ECHO_GENERATOR}"
    with process(ros, code, stdout=subprocess.PIPE) as running:
        assert wait_until(lambda: "generator" in ros.node.get_node_names())
        running.send_signal(signal.SIGINT)
        num_frozen, num_searched = map(int, running.communicate(timeout=30.0)[0].split())
    assert running.returncode == 0
    assert num_frozen > 100 * num_searched


def ended_by(running: subprocess.Popen, number: signal.Signals) -> int:
    """The exit code of a process that must end in time. A terminal and `ros2 launch` both send theirs, and people press Ctrl-C twice."""
    began_s = time.monotonic()
    while running.poll() is None:
        os.kill(running.pid, number)
        time.sleep(0.02)
        assert time.monotonic() - began_s < closing_s()
    return running.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_every_node_ends_within_two_seconds_of_a_signal_however_often_it_comes(
    ros: Ros, recording: Path, tmp_path: Path, number: signal.Signals
) -> None:
    codes = {name: main_of(name) for name in ("conditioner", "preview", "recorder", "replay", "scene", "tracker_bridge")} | {
        "generator": ECHO_GENERATOR
    }
    parameters = {"recorder": [f"path:={tmp_path / 'bag'}"], "replay": [f"path:={recording}", "loop:=true"], "preview": ["port:=0"]}
    with ExitStack() as stack:
        running = {name: stack.enter_context(process(ros, code, parameters.get(name, ()))) for name, code in codes.items()}
        assert wait_until(lambda: set(running) <= set(ros.node.get_node_names()))
        time.sleep(0.5)
        assert {name: ended_by(one, number) for name, one in running.items()} == dict.fromkeys(running, 0)
    assert (tmp_path / "bag" / "metadata.yaml").is_file()


def test_a_warning_that_holds_is_repeated_ever_more_seldom_and_a_new_one_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(lifecycle.time, "monotonic", lambda: now_s)
    throttle, said_s, many = Throttle(5.0), [], []
    for second in range(300):
        now_s = 100.0 + second
        if throttle.allows("camera", fades=True):
            said_s.append(second)
        many.append(throttle.allows("pictures"))
    assert said_s == [0, 5, 15, 35, 75, 135, 195, 255]
    assert sum(many) == 60, "what does not fade may tell of another fault each time"
    assert throttle.allows("hands")
    now_s += 11.0
    assert throttle.allows("camera", fades=True), "it had ended in between"
