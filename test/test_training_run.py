"""One session of training: what it saves, how it goes on, when it ends, and what it refuses."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from h2w_ros.training import run
from h2w_ros.training.run import AveragedWeights, Budget, Progress, RunFolder, learning_rate_factor, optimisers, train

AMPLE_MINUTES = 10.0


def steps(count: int) -> Budget:
    return Budget(AMPLE_MINUTES, count)


class Line(nn.Module):
    """One number that should become three."""

    def __init__(self) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.zeros(1))

    def error(self) -> torch.Tensor:
        return (self.number - 3.0).square().sum()


def run_line(folder: RunFolder, budget: Budget, losses=None) -> tuple[Line, Progress]:
    """`losses(line, step)` instead of the line's error."""
    line = Line()
    chosen = optimisers(line, 0.1, None, 0.0)
    loss = (lambda *_: line.error()) if losses is None else lambda step, _: losses(line, step)
    return line, train(line, folder, loss, chosen, budget, warmup_steps=1, ema_decay=0.9)


def test_weights_go_on_from_where_they_were_saved(tmp_path: Path) -> None:
    first, _ = run_line(RunFolder(tmp_path), steps(5))
    again, progress = run_line(RunFolder(tmp_path), steps(6))
    assert progress.step == 6
    assert first.number.item() < again.number.item() < first.number.item() + 0.11


def test_ctrl_c_saves_what_there_is(tmp_path: Path) -> None:
    def interrupted(line: Line, step: int) -> torch.Tensor:
        if step == 3:
            raise KeyboardInterrupt
        return line.error()

    with pytest.raises(KeyboardInterrupt):
        run_line(RunFolder(tmp_path), steps(10), interrupted)
    assert RunFolder(tmp_path).progress().step == 3
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_refused_and_spoils_nothing(tmp_path: Path, bad: float) -> None:
    run_line(RunFolder(tmp_path), steps(2))
    saved = load_file(tmp_path / "weights.safetensors")
    with pytest.raises(FloatingPointError, match="the loss became"):
        run_line(RunFolder(tmp_path), steps(4), lambda line, _: line.error() * bad)
    assert RunFolder(tmp_path).progress().step == 2
    assert torch.equal(load_file(tmp_path / "weights.safetensors")["number"], saved["number"])


def test_a_network_whose_weights_have_no_effect_any_more_is_said(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="the gradient is zero everywhere"):
        run_line(RunFolder(tmp_path), steps(4), lambda line, step: line.error() * (step < 2))


def test_a_young_average_forgets_the_start_and_an_old_one_hardly_moves() -> None:
    line = Line()
    average = AveragedWeights(line, decay=0.99)
    line.number.data.fill_(1.0)
    average.update()
    assert average.weights["number"].item() > 0.9
    for _ in range(1000):
        average.update()
    line.number.data.fill_(2.0)
    average.update()
    assert average.weights["number"].item() == pytest.approx(1.01, abs=1e-4)


def test_a_resumed_average_is_as_old_as_its_run(tmp_path: Path) -> None:
    line, folder = Line(), RunFolder(tmp_path)
    average = AveragedWeights(line, 0.999)
    average.weights["number"].fill_(5.0)
    folder.save(line, average, Progress(step=100_000))
    resumed = AveragedWeights(line, 0.999)
    folder.resume(line, resumed)
    resumed.update()
    assert resumed.weights["number"].item() == pytest.approx(5.0 * 0.999)


@pytest.mark.parametrize(
    ("elapsed_s", "step", "spent"),
    [(0.0, 10, 0.0), (30.0, 10, 0.5), (60.0, 10, 1.0), (6.0, 15, 0.5), (6.0, 20, 1.0), (0.0, 25, 1.0)],
)
def test_a_budget_is_spent_by_minutes_or_by_steps(elapsed_s: float, step: int, spent: float) -> None:
    assert Budget(minutes=1.0, max_steps=20).spent(elapsed_s, step, first_step=10) == pytest.approx(spent)


def test_a_run_that_is_done_is_done_whenever_it_is_asked() -> None:
    assert Budget(1.0, max_steps=5).spent(0.0, 5, first_step=5) >= 1.0


def test_a_budget_without_time_is_refused() -> None:
    with pytest.raises(ValueError, match="minutes must be positive"):
        Budget(0.0)


def test_learning_rates_rise_hold_and_fall() -> None:
    factors = [learning_rate_factor(step, step / 100, 10) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[10:50] == [1.0] * 40
    assert factors[50:] == sorted(factors[50:], reverse=True)
    assert factors[-1] == pytest.approx(0.05)


def test_a_validation_longer_than_the_time_between_saves_leaves_time_to_learn(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(run, "SAVE_EVERY_S", 10.0)
    monkeypatch.setattr(run.time, "monotonic", lambda: clock[0])
    network, asked = torch.nn.Linear(1, 1), []

    def loss(_step: int, _spent: float) -> torch.Tensor:
        clock[0] += 1.0
        return network(torch.ones(1, 1)).square().mean()

    def slow_validation() -> float:
        clock[0] += 30.0
        asked.append(clock[0])
        return 0.0

    train(network, RunFolder(tmp_path), loss, optimisers(network, 1e-3, None, 0.0), steps(30), 1, 0.9, slow_validation)
    assert len(asked) == 3  # after steps 11 and 22, and at the end


def begin(folder: Path, **made_by: object) -> RunFolder:
    """One session of a step, saved, of what was announced."""
    run, network = RunFolder(folder), torch.nn.Linear(1, 1)
    run.announce(made_by)
    step = run.progress().step + 1
    train(network, run, lambda *_: network(torch.ones(1, 1)).square().mean(), optimisers(network, 1e-3, None, 0.0), steps(step), 1, 0.9)
    return run


def test_a_run_that_goes_on_as_another_model_says_in_what(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begin(tmp_path, model={"name": "a", "refiner": {"width": 8, "sizes": (1, 2)}})
    begin(tmp_path, model={"name": "a", "refiner": {"width": 8, "sizes": (1, 2)}, "new": 1})
    assert not caplog.records
    begin(tmp_path, model={"name": "a", "refiner": {"width": 9, "sizes": (1, 2)}})
    assert "refiner.width 8 -> 9" in caplog.text
    assert "sizes" not in caplog.text


def test_sessions_that_left_no_weights_are_not_what_a_run_began_with(tmp_path: Path) -> None:
    failed = RunFolder(tmp_path)
    failed.announce({"start_from": "wrong.safetensors"})
    assert failed.started_from == Path("wrong.safetensors")
    assert failed.sessions() == []  # it never began to train
    failed.begin_session()  # and was killed before it saved anything
    run = begin(tmp_path, start_from="right.safetensors")
    assert [session["start_from"] for session in run.sessions()] == ["right.safetensors"]
    assert begin(tmp_path).started_from == Path("right.safetensors")
    assert [session["from_step"] for session in run.sessions()] == [0, 1]
