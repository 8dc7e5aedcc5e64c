"""What `h2w bench --fit` reports is complete, and its rivals solve the problems that we solve."""

import argparse
import json

import numpy as np
import pytest

from h2w_ros.commands import bench
from h2w_ros.evaluation import fit_speed
from h2w_ros.evaluation.fit_speed import FitPlan, derivatives_after, measure_fit
from h2w_ros.hands.fit import HandFitter
from h2w_ros.hands.fit_problem import moved
from h2w_ros.hands.model import load_hand_model


def test_ours_is_no_worse_than_scipy_on_the_same_problems_and_every_number_is_there(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(fit_speed, "FitPlan", lambda: FitPlan(num_frames=12, scipy_every=11))
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    assert bench.run(parser.parse_args(["--fit", "--json", str(tmp_path / "fit.json")])) == 0
    table = json.loads(capsys.readouterr().out)
    assert table == json.loads((tmp_path / "fit.json").read_text())
    assert table["frames"] == 24
    assert table["fit_ms_p50"] > 0
    assert table["fit_error_mm"] < 5.0 < table["joints_error_mm"]
    assert table["fit_shake_mm"] < table["joints_shake_mm"]
    for rival in ("scipy_lm_exact_jacobian", "scipy_default"):
        assert table[rival]["problems"] == 2
        assert table[rival]["our_error_mm"] <= table[rival]["error_mm"] + 0.1


def test_scipys_derivatives_are_those_of_its_own_steps():
    fitter = HandFitter(load_hand_model("right"))
    (_, first), (_, second) = fit_speed._seen_hands(fitter, FitPlan(num_frames=2))
    fitter.fit(first, 1)
    problem, start = fitter.following(second, 20_000_000)
    step = np.random.default_rng(0).normal(scale=0.3, size=51)
    exact = derivatives_after(problem, start, step)
    for k, change in enumerate(np.eye(51) * 1e-6):
        numeric = (problem.all_residuals(moved(start, step + change)) - problem.all_residuals(moved(start, step - change))) / 2e-6
        np.testing.assert_allclose(exact[:, k], numeric, atol=1e-7)


@pytest.mark.parametrize("changes", [{"num_frames": 1}, {"scipy_every": 0}, {"rate_hz": 0.0}, {"noise_m": -1.0}])
def test_a_plan_without_frames_is_refused(changes):
    with pytest.raises(ValueError, match="needs two frames or more"):
        measure_fit(FitPlan(**changes))
