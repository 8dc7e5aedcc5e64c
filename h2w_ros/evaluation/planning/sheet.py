"""A scene's candidates for people to look at: how each ends, as imagined and as the simulator knows it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from h2w_ros.condition import Image
from h2w_ros.evaluation.planning.judgement import Judged
from h2w_ros.evaluation.planning.scenes import Trial
from h2w_ros.pictures import labelled_row
from h2w_ros.planning.prediction import Future
from h2w_ros.world.view import pixel_aspect

SHOWN_SCALE = 1.25


def candidates_sheet(judged: Judged, now: Image, goal: Image, trials: Sequence[Trial], futures: Sequence[Future]) -> UInt8[ndarray, "_ _ 3"]:
    """Two rows, imagined over true; the model's choice and the best one are marked."""
    chosen, best = int(np.argmin(judged.costs)), int(np.argmin(judged.distances_m))
    marks = [("chosen " if index == chosen else "") + ("best " if index == best else "") for index in range(len(trials))]
    imagined = [f"{mark}imagined" for mark in marks]
    true = [f"{mark}{100 * trial.distance_m:.0f} cm" for mark, trial in zip(marks, trials, strict=True)]
    aspect = pixel_aspect(now.shape[1], now.shape[0])
    top = labelled_row([now, *(future.pictures[0, -1] for future in futures)], ["now", *imagined], SHOWN_SCALE, aspect)
    bottom = labelled_row([goal, *(trial.final_picture for trial in trials)], ["goal", *true], SHOWN_SCALE, aspect)
    return np.concatenate([top, bottom])
