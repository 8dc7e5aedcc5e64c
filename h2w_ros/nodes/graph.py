"""A ROS graph of one's own: a context in a chosen domain, and nodes that spin in the background."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.node import Node

from h2w_ros.nodes.executor import FrugalExecutor

SPIN_S = 0.05
# Above 101 domains meet ephemeral ports; some are left to those who choose one.
NUM_PRIVATE_DOMAINS = 80
FIRST_PORT, PORTS_PER_DOMAIN = 7400, 250


def private_domain() -> int:
    """A domain that is not the default one, and that nobody on this machine is in: a demonstration must talk to no robot and to no other one."""
    domains = range(1, NUM_PRIVATE_DOMAINS + 1)
    return random.choice(sorted(set(domains) - domains_in_use()) or domains)


def domains_in_use(sockets: Path = Path("/proc/net/udp")) -> set[int]:
    """Domains in which somebody on this machine listens, by the ports that DDS gives each (RTPS 2.2, 9.6.1); none where nobody can tell."""
    with suppress(OSError):
        ports = (int(line.split()[1].rpartition(":")[2], 16) for line in sockets.read_text().splitlines()[1:])
        return {(port - FIRST_PORT) // PORTS_PER_DOMAIN for port in ports if port >= FIRST_PORT}
    return set()


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
