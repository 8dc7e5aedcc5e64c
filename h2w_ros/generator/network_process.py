"""A generator whose network runs in a process of its own.

Python runs one thread at a time. Whoever draws conditions, speaks ROS and steps a small network in one process spends much of the time waiting for
himself; with the network elsewhere, the next condition is drawn on another core meanwhile (`look_ahead`).
"""

from __future__ import annotations

import operator
import pickle
import secrets
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from h2w_ros.condition import Image
from h2w_ros.generator.model_folder import find_model, read_config
from h2w_ros.generator.network_server import Call, Order, Reply, receive, send
from h2w_ros.hardware import share_cores

if TYPE_CHECKING:
    from h2w_ros.generator.drawn import DrawnCondition

END_S = 5.0


class RemoteGenerator:
    """Stands for a generator that another process loads; its first stream waits until it has.

    A process that dies is started anew with the next stream.
    """

    def __init__(self, model: str | Path, device: str = "cpu", num_threads: int | None = None) -> None:
        self._order = Order(find_model(model).resolve(), device, num_threads, secrets.token_bytes(32))
        self.config = read_config(self._order.model)
        self._lock = threading.Lock()
        self._address = ""
        self._start()

    def stream(self, seed: int) -> RemoteStream:
        """A new stream. Raises what loading the generator raised."""
        with self._lock:
            if self._process.poll() is not None and self._address:
                self.close()
                self._start()
            self._address = self._address or self._loaded()
        return RemoteStream(self, self.connect(seed))

    def connect(self, wanted: int | str) -> Connection:
        """A connection to a new stream with this seed, or to branches by their ticket."""
        try:
            connection = Client(self._address, "AF_UNIX", authkey=self._order.key)
            send(connection, wanted)
        except (OSError, EOFError) as error:
            raise self.end_of_process() from error
        return connection

    def end_of_process(self) -> RuntimeError:
        """What to raise when the other end of a connection is gone."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        return RuntimeError(f"the network's process {self.pid} has ended, exit code {self._process.poll()}; a new session starts another")

    @property
    def pid(self) -> int:
        """Of the network's process."""
        return self._process.pid

    def close(self) -> None:
        """Ends the process; streams of it fail from now on."""
        self._finalizer()

    def _start(self) -> None:
        """A fresh interpreter: forking a process that has threads is not safe."""
        share_cores()
        command = [sys.executable, "-c", "import sys; from h2w_ros.generator.network_server import main; sys.exit(main())"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._finalizer = weakref.finalize(self, _end, self._process)
        self._address = ""
        with suppress(BrokenPipeError):  # why it has ended is told when its answer is read
            _pipe(self._process.stdin).write(pickle.dumps(self._order))
            _pipe(self._process.stdin).flush()

    def _loaded(self) -> str:
        """Waits for the process's answer: where it listens."""
        try:
            said = _pipe(self._process.stdout).read()
        except BaseException:
            self.close()
            raise
        answer = pickle.loads(said) if said else self.end_of_process()
        if isinstance(answer, Exception):
            self.close()
            raise answer
        return str(answer)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    """A pipe that was asked for."""
    if pipe is None:
        raise ValueError("the network's process was started without its pipes")
    return pipe


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            _pipe(pipe).close()


class _Remote:
    """One end of a connection; what is closed there is gone here."""

    def __init__(self, generator: RemoteGenerator, connection: Connection) -> None:
        self._generator, self._connection = generator, connection
        self._sending = threading.Lock()

    def _tell(self, make: Callable[[], Call]) -> None:
        """A call that nobody waits for. Whether it could be made, and what went wrong with it, is told by the next one that somebody waits for."""
        with suppress(OSError), self._sending:
            send(self._connection, make())

    def _call(self, make: Callable[[], Call]) -> Reply:
        """The reply. Calls are made where they are sent, so that what they say is in the order in which they arrive."""
        try:
            with self._sending:
                send(self._connection, make())
            reply: Reply = receive(self._connection)
        except (OSError, EOFError) as error:
            raise self._generator.end_of_process() from error
        if reply.error is not None:
            raise reply.error
        return reply


class RemoteStream(_Remote):
    """A `GeneratorStream` in the network's process: the same calls, the same answers."""

    def __init__(self, generator: RemoteGenerator, connection: Connection) -> None:
        super().__init__(generator, connection)
        self.num_frames = 0
        self.stages_ms: dict[str, float] = {}
        self._expected: tuple[DrawnCondition, ...] | None = None

    def start(self, scene: Image, drawn: DrawnCondition) -> Image:
        """As `GeneratorStream.start`."""

        def call() -> Call:
            self._expected = None
            return Call("start", (scene, drawn))

        return self._noted(call)

    def step(self, block: Sequence[DrawnCondition]) -> Any:
        """As `GeneratorStream.step`. A block that was expected is there already."""

        def call() -> Call:
            expected, self._expected = self._expected, None
            is_there = expected is not None and len(expected) == len(block) and all(map(operator.is_, expected, block))
            return Call("step", () if is_there else (tuple(block),))

        return self._noted(call)

    def expect(self, block: Sequence[DrawnCondition]) -> None:
        """As `GeneratorStream.expect`; from any thread, and nobody waits for it."""

        def call() -> Call:
            self._expected = tuple(block)
            return Call("expect", (self._expected,), is_told=True)

        self._tell(call)

    def settle(self) -> None:
        """As `GeneratorStream.settle`; nobody waits for it, so how long it took is not told."""
        self._tell(lambda: Call("settle", is_told=True))

    def ground(self, seen: Any) -> None:
        """As `GeneratorStream.ground`."""
        self._noted(lambda: Call("ground", (seen,)))

    def branch(self, num_candidates: int, seeds: Sequence[int]) -> RemoteBranches:
        """As `GeneratorStream.branch`; the branches have a thread of their own there."""
        ticket = self._noted(lambda: Call("branch", (num_candidates, tuple(seeds))))
        return RemoteBranches(self._generator, self._generator.connect(ticket))

    def _noted(self, make: Callable[[], Call]) -> Any:
        reply = self._call(make)
        self.num_frames, self.stages_ms = reply.num_frames, dict(reply.stages_ms)
        return reply.result


class RemoteBranches(_Remote):
    """`StreamBranches` in the network's process."""

    def step(self, blocks: Sequence[Sequence[DrawnCondition]]) -> Any:
        """As `StreamBranches.step`."""
        return self._call(lambda: Call("step", (tuple(map(tuple, blocks)),))).result
