"""MediaPipe's own environment: it wants numpy < 2, which nothing else here does, so it lives and runs apart.

`mediapipe==0.10.21` is the last release whose wheel carries its hand models; nothing else is downloaded.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

log = logging.getLogger(__name__)

REQUIREMENT = "mediapipe==0.10.21"
# Pythons that this release has wheels for.
PYTHONS = ("3.12", "3.11", "3.10", "3.9")
READY = "ready.txt"
SET_UP_LIMIT_S = 1800


def environment_folder() -> Path:
    """Where the environment lies: $H2W_MEDIAPIPE_ENV, else in the user's cache."""
    chosen = os.environ.get("H2W_MEDIAPIPE_ENV")
    if chosen:
        return Path(chosen)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "h2w_ros" / REQUIREMENT.replace("==", "-")


def is_set_up() -> bool:
    """Whether the environment is there, whole."""
    return (environment_folder() / READY).is_file()


def mediapipe_python() -> Path:
    """The environment's interpreter; sets the environment up first where it is missing. OSError, with the remedy, when that fails."""
    folder = environment_folder()
    if not is_set_up():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f".{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several annotators may begin at once
            if not is_set_up():
                _set_up(folder)
    return folder / "bin" / "python"


def _set_up(folder: Path) -> None:
    log.info("setting up %s in %s, once; about a minute and 600 MB", REQUIREMENT, folder)
    shutil.rmtree(folder, ignore_errors=True)
    _run([_interpreter(), "-m", "venv", str(folder)])
    _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", REQUIREMENT])
    (folder / READY).write_text(f"{REQUIREMENT}\n")


def _interpreter() -> str:
    """A Python that MediaPipe has wheels for: this one, or one on the path."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" in PYTHONS:
        return sys.executable
    found = next((path for version in PYTHONS if (path := shutil.which(f"python{version}"))), None)
    if found is None:
        raise OSError(f"{REQUIREMENT} needs Python {' or '.join(PYTHONS)}, and there is none on the path: install one")
    return found


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=SET_UP_LIMIT_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()
        raise OSError(
            f"setting up MediaPipe's environment failed: {said[-1] if said else error}; it needs pip and its package index once"
            f" (or point H2W_MEDIAPIPE_ENV at an environment with {REQUIREMENT} and a file {READY})"
        ) from error
