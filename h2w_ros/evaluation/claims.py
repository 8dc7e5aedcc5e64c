"""What the numbers must show, held against what they do show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from h2w_ros.evaluation.text_table import HIGHER_IS_BETTER, MEANING

Report = Mapping[str, Any]
BASELINES = ("repeat", "warp")
JUDGED_REGIONS = ("overall", "hand", "object")
NOT_JUDGED = ("object_error_unmoved",)
"""What nobody is better or worse at."""


@dataclass(frozen=True)
class Claim:
    """One row: what is claimed, the papers' figure, our bar, and what came out; `is_met` None where it was not measured."""

    claim: str
    paper: str
    bar: str
    ours: str
    is_met: bool | None


def claims(report: Report, beside: Sequence[Report] = ()) -> list[Claim]:
    """All claims about this evaluation, and about those beside it."""
    about_model = [_beats_baselines(report), _background(report), _hands(report), _objects(report)]
    return [*about_model, _rays(report), _masks(report), _distilled(report), _length(report, beside), _static(report)]


def overall(report: Report, name: str, metric: str) -> float | None:
    """One of the overall numbers of a contender; None where there is none."""
    value: float | None = report["results"].get(name, {}).get("overall", {}).get(metric)
    return value


def ratio(a: float | None, b: float | None) -> float | None:
    """a / b, where both are known and b is not zero."""
    return None if a is None or not b else a / b


def losses(report: Report, name: str, rival: str, regions: Sequence[str] = JUDGED_REGIONS) -> tuple[list[str], int]:
    """Region and metric of everything in which the rival is as good or better, and how many were compared."""
    ours, theirs = report["results"][name], report["results"][rival]
    pairs = [(region, metric) for region in regions for metric in ours[region] if metric in MEANING and metric not in NOT_JUDGED]
    known = [(r, m) for r, m in pairs if ours[r][m] is not None and theirs[r].get(m) is not None]
    return [f"{region} {metric}" for region, metric in known if not _is_better(metric, ours[region][metric], theirs[region][metric])], len(known)


def _is_better(metric: str, a: float, b: float) -> bool:
    return a > b if metric in HIGHER_IS_BETTER else a < b


def _beats_baselines(report: Report) -> Claim:
    lost, compared = [], 0
    for rival in BASELINES:
        names, count = losses(report, "model", rival)
        lost += [f"{name} to {rival}" for name in names]
        compared += count
    ours = f"better in {compared - len(lost)} of {compared}" + (f"; loses {', '.join(lost)}" if lost else "")
    return Claim("the student beats both baselines", "", "hand, object and overall, on every metric", ours, not lost)


def _background(report: Report) -> Claim:
    ours, warp = (report["results"][name]["background"]["psnr"] for name in ("model", "warp"))
    better = None if ours is None or warp is None else ours - warp
    return _bounded("the background stays", "", "within 0.5 dB of `warp`", better, lambda x: x >= -0.5, "{:+.2f} dB against it")


def _hands(report: Report) -> Claim:
    own = report["estimators"].get("hand_iou")
    note = "" if own is None else f" (true pictures: {own:.3f})"
    iou = overall(report, "model", "hand_iou")
    return _bounded("it puts the hands where they are asked", "", "hand IoU at least 0.80", iou, lambda x: x >= 0.8, "{:.3f}" + note)


def _objects(report: Report) -> Claim:
    share = ratio(overall(report, "model", "object_error"), overall(report, "model", "object_error_unmoved"))
    still, own = overall(report, "model", "object_error_still"), report["estimators"].get("object_error_still")
    note = "" if still is None or own is None else f"; things at rest are {still:.1f} px off (true pictures: {own:.1f})"
    return _bounded("it moves things", "", "object error at most half of unmoved", share, lambda x: x <= 0.5, "{:.2f} of it" + note)


def _rays(report: Report) -> Claim:
    reference, bar = _reference(report, "no_rays"), "camera error and Fréchet distance at least 2x worse without"
    pairs = ((overall(report, "no_rays", metric), overall(report, reference, metric)) for metric in ("camera_error", "frechet_world"))
    camera, world = (ratio(*pair) for pair in pairs)
    if camera is None or world is None:
        return Claim("camera rays matter", "FVD 218 → 815 without", bar, "not measured", None)
    ours = f"camera error {camera:.2f}x, Fréchet distance {world:.2f}x"
    return Claim("camera rays matter", "FVD 218 → 815 without", bar, ours, min(camera, world) >= 2.0)


def _masks(report: Report) -> Claim:
    if "cut_masks" not in report["results"]:
        return Claim("complete hands beat cut masks", "FVD 908 → 218", "every metric", "not measured", None)
    lost, compared = losses(report, _reference(report, "cut_masks"), "cut_masks")
    ours = f"better in {compared - len(lost)} of {compared}" + (f"; not in {', '.join(lost)}" if lost else "")
    return Claim("complete hands beat cut masks", "FVD 908 → 218", "every metric", ours, not lost)


def _reference(report: Report, name: str) -> str:
    """What an ablation is held against."""
    return f"{name}_reference" if f"{name}_reference" in report["results"] else "model"


def _distilled(report: Report) -> Claim:
    claim, paper, bar = "distillation costs little", "FVD 218 → 232", "Fréchet at most 1.10x the teacher's"
    share = ratio(overall(report, "model", "frechet_world"), overall(report, "teacher", "frechet_world"))
    if share is not None and not report.get("distilled", True):
        return Claim(claim, paper, bar, f"not distilled; {share:.2f}x that of a teacher trained beside it", None)
    return _bounded(claim, paper, bar, share, lambda x: x <= 1.1, "{:.2f}x")


def _length(report: Report, beside: Sequence[Report]) -> Claim:
    """Against the shortest evaluation that is at least four times as long."""
    longer = [other for other in beside if other["model"] == report["model"] and other["frames"] - 1 >= 4 * (report["frames"] - 1)]
    chosen = min(longer, key=lambda other: other["frames"], default=None)
    share = None if chosen is None else ratio(overall(chosen, "model", "frechet_world"), overall(report, "model", "frechet_world"))
    text = "" if chosen is None else f" over {chosen['frames']} frames"
    return _bounded("length costs little", "FVD 232 → 332 at 4x", "Fréchet at most 1.35x at 4x", share, lambda x: x <= 1.35, "{:.2f}x" + text)


def _static(report: Report) -> Claim:
    known, unknown = (
        report["results"].get(name, {}).get("background", {}).get("psnr") for name in ("model_with_static_scene", "model_without_table")
    )
    gain = None if known is None or unknown is None else known - unknown
    bar = "background at least +2 dB"
    return _bounded("the static scene helps", "PSNR 20.54 → 25.03 (DWM)", bar, gain, lambda x: x >= 2.0, "{:+.2f} dB on the background")


def _bounded(claim: str, paper: str, bar: str, value: float | None, is_met: Callable[[float], bool], text: str) -> Claim:
    if value is None:
        return Claim(claim, paper, bar, "not measured", None)
    return Claim(claim, paper, bar, text.format(value), is_met(value))
