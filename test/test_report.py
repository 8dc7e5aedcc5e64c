"""The report says what the numbers say: which bars are met, which are not, and which were never measured."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from h2w_ros.evaluation.claims import claims, losses
from h2w_ros.evaluation.contenders import Ablation, parse_ablation
from h2w_ros.evaluation.frechet import bootstrap_interval, frechet_distance
from h2w_ros.evaluation.over_time import OverTime
from h2w_ros.evaluation.report import KEPT_BELOW, write_report
from h2w_ros.evaluation.text_table import warnings
from h2w_ros.evaluation.user_networks import UserErrors, load_user_networks
from h2w_ros.generator.model_folder import is_distilled

WORLD = {
    "hand_iou": 0.9,
    "object_error": 2.0,
    "object_error_unmoved": 8.0,
    "object_error_still": 1.0,
    "camera_error": 1.0,
    "camera_error_m": 0.01,
    "depth_error": 0.1,
    "frechet_world": 1.0,
    "frechet_world_low": 0.9,
    "frechet_world_high": 1.2,
    "drift": 0.5,
}


def table(psnr: float, **world: float) -> dict:
    region = {"psnr": psnr, "ssim": psnr / 40, "flow_error": 10 / psnr}
    return {"overall": region | WORLD | world, "hand": dict(region), "object": dict(region), "background": dict(region)}


def report(**results: dict) -> dict:
    worse = {"hand_iou": 0.1, "object_error": 8.0, "object_error_still": 2.0, "camera_error": 3.0, "camera_error_m": 0.1}
    worse |= {"depth_error": 0.3, "frechet_world": 5.0, "drift": 1.0}
    results = {"model": table(25.0), "repeat": table(16.0, **worse), "warp": table(20.0, **worse)} | results
    return {
        "model": "tiny",
        "seed": 900_000,
        "episodes": 2,
        "frames": 17,
        "codec_ceiling": table(35.0),
        "results": results,
        "estimators": WORLD | {"windows": 40},
        "psnr_by_frame": {name: [20.0, 19.0] for name in results},
    }


def state(of: dict, claim: str, beside: tuple = ()) -> bool | None:
    return next(found.is_met for found in claims(of, beside) if claim in found.claim)


def test_a_model_that_is_better_everywhere_beats_the_baselines() -> None:
    assert state(report(), "beats both baselines") is True


@pytest.mark.parametrize(("region", "metric", "value"), [("hand", "psnr", 12.0), ("object", "flow_error", 9.0), ("overall", "hand_iou", 0.05)])
def test_one_lost_metric_is_named(region: str, metric: str, value: float) -> None:
    made = report()
    made["results"]["model"][region][metric] = value
    assert state(made, "beats both baselines") is False
    assert losses(made, "model", "warp")[0] == [f"{region} {metric}"]


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    unmeasured = ("camera rays", "cut masks", "distillation", "length", "static scene")
    assert [state(report(), claim) for claim in unmeasured] == [None] * 5


def test_bars_are_held_against_the_ablations_own_reference() -> None:
    no_rays = table(20.0, camera_error=3.0, frechet_world=3.0)
    assert state(report(no_rays=no_rays), "camera rays") is True
    assert state(report(no_rays=no_rays, no_rays_reference=table(20.0, camera_error=2.0, frechet_world=3.0)), "camera rays") is False


@pytest.mark.parametrize(("distance", "distilled", "is_met"), [(1.0, True, True), (0.9, True, False), (1.0, False, None), (0.5, False, None)])
def test_a_teacher_that_did_not_teach_the_model_decides_nothing(distance: float, distilled: bool, is_met: bool | None) -> None:
    taught = report(teacher=table(25.0, frechet_world=distance)) | {"distilled": distilled}
    assert state(taught, "distillation") is is_met
    ours = next(found.ours for found in claims(taught) if "distillation" in found.claim)
    assert f"{1 / distance:.2f}x" in ours
    assert ("not distilled" in ours) is not distilled


def test_a_models_folder_tells_whether_it_was_distilled(tmp_path: Path) -> None:
    assert not is_distilled(tmp_path)
    for stages, told in (({"refiner": {}}, False), ({"consistency": {}}, False), ({"refiner": {}, "matching": {}}, True)):
        (tmp_path / "training.json").write_text(json.dumps(stages))
        assert is_distilled(tmp_path) is told
    (tmp_path / "training.json").write_text('{"refiner": ')
    with pytest.raises(ValueError, match=r"training\.json must be JSON"):
        is_distilled(tmp_path)


def test_a_longer_evaluation_says_what_length_costs() -> None:
    def at(frames: int, distance: float) -> dict:
        return report(model=table(20.0, frechet_world=distance)) | {"frames": frames}

    assert state(report(), "length", (at(65, 1.3),)) is True
    assert state(report(), "length", (at(65, 1.4),)) is False
    assert state(report(), "length", (at(33, 9.0),)) is None  # only twice as long


def test_hands_and_things_are_held_against_their_bars() -> None:
    assert state(report(model=table(20.0, hand_iou=0.79)), "hands where") is False
    assert state(report(model=table(20.0, object_error=4.1)), "moves things") is False


def test_a_metric_in_which_true_pictures_hardly_beat_a_still_one_is_said_to_say_little() -> None:
    blunt = report() | {"estimators": WORLD | {"windows": 2368, "object_error": 6.0}}
    assert warnings(report() | {"estimators": WORLD | {"windows": 2368}}) == []
    assert [text.split(":")[0] for text in warnings(blunt)] == ["object_error says little"]


def test_the_page_keeps_what_was_written_by_hand_and_its_pictures_exist(tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    strips = [{"truth": [np.zeros((24, 32, 3), np.uint8)] * 3}]
    write_report(path, report(), (), strips)
    path.write_text(path.read_text() + "\nBy hand.\n")
    write_report(path, report(), (report(),), strips)
    page = path.read_text()
    assert page.startswith("# Results\n\n`tiny` on 2 episodes")
    assert page.partition(KEPT_BELOW)[2].strip() == "By hand."
    assert "Not decided: camera rays matter" in page
    assert "| 1 (0.9 to 1.2) |" in page  # the Fréchet distance and its interval
    for name in ("by_frame.png", "regions.png", "strip_0.png"):
        assert f"results/{name}" in page
        assert cv2.imread(str(tmp_path / "results" / name)) is not None


def test_the_distance_of_gaussians_is_the_known_one() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20_000, 3))
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(a, 2 * a) == pytest.approx(3.0, rel=0.02)  # (2 - 1)^2 in each of 3 dimensions
    assert frechet_distance(a, a + np.array([3.0, 0.0, 4.0])) == pytest.approx(25.0, rel=1e-6)


def test_the_interval_of_more_episodes_is_narrower() -> None:
    rng = np.random.default_rng(0)

    def width(episodes: int) -> float:
        a, b = ([rng.normal(size=2) + rng.normal(size=(30, 2)) for _ in range(episodes)] for _ in range(2))
        low, high = bootstrap_interval(a, b)
        return high - low

    assert width(80) < 0.5 * width(8)


def test_drift_is_what_the_last_quarter_loses() -> None:
    over_time, truth = OverTime(), [np.zeros((4, 4, 3), np.uint8)] * 9
    over_time.add([np.full((4, 4, 3), 10 if index < 5 else 100, np.uint8) for index in range(9)], truth)
    assert over_time.drift_db == pytest.approx(20.0)
    assert over_time.psnr_db[0] - over_time.psnr_db[-1] == pytest.approx(20.0)


def test_an_ablation_is_a_name_a_model_and_what_it_is_told() -> None:
    assert parse_ablation("no_rays=runs/a:without_table") == Ablation("no_rays", "runs/a", "no_table")
    assert parse_ablation("no_rays=runs/a:camera_still") == Ablation("no_rays", "runs/a", "no_camera")
    assert parse_ablation("no_rays=runs/a") == Ablation("no_rays", "runs/a", "everything")
    with pytest.raises(ValueError, match="NAME=MODEL"):
        parse_ablation("no_rays")


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_users_network_joins_the_table(tmp_path: Path) -> None:
    class Distance(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return (a - b).abs().mean((1, 2, 3))

    torch.jit.script(Distance()).save(str(tmp_path / "lpips.pt"))
    networks, errors = load_user_networks(tmp_path / "lpips.pt", None, None), UserErrors()
    errors.add(networks, [np.full((8, 8, 3), 255, np.uint8)] * 3, [np.zeros((8, 8, 3), np.uint8)] * 3)
    assert errors.metrics() == {"lpips": pytest.approx(2.0)}


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_text("nothing")
    with pytest.raises(ValueError, match="must be a TorchScript file"):
        load_user_networks(None, tmp_path / "x.pt", None)
