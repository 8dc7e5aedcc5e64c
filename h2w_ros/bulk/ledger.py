"""What became of every job so far, a line of JSON each: a run that was stopped goes on from it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from h2w_ros.bulk.job import Job, Outcome

FILE = "jobs.jsonl"


class Ledger:
    """The outcomes in a folder. Of a job that was tried more than once, the last line holds; a line that was cut off is as good as none."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        folder.mkdir(parents=True, exist_ok=True)
        self.outcomes = {outcome.name: outcome for outcome in _read(self.path)}

    def add(self, outcome: Outcome) -> None:
        """Notes an outcome, on the disk when this returns."""
        with self.path.open("a+b") as file:
            file.write(_line_break_before_append(file) + json.dumps(asdict(outcome)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.outcomes[outcome.name] = outcome

    def settled(self, job: Job) -> Outcome | None:
        """What is known about a job that need not be done again: its result is there, or it was rejected; failures are tried again."""
        known = self.outcomes.get(job.name)
        if known is None or known.key != job.key:
            return None
        is_there = (self.path.parent / job.name).exists()
        if known.status == "rejected":
            return known
        return Outcome(job.name, "there already", job.key, result=known.result) if known.status == "done" and is_there else None


def _line_break_before_append(file: BinaryIO) -> bytes:
    """A newline when the last run was cut off in the middle of a line."""
    if file.seek(0, os.SEEK_END) == 0:
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"


def _read(path: Path) -> list[Outcome]:
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    return [outcome for line in lines if (outcome := _outcome(line)) is not None]


def _outcome(line: str) -> Outcome | None:
    try:
        return Outcome(**json.loads(line))
    except (ValueError, TypeError):
        return None
