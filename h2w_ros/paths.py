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
    if (CHECKOUT / "models").is_dir():
        return CHECKOUT / "models"
    # pip and colcon install the package at different depths below the prefix that holds share/.
    shares = (prefix / "share" / "h2w_ros" / "models" for prefix in CHECKOUT.parents)
    return next((share for share in shares if share.is_dir()), Path(sys.prefix) / "share" / "h2w_ros" / "models")
