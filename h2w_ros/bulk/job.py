"""What a bulk run is made of: jobs, the work that does them, and what becomes of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["done", "there already", "rejected", "failed", "no space"]

Work = Callable[[Any, Path], Mapping[str, Any]]
"""Does one job: takes its payload and a path that does not exist yet, makes a file or folder there, returns what is to be noted (JSON).

Whatever it raises is the job's failure; `RejectedError` says that the result was not good enough, and its words and numbers are noted.
"""

MakeWork = Callable[[], Work]
"""Called once in every worker, where what is expensive (a model) is loaded. It goes to other processes, so it must pickle."""


@dataclass(frozen=True)
class Job:
    """`name` is the result's file or folder; `payload` must pickle. A result that was made under another `key` is made again."""

    name: str
    payload: Any
    key: str = ""

    def __post_init__(self) -> None:
        if not self.name or self.name.startswith(".") or Path(self.name).name != self.name:
            raise ValueError(f"a job's name becomes a file's: it must hold no '/' and begin with no '.', got {self.name!r}")


@dataclass(frozen=True)
class Outcome:
    """What became of a job. `reason` says why it is not done, `result` is what its work noted, also about a rejected one."""

    name: str
    status: Status
    key: str = ""
    reason: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class RejectedError(Exception):
    """The job was done and its result is not good enough; `result` holds the numbers (JSON). It is not tried again."""

    def __init__(self, reason: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.result = dict(result or {})
