"""Our nodes as processes of their own, for tests that kill them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ros_fixture import Ros

TESTS = Path(__file__).resolve().parent
ECHO = "from ros_fixture import EchoSession; from h2w_ros.nodes import lifecycle; from h2w_ros.nodes.generator import Generator; "


def main_of(module: str) -> str:
    """Code that does what the executable of this node does."""
    return f"from h2w_ros.nodes.{module} import main; raise SystemExit(main())"


# The real generator node with a session that answers at once.
ECHO_GENERATOR = ECHO + "raise SystemExit(lifecycle.main(lambda: [Generator(lambda config: EchoSession())]))"


@contextmanager
def process(ros: Ros, code: str, parameters: Sequence[str] = (), **options: object) -> Iterator[subprocess.Popen]:
    """Runs the code in the graph of the test with these parameters (name:=value)."""
    arguments = ["--ros-args", *(word for parameter in parameters for word in ("-p", parameter))]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(ros.domain), "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, text=True, **options) as running:
        try:
            yield running
        finally:
            running.kill()
