"""Does one job where it is called: its result appears under its name when it is whole, or not at all."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from h2w_ros.bulk.job import Job, Outcome, RejectedError, Work

log = logging.getLogger(__name__)

GROWING = ".growing"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def execute(work: Work, job: Job, out: Path) -> Outcome:
    """Does the job; its result lies at `out / job.name` when it is done."""
    began_s = time.perf_counter()
    status, reason, result = _attempt(work, job, out)
    return Outcome(job.name, status, job.key, reason, result, round(time.perf_counter() - began_s, 3))


def discard(name: str, out: Path) -> None:
    """Removes what an unfinished job left behind."""
    shutil.rmtree(out / GROWING / name, ignore_errors=True)


def _attempt(work: Work, job: Job, out: Path) -> tuple[Any, str, Mapping[str, Any]]:
    """Status, reason and result. One job that fails, in whatever way, must not stop the others."""
    try:
        return "done", "", _commit(work, job, out)
    except RejectedError as error:
        return "rejected", str(error), error.result
    except Exception as error:
        if lacks_space(error):
            return "no space", str(error), {}
        if not isinstance(error, ValueError | OSError | ImportError | ArithmeticError):
            log.exception("%s failed", job.name)
        return "failed", str(error) or type(error).__name__, {}
    finally:
        discard(job.name, out)


def _commit(work: Work, job: Job, out: Path) -> Mapping[str, Any]:
    """Lets the result grow in a folder of its own and moves it into place at the end."""
    discard(job.name, out)
    place = out / GROWING / job.name / job.name
    place.parent.mkdir(parents=True)
    result = work(job.payload, place)
    noted: Mapping[str, Any] = json.loads(json.dumps(dict(result)))
    _remove(out / job.name)
    place.rename(out / job.name)
    return noted


def _remove(path: Path) -> None:
    """A result of an earlier run, under other settings, makes room."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def lacks_space(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that the disk or the user's share of it is full."""
    while error is not None:
        if getattr(error, "errno", None) in NO_SPACE:
            return True
        error = error.__cause__ or error.__context__
    return False
