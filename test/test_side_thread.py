"""Work beside the caller's: when it is done elsewhere, when at once, and that none outlives who asked for it."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from h2w_ros.generator import side_thread
from h2w_ros.generator.side_thread import SideThread


@pytest.fixture(autouse=True)
def _enough_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_thread, "available_cores", lambda: 2 * torch.get_num_threads())


def where() -> tuple[str, bool]:
    return threading.current_thread().name, torch.is_inference_mode_enabled()


@torch.inference_mode()
def test_work_is_done_on_a_thread_of_its_own_in_inference_mode_too() -> None:
    side = SideThread()
    for _ in range(2):
        with side.doing(where, is_worth_it=True) as result:
            assert result() == ("network_0", True)


def test_work_is_done_at_once_where_that_is_no_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    here = threading.current_thread().name
    with SideThread().doing(where, is_worth_it=True) as result:
        assert result() == (here, False), "gradients belong to the thread that asks for them"
    with torch.inference_mode():
        with SideThread().doing(where, is_worth_it=False) as result:
            assert result() == (here, True)
        with torch.autocast("cpu", torch.bfloat16), SideThread().doing(where, is_worth_it=True) as result:
            assert result() == (here, True)
        monkeypatch.setattr(side_thread, "available_cores", lambda: 1)
        with SideThread().doing(where, is_worth_it=True) as result:
            assert result() == (here, True)


@torch.inference_mode()
def test_no_work_outlives_the_context_even_where_the_caller_fails() -> None:
    is_over = threading.Event()

    def work() -> None:
        time.sleep(0.1)
        is_over.set()

    with pytest.raises(RuntimeError, match="the caller"), SideThread().doing(work, is_worth_it=True):
        raise RuntimeError("the caller")
    assert is_over.is_set()


@torch.inference_mode()
def test_what_the_work_raises_comes_with_its_result() -> None:
    def work() -> None:
        raise ValueError("the work")

    with SideThread().doing(work, is_worth_it=True) as result, pytest.raises(ValueError, match="the work"):
        result()
