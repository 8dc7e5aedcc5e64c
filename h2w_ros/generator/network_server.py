"""The network's side of `network_process`: loads a generator and steps streams of it, each on the thread of its own connection.

Ends when its parent does, whose end of the standard input then closes.
"""

from __future__ import annotations

import os
import pickle
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from h2w_ros.generator.branches import StreamBranches
    from h2w_ros.generator.checkpoint import Generator
    from h2w_ros.generator.stream import GeneratorStream

NICENESS = 10
"""Of 19, for branches: where cores are few, live streams come first."""


@dataclass(frozen=True)
class Order:
    """Which model to load, where it runs, and how many threads PyTorch gets; None: what the environment says."""

    model: Path
    device: str
    num_threads: int | None
    key: bytes


@dataclass(frozen=True)
class Call:
    """A method of what the connection is for, by name, and its arguments. What `is_told` gets no reply; an error of it is the next call's."""

    method: str
    arguments: tuple[Any, ...] = ()
    is_told: bool = False


@dataclass(frozen=True, eq=False)
class Reply:
    """What came of a call: its result or its error, and the stream's counters after it."""

    result: Any = None
    error: Exception | None = None
    num_frames: int = 0
    stages_ms: Mapping[str, float] = field(default_factory=dict)


def send(connection: Connection, message: object) -> None:
    """Sends by value: multiprocessing's own pickling would share tensors' memory, which costs more than copying a few numbers."""
    connection.send_bytes(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))


def receive(connection: Connection) -> Any:
    """The next message; EOFError when the other end is gone. Both ends are this package's, and have shown each other a key."""
    return pickle.loads(connection.recv_bytes())


class _Server:
    """One loaded generator. A connection opens a new stream (`int`: its seed), or takes branches that a stream has made (`str`: their ticket)."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._branches: dict[str, StreamBranches] = {}

    def serve(self, connection: Connection) -> None:
        """Until the other end closes it."""
        try:
            self._line(connection, receive(connection)).serve()
        except (EOFError, OSError):
            connection.close()

    def _line(self, connection: Connection, wanted: int | str) -> _Line:
        from h2w_ros.generator.stream import GeneratorStream

        if isinstance(wanted, int):
            return _StreamLine(connection, GeneratorStream(self._generator, wanted), self._branches)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        return _Line(connection, self._branches.pop(wanted))


class _Line:
    """One connection, and what calls over it are for."""

    def __init__(self, connection: Connection, served: Any) -> None:
        self._connection, self._served = connection, served

    def serve(self) -> None:
        """Until the other end closes it."""
        failure: Exception | None = None
        while True:
            call: Call = receive(self._connection)
            if call.is_told:
                failure = self._failure(call) or failure
            elif failure is not None:
                send(self._connection, Reply(error=failure))
                failure = None
            else:
                self._answer(call)

    def _failure(self, call: Call) -> Exception | None:
        """What goes wrong with a call that nobody waits for."""
        try:
            self._called(call)
        except Exception as error:  # noqa: BLE001  it is raised where the next call is made
            return _portable(error)
        return None

    def _answer(self, call: Call) -> None:
        self._reply(partial(self._called, call))

    def _called(self, call: Call) -> Any:
        return getattr(self._served, call.method)(*call.arguments)

    def _reply(self, work: Callable[[], Any]) -> None:
        """Sends what this returns or raises."""
        try:
            result = work()
            reply = Reply(result, None, getattr(self._served, "num_frames", 0), dict(getattr(self._served, "stages_ms", {})))
        except Exception as error:  # noqa: BLE001  it is raised where the call was made
            reply = Reply(error=_portable(error))
        send(self._connection, reply)


class _StreamLine(_Line):
    """A stream's connection. A step is decoded on a thread of its own, so that the block expected next can be generated meanwhile."""

    def __init__(self, connection: Connection, stream: GeneratorStream, branches: dict[str, StreamBranches]) -> None:
        super().__init__(connection, stream)
        self._branches = branches
        self._decoding = ThreadPoolExecutor(1, "decoding")

    def _answer(self, call: Call) -> None:
        if call.method != "step":
            return super()._answer(call)
        try:
            decode = self._served.begin(*call.arguments)
        except Exception as error:  # noqa: BLE001  it is raised where the call was made
            send(self._connection, Reply(error=_portable(error)))
        else:
            self._decoding.submit(self._reply, decode)

    def _called(self, call: Call) -> Any:
        match call.method:
            case "expect":  # with more to read already, something else may be next
                return self._served.expect(*call.arguments, now=not self._connection.poll())
            case "branch":
                ticket = secrets.token_hex(8)
                self._branches[ticket] = super()._called(call)
                return ticket
            case _:
                return super()._called(call)


def _portable(error: Exception) -> Exception:
    """The error, or one that says the same where it can't be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  an error's class may fail in any way
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with(stdin: BinaryIO) -> None:
    stdin.read()
    os._exit(0)


def main() -> int:
    """Body of the process: an order on the standard input; on the standard output an address, or the error that kept the model from loading."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches everybody; the parent says when this ends
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    order: Order = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with, args=(sys.stdin.buffer,), daemon=True).start()
    try:
        server = _Server(_loaded(order))
    except Exception as error:  # noqa: BLE001  it is raised where the process was started
        answer.write(pickle.dumps(_portable(error)))
        return 1
    # An abstract name: nothing in the file system, and gone with its process.
    address = f"\0h2w_ros-{os.getpid()}-{secrets.token_hex(8)}"
    listener = Listener(address, "AF_UNIX", backlog=16, authkey=order.key)
    answer.write(pickle.dumps(address))
    answer.close()
    while True:
        threading.Thread(target=server.serve, args=(listener.accept(),), daemon=True).start()


def _loaded(order: Order) -> Generator:
    import torch

    from h2w_ros.generator.checkpoint import find_device, load_generator

    if order.num_threads:
        torch.set_num_threads(order.num_threads)
    return load_generator(order.model, device=find_device(order.device))
