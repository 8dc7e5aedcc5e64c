"""Errors are counted in the region they belong to, and nobody is shown more than the first picture."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from small_tiny import conditions, small_tiny

from h2w_ros.condition import Camera, Condition, Image
from h2w_ros.evaluation.contenders import GROUND_EVERY_S, contenders, warped
from h2w_ros.evaluation.episodes import HeldOutEpisode, Source
from h2w_ros.evaluation.estimator_network import EstimatorNetwork
from h2w_ros.evaluation.estimators import Estimators
from h2w_ros.evaluation.picture_metrics import flows, ssim_map
from h2w_ros.evaluation.protocol import CEILING, Evaluation
from h2w_ros.evaluation.regions import PERFECT_PSNR_DB, RegionErrors, regions_of
from h2w_ros.evaluation.text_table import MEANING, text_table
from h2w_ros.generator.presets import preset
from h2w_ros.geometry import look_at
from h2w_ros.hands.render import HandRenderer

SHAPE = (48, 64)


def masks() -> tuple[np.ndarray, np.ndarray]:
    hand, thing = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    hand[:, :20], thing[:, 10:30] = True, True
    return hand, thing


def texture(shift_px: int = 0) -> Image:
    """Smooth clouds, moved to the right."""
    rng = np.random.default_rng(0)
    v, u = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]].astype(float)
    waves = [np.sin(rng.uniform(0.1, 0.5) * (u - shift_px) + rng.uniform(0.1, 0.5) * v + rng.uniform(0, 6)) for _ in range(12)]
    grey = np.sum(waves, axis=0) * 18 + 128
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def episode_of(pictures: Sequence[Image], with_masks: bool = True) -> HeldOutEpisode:
    camera = Camera(SHAPE[1], SHAPE[0], 60.0, 60.0, SHAPE[1] / 2, SHAPE[0] / 2)
    pose = look_at(np.array([0.0, -0.4, 0.4]), np.zeros(3), np.array([0.0, 0.0, 1.0]))
    conditions = [Condition(index + 1, camera, pose, image=picture) for index, picture in enumerate(pictures)]
    hand, thing = (np.stack([mask] * len(pictures)) if with_masks else None for mask in masks())
    return HeldOutEpisode(conditions, 0.0, hand, thing)


def evaluation_of(*names: str, episode: HeldOutEpisode) -> Evaluation:
    """Contenders that answer with the truth."""
    evaluation = Evaluation(Estimators(EstimatorNetwork()))
    evaluation.add(episode, {name: lambda e: iter(e.pictures) for name in names})
    return evaluation


def table_of(predicted: Sequence[Image], episode: HeldOutEpisode) -> dict:
    evaluation = Evaluation(Estimators(EstimatorNetwork()))
    evaluation.add(episode, {"answer": lambda _: iter(predicted)})
    return evaluation.table("answer")


def test_the_grounded_model_is_shown_the_camera_only_when_it_is_time() -> None:
    generator = small_tiny()
    start = conditions(1)[0]
    seen = [start, *(replace(moment, image=np.full_like(start.image, 255)) for moment in conditions(40)[1:])]
    table = contenders(generator, 0, ("model_grounded",))
    alone, grounded = (list(table[name](HeldOutEpisode(seen, 0.0))) for name in ("model", "model_grounded"))
    block = generator.config.rollout.latents_per_block * generator.config.codec.temporal_stride
    first = round(GROUND_EVERY_S * 16)  # answered before the picture of its moment is shown
    assert len(grounded) == len(alone) > first + block
    assert all(np.array_equal(one, other) for one, other in zip(alone[: first + 1], grounded[: first + 1], strict=True))
    assert grounded[first + block].mean() > alone[first + block].mean()


def test_every_pixel_is_in_one_region_and_a_hand_hides_what_is_behind_it() -> None:
    regions = regions_of(*masks())
    assert (sum(regions[name].astype(int) for name in ("hand", "object", "background")) == 1).all()
    assert regions["hand"][0, 15]
    assert not regions["object"][0, 15]


def test_an_error_of_the_hand_does_not_lower_the_background() -> None:
    truth = np.zeros((*SHAPE, 3), np.uint8)
    predicted = truth.copy()
    predicted[:, :20] = 255
    errors = RegionErrors()
    errors.add(predicted, truth, regions_of(*masks()))
    assert errors.psnr_db("hand") == pytest.approx(0.0)
    assert errors.psnr_db("background") == PERFECT_PSNR_DB


def test_psnr_is_that_of_the_mean_error_over_all_frames() -> None:
    truth, errors = np.zeros((*SHAPE, 3), np.uint8), RegionErrors()
    for value in (0, 10):
        errors.add(np.full_like(truth, value), truth, regions_of(*masks()))
    assert errors.psnr_db("overall") == pytest.approx(10 * np.log10(255**2 / 50))


def test_similarity_is_one_for_equal_pictures_and_falls_with_noise_but_hardly_with_brightness() -> None:
    picture = texture()
    noisy = np.random.default_rng(1).normal(picture, 25.0).clip(0, 255).astype(np.uint8)
    brighter = (picture * 1.05).clip(0, 255).astype(np.uint8)
    assert ssim_map(picture, picture) == pytest.approx(np.ones(SHAPE), abs=1e-4)
    assert ssim_map(noisy, picture).mean() < 0.8 < 0.95 < ssim_map(brighter, picture).mean()


def test_a_known_shift_is_the_flow_error_of_who_stands_still() -> None:
    moving = [texture(0), texture(2), texture(4)]
    assert np.median(flows(moving)[0][..., 0]) == pytest.approx(2.0, abs=0.2)
    still = table_of([moving[0]] * 3, episode_of(moving))
    assert still["background"]["flow_error"] == pytest.approx(2.0, abs=0.3)


def test_a_perfect_answer_has_no_error_in_any_region() -> None:
    moving = [texture(0), texture(2), texture(4)]
    for metrics in table_of(moving, episode_of(moving)).values():
        assert metrics["psnr"] == PERFECT_PSNR_DB
        assert metrics["ssim"] == pytest.approx(1.0, abs=1e-4)
        assert metrics["flow_error"] == 0.0


def test_a_region_that_never_shows_has_no_number() -> None:
    table = table_of([texture()] * 2, episode_of([texture()] * 2, with_masks=False))
    assert table["hand"] == {"psnr": None, "ssim": None, "flow_error": None}
    assert table["overall"]["psnr"] == PERFECT_PSNR_DB
    assert table["overall"]["hand_iou"] is None
    assert table["overall"]["depth_error"] is None


def test_the_given_first_frame_does_not_count() -> None:
    picture = texture()
    assert table_of([255 - picture, picture], episode_of([picture, picture]))["overall"]["psnr"] == PERFECT_PSNR_DB


def test_an_answer_of_too_few_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="answered 1 of 2 frames"):
        table_of([texture()], episode_of([texture()] * 2))


def test_the_report_has_the_agreed_keys_and_keeps_the_ceiling_apart() -> None:
    report = evaluation_of("model", "repeat", "warp", CEILING, episode=episode_of([texture()] * 2)).report("tiny", 900_000, 2)
    assert list(report)[:7] == ["model", "seed", "episodes", "frames", "codec_ceiling", "results", "estimators"]
    assert list(report["results"]) == ["model", "repeat", "warp"]
    assert list(report["codec_ceiling"]) == ["overall", "hand", "object", "background"]
    world = {"hand_iou", "object_error", "object_error_unmoved", "camera_error", "depth_error", "frechet_world", "drift"}
    assert world <= set(report["results"]["model"]["overall"])
    assert report["episodes"] == 1
    assert json.loads(json.dumps(report)) == report


def test_who_answers_with_the_truth_is_judged_as_the_true_pictures_are() -> None:
    report = evaluation_of("model", CEILING, episode=episode_of([texture(), texture(1)])).report("tiny", 900_000, 2)
    own = report["estimators"]
    assert all(report["results"]["model"]["overall"][name] == own[name] for name in ("hand_iou", "camera_error", "object_error"))


def test_nothing_measured_is_no_report() -> None:
    with pytest.raises(ValueError, match="no episode could be evaluated"):
        Evaluation(Estimators(EstimatorNetwork())).report("tiny", 900_000, 2)


def test_the_warp_of_a_still_camera_without_hands_is_the_first_frame() -> None:
    episode = episode_of([texture(0), texture(9)])
    first, second = warped(episode, HandRenderer())
    assert np.array_equal(first, episode.pictures[0])
    assert np.abs(second.astype(int) - first)[4:-4, 4:-4].max() <= 3


def test_the_table_says_what_every_column_means() -> None:
    printed = text_table(evaluation_of("model", CEILING, episode=episode_of([texture()] * 2)).report("tiny", 900_000, 2))
    assert all(f"{metric}: {MEANING[metric]}" in printed for metric in ("psnr", "ssim", "flow_error", "hand_iou", "frechet_world"))
    assert "windows only" in printed


def test_seeds_that_may_have_been_trained_on_are_refused() -> None:
    with pytest.raises(ValueError, match="seed must be 900000 or more"):
        next(Source(preset("tiny"), 9).simulated(7, 1, 0))


@pytest.mark.parametrize(("changes", "reason"), [({"rate_hz": 10.0}, "recorded at 10 Hz"), ({}, "fewer than 5 frames")])
def test_recordings_that_cannot_be_used_are_counted_with_their_reason(tmp_path, changes: dict, reason: str) -> None:
    from h2w_ros.episodes.writer import EpisodeWriter

    with EpisodeWriter(tmp_path / "one", changes.get("rate_hz", 16.0), description={"table_height_m": 0.0}) as writer:
        for index, condition in enumerate(episode_of([texture()] * 4).conditions):
            writer.write(replace(condition, stamp_ns=round(index * 1e9 / changes.get("rate_hz", 16.0))), {})
    source = Source(preset("tiny"), 5)
    assert list(source.recorded([tmp_path / "one"])) == []
    assert [reason in found for found in source.skipped] == [True]
