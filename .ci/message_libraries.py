"""Loads the type support of the generated messages when Python starts, in an environment on top of a sourced ROS 2 installation.

ROS looks for these libraries by their bare names, in the folders that the installation's environment names; that of the
generated messages is none of them. A library that is loaded already is found. Set-up copies this into the environment.
"""

import ctypes
import sys
from pathlib import Path


def load(folder: Path) -> int:
    """Loads what is there; how many could be. Without a sourced ROS none can, and nobody needs them."""
    num_loaded = 0
    for path in sorted(folder.glob("lib*__rosidl_typesupport_*_c.so")):
        try:
            ctypes.CDLL(str(path))
        except OSError:
            continue
        num_loaded += 1
    return num_loaded


load(Path(sys.prefix) / "lib")
