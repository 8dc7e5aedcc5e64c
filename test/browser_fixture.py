"""A real browser for tests of the preview page, and what they see in it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDS_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="playwright drives the browser: pip install playwright"),
]
PIXELS = """(name) => {
    const canvas = document.getElementById(name);
    const small = Object.assign(document.createElement("canvas"), { width: 64, height: 48 });
    small.getContext("2d").drawImage(canvas, 0, 0, 64, 48);
    return [...small.getContext("2d").getImageData(0, 0, 64, 48).data];
}"""
FRAMES = "() => Number(document.body.dataset.frames ?? 0)"


@contextmanager
def running_browser() -> Iterator[Any]:
    """Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


def eventually(page: Any, is_met: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Waits; the page's content policy forbids the browser's own waiting for expressions."""
    deadline_s = time.monotonic() + timeout_s
    while not is_met():
        assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s in vain; the page says {page.locator('body').inner_text()!r}"
        page.wait_for_timeout(30)


def frames_come(page: Any, count: int, timeout_s: float = 20.0) -> None:
    """Waits for so many more predicted frames."""
    wanted = page.evaluate(FRAMES) + count
    eventually(page, lambda: page.evaluate(FRAMES) >= wanted, timeout_s)


def seen(page: Any, canvas: str = "prediction") -> np.ndarray:
    """What is on a canvas, 48x64."""
    return np.array(page.evaluate(PIXELS, canvas), dtype=float).reshape(48, 64, 4)[..., :3]
