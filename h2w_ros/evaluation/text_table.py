"""The numbers of an evaluation as text for a terminal, and what each of them means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from h2w_ros.evaluation.frechet import FEWEST_WINDOWS

MEANING = {
    "psnr": "peak signal to noise [dB], higher is better",
    "ssim": "structural similarity, 1 is perfect",
    "flow_error": "end-point error of the optical flow from each frame to the next [px], lower is better",
    "hand_iou": "overlap of the hands that are seen with the true ones, 1 is perfect",
    "object_error": "how far things that have moved are from where they should be [px]",
    "object_error_unmoved": "the same had they stayed where they were [px]",
    "object_error_still": "how far things that nothing moves are from where they stand [px]",
    "camera_error": "how far the camera's turn since frame 0 is off [degrees]",
    "camera_error_m": "how far its way since frame 0 is off [m]",
    "depth_error": "relative error of the depth",
    "frechet_world": "Fréchet distance of windows of 0.75 s, in features that know the world; in brackets the middle 90% over episodes drawn again",
    "drift": "PSNR of the first quarter less that of the last [dB]",
    "lpips": "LPIPS by the given network, lower is better",
    "fvd": "Fréchet video distance by the given network, lower is better",
    "dino": "cosine of DINO features by the given network, 1 is perfect",
}
"""What every metric says."""
WELL_SEEN_IOU = 0.9
"""Estimators that find true hands less well than that say little about generated ones."""
HIGHER_IS_BETTER = ("psnr", "ssim", "hand_iou", "dino")


def text_table(report: Mapping[str, Any]) -> str:
    """Of what `Evaluation.report` tells: a block a region, a line a contender; last what the metrics mean."""
    tables = {**report["results"], "codec_ceiling": report["codec_ceiling"]}
    regions = list(report["codec_ceiling"])
    blocks = [block(region, {name: picture_metrics(table[region]) for name, table in tables.items()}) for region in regions]
    world = {name: world_metrics(table["overall"]) for name, table in tables.items()}
    blocks.append(block("as the estimators see it", world | {"(the true pictures)": report["estimators"]}))
    used = {metric for table in tables.values() for row in table.values() for metric in row}
    meanings = [f"{metric}: {text}" for metric, text in MEANING.items() if metric in used]
    return "\n".join([*blocks, *meanings, *warnings(report)])


def picture_metrics(row: Mapping[str, float | None]) -> dict[str, float | None]:
    """Those that compare pictures pixel by pixel."""
    return {name: value for name, value in row.items() if name in ("psnr", "ssim", "flow_error")}


def world_metrics(row: Mapping[str, float | None]) -> dict[str, float | None]:
    """Those that look at what pictures show."""
    return {name: value for name, value in row.items() if name in MEANING and name not in picture_metrics(row)}


def warnings(report: Mapping[str, Any]) -> list[str]:
    """What keeps numbers from meaning what they seem to."""
    own, repeat = report["estimators"], report["results"].get("repeat", {}).get("overall", {})
    windows, own_iou = own["windows"], own.get("hand_iou")
    few = f"frechet_world is of {windows} windows only; it means little below {FEWEST_WINDOWS} (64 episodes of 49 frames have 2368)"
    blunt = f"The estimators find the hands of true pictures with an IoU of {number(own_iou)} only: a hand_iou near that is as good as can be told"
    dim = [_dim(metric, own.get(metric), repeat.get(rival)) for metric, rival in (("object_error", "object_error_unmoved"), ("camera_error",) * 2)]
    return [few] * (windows < FEWEST_WINDOWS) + [blunt] * (own_iou is not None and own_iou < WELL_SEEN_IOU) + [text for text in dim if text]


def _dim(metric: str, own: float | None, known_nothing: float | None) -> str | None:
    """Where true pictures fare hardly better than one that does not change at all, the metric cannot tell good from bad."""
    if own is None or known_nothing is None or own <= 0.5 * known_nothing:
        return None
    return f"{metric} says little: it is {number(own)} on true pictures, against {number(known_nothing)} where nothing moves"


def number(value: float | None) -> str:
    """Four significant digits; a dash where nothing could be measured."""
    return "-" if value is None else f"{value:.4g}"


def block(title: str, rows: Mapping[str, Mapping[str, float | None]]) -> str:
    """A heading of metrics and a line a row; the first row says which metrics."""
    metrics = list(next(iter(rows.values())))
    widths = [max(10, len(metric) + 2) for metric in metrics]
    head = f"{title:26}" + "".join(f"{metric:>{width}}" for metric, width in zip(metrics, widths, strict=True))
    lines = ["".join([f"{name:26}", *(f"{number(row.get(m)):>{w}}" for m, w in zip(metrics, widths, strict=True))]) for name, row in rows.items()]
    return "\n".join([head, *lines, ""])
