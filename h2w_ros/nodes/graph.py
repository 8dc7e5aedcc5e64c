"""A ROS graph of one's own: a context in a chosen domain, and nodes that spin in the background."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import rclpy
from rclpy.context import Context
from rclpy.node import Node

from h2w_ros.nodes.executor import FrugalExecutor

SPIN_S = 0.05
# Above 101 domains meet ephemeral ports; some are left to those who choose one.
NUM_PRIVATE_DOMAINS = 80


def private_domain() -> int:
    """A domain that is not the default one: a demonstration must not talk to a robot."""
    return random.randint(1, NUM_PRIVATE_DOMAINS)


def environment_of(domain: int) -> dict[str, str]:
    """This process's environment for processes in the domain, which stay on this machine."""
    return {**os.environ, "ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


@contextmanager
def context_in(domain: int) -> Iterator[Context]:
    """ROS in this domain, on this machine alone."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    try:
        yield context
    finally:
        rclpy.shutdown(context=context)


@contextmanager
def spinning(nodes: Sequence[Node]) -> Iterator[None]:
    """Spins the nodes on a thread of their own; destroys them at the end."""
    executor = FrugalExecutor(context=nodes[0].context)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            executor.spin_once(timeout_sec=SPIN_S)

    for node in nodes:
        executor.add_node(node)
    thread = threading.Thread(target=spin, name="spinning", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for node in nodes:
            node.destroy_node()
        executor.shutdown()
