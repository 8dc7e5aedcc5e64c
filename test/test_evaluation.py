"""Errors are counted in the region they belong to, and nobody is shown more than the first picture."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from h2w_ros.condition import Camera, Condition
from h2w_ros.evaluation.protocol import Evaluation, evaluate
from h2w_ros.evaluation.regions import RegionErrors, regions_of

SHAPE = (4, 6)


def masks() -> tuple[np.ndarray, np.ndarray]:
    hand, thing = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    hand[:, :2], thing[:, 1:3] = True, True
    return hand, thing


def test_every_pixel_is_in_one_region_and_a_hand_hides_what_is_behind_it() -> None:
    regions = regions_of(*masks())
    assert (sum(regions[name].astype(int) for name in ("hand", "object", "background")) == 1).all()
    assert regions["hand"][0, 1]
    assert not regions["object"][0, 1]


def test_an_error_of_the_hand_does_not_lower_the_background() -> None:
    truth = np.zeros((*SHAPE, 3), np.uint8)
    predicted = truth.copy()
    predicted[:, :2] = 255
    errors = RegionErrors()
    errors.add(predicted, truth, regions_of(*masks()))
    assert errors.psnr_db("hand") == pytest.approx(0.0)
    assert errors.psnr_db("background") == float("inf")


def test_psnr_is_that_of_the_mean_error_over_all_frames() -> None:
    truth, errors = np.zeros((*SHAPE, 3), np.uint8), RegionErrors()
    for value in (0, 10):
        errors.add(np.full_like(truth, value), truth, regions_of(*masks()))
    assert errors.psnr_db("overall") == pytest.approx(10 * np.log10(255**2 / 50))


def test_a_region_that_never_shows_has_no_number() -> None:
    empty = np.zeros(SHAPE, bool)
    errors = RegionErrors()
    errors.add(np.zeros((*SHAPE, 3), np.uint8), np.zeros((*SHAPE, 3), np.uint8), regions_of(empty, empty))
    assert errors.psnr_db("hand") is None


@dataclass
class Episode:
    conditions: list[Condition]
    hand_masks: np.ndarray
    object_masks: np.ndarray


def test_the_given_first_frame_does_not_count() -> None:
    picture = np.zeros((*SHAPE, 3), np.uint8)
    condition = Condition(1, Camera(6, 4, 5.0, 5.0, 3.0, 2.0), np.eye(4), image=picture)
    episode = Episode([condition, replace(condition, stamp_ns=2)], *(np.stack([mask, mask]) for mask in masks()))
    wrong_first = [np.full_like(picture, 255), picture]
    evaluation = Evaluation()
    evaluate(episode, {"late": lambda conditions: iter(wrong_first)}, evaluation, keep_frames=True)
    assert evaluation.results["late"].psnr_db("overall") == float("inf")
    assert list(evaluation.strips[0]) == ["truth", "late"]
