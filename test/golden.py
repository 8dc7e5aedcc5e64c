"""Where the released network's numbers are, and the mark of tests that need them."""

import os
from pathlib import Path

import pytest

from h2w_ros.paths import CHECKOUT

GOLDEN = Path(os.environ.get("H2W_GOLDEN", CHECKOUT.parent / "shared" / "golden"))
needs_golden = pytest.mark.skipif(not (GOLDEN / "meta.json").is_file(), reason="no golden folder; name one in H2W_GOLDEN")
