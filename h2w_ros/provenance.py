"""Which code made a result."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version

from h2w_ros.paths import CHECKOUT


def code_version() -> str:
    """The package's version, and the commit of the checkout that it runs from, if it does; '+' marks changes that are not committed."""
    try:
        released = version("h2w_ros")
    except PackageNotFoundError:
        released = "unknown"
    commit = _commit() if (CHECKOUT / ".git").exists() else ""
    return f"{released} {commit}".strip()


def _commit() -> str:
    try:
        described = subprocess.run(
            ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty=+"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return described.stdout.strip()
