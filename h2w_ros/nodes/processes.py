"""Nodes as processes of their own, stopped as a user would stop them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_S = 15.0
LOG_LINES = 12
# prctl(PR_SET_PDEATHSIG, SIGINT): a parent that is killed leaves no nodes behind.
DIE_WITH_PARENT = "import ctypes; ctypes.CDLL(None).prctl(1, 2)"


class NodeProcess:
    """One executable with its own log; leaving the context stops it with Ctrl-C and waits until its files are whole."""

    def __init__(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self.log = module.rpartition(".")[2], log
        log.parent.mkdir(parents=True, exist_ok=True)
        code = f"{DIE_WITH_PARENT}; import sys; from {module} import main; sys.exit(main())"
        with log.open("w") as output:
            # Ctrl-C in the terminal must reach only the parent, which then stops its children in order.
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, *arguments], env=dict(environment), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Of the process, also when it has ended."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """ChildProcessError with the end of its log when it has ended by itself."""
        if self.exit_code is not None:
            lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            raise ChildProcessError(f"node {self.name} ended with exit code {self.exit_code}; the end of {self.log}:\n" + "\n".join(lines))

    def stop(self) -> int:
        """Ctrl-C; killed when it does not end in time. The exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Ends it as a crash does. The exit code."""
        self._process.kill()
        return self._process.wait()

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
