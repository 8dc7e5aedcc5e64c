"""Points the CMake exports of the ros-* wheels at this interpreter.

The wheels name the Python and NumPy headers of the machine they were built on; CMake refuses to generate while those
folders do not exist. Replacing is idempotent. Run with the interpreter of the environment to mend.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy

FOREIGN_NUMPY = re.compile(r"/opt/python/[^;\"]*/numpy/_?core/include")
FOREIGN_PYTHON = re.compile(r"/opt/python/[^;\"]*/include/python3\.\d+")


def relocated(text: str) -> str:
    """The CMake text with every foreign header folder replaced by ours."""
    with_numpy = FOREIGN_NUMPY.sub(numpy.get_include(), text)
    return FOREIGN_PYTHON.sub(sysconfig.get_paths()["include"], with_numpy)


def main() -> None:
    """Rewrites the files that change, and only those."""
    for path in Path(sys.prefix).glob("share/*/cmake/*.cmake"):
        text = path.read_text()
        if "/opt/python/" in text:
            path.write_text(relocated(text))


if __name__ == "__main__":
    main()
