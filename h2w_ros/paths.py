"""Where shipped files are found, in a checkout and when installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def models_dir() -> Path:
    """The folder of shipped and user models: $H2W_MODELS, else the checkout's `models/`, else the installed share folder."""
    chosen = os.environ.get("H2W_MODELS")
    if chosen:
        return Path(chosen)
    return _shipped("models")


def config_dir() -> Path:
    """The folder of parameter files and middleware profiles."""
    return _shipped("config")


def _shipped(name: str) -> Path:
    """A folder of the checkout, else of the installed share folder."""
    if (CHECKOUT / name).is_dir():
        return CHECKOUT / name
    # pip and colcon install the package at different depths below the prefix that holds share/.
    shares = (prefix / "share" / "h2w_ros" / name for prefix in CHECKOUT.parents)
    return next((share for share in shares if share.is_dir()), Path(sys.prefix) / "share" / "h2w_ros" / name)
