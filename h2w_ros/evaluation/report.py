"""Writes `docs/results.md`: an honest paragraph, claims, tables, plots and strips of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from h2w_ros import hardware
from h2w_ros.condition import Image
from h2w_ros.evaluation.claims import Claim, claims, overall, ratio
from h2w_ros.evaluation.plots import plot_by_frame, plot_regions
from h2w_ros.evaluation.strips import strip
from h2w_ros.evaluation.text_table import MEANING, number, picture_metrics, warnings, world_metrics

Report = Mapping[str, Any]
KEPT_BELOW = "<!-- What stands below this line is written by hand, and kept when the report is written again. -->"
REGION_NAMES = {
    "overall": "Whole picture",
    "hand": "Hands and forearms",
    "object": "Things that move in the episode",
    "background": "Everything else",
}
STRIP_MOMENTS = 7


def write_report(path: Path, report: Report, beside: Sequence[Report], strips: Sequence[Mapping[str, Sequence[Image]]]) -> None:
    """Writes the page, and its pictures into a folder of its name; what stands below `KEPT_BELOW` stays."""
    pictures = path.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    plot_by_frame(report["psnr_by_frame"], pictures / "by_frame.png")
    plot_regions(report["results"], pictures / "regions.png")
    for index, frames_of in enumerate(strips):
        cv2.imwrite(str(pictures / f"strip_{index}.png"), strip(frames_of, STRIP_MOMENTS, 1.0)[..., ::-1])
    kept = path.read_text().partition(KEPT_BELOW)[2] if path.exists() else ""
    path.write_text("\n".join([*page(report, beside, pictures.name, len(strips)), KEPT_BELOW]) + (kept or "\n"))


def page(report: Report, beside: Sequence[Report], folder: str, num_strips: int) -> list[str]:
    """The page's lines; its pictures lie in `folder`."""
    found = claims(report, beside)
    return [
        "# Results",
        "",
        honest_paragraph(report, found),
        "",
        *_claims(found),
        *_regions(report, folder),
        *_world(report),
        *_others(report, beside),
        *_papers(report),
        *_strips(folder, num_strips),
    ]


def honest_paragraph(report: Report, found: Sequence[Claim]) -> str:
    """What was measured on what, and which bars are met, missed and not decided."""
    met, missed, open_ = ([claim.claim for claim in found if claim.is_met is state] for state in (True, False, None))
    parts = [
        f"`{report['model']}` on {report['episodes']} episodes of {report['frames']} frames of the simulated world (seeds from {report['seed']}, "
        f"never trained on), on {hardware.describe()}. {len(met)} of {len(found)} bars are met."
    ]
    parts += [f"Missed: {'; '.join(missed)}."] if missed else []
    parts += [f"Not decided: {'; '.join(open_)}."] if open_ else []
    parts.append(
        "All of it is about simulated table tops, and says nothing about real pictures. What generated pictures show is judged by small networks, "
        "whose own errors on true pictures stand in the same tables: differences smaller than those mean nothing."
    )
    return " ".join([*parts, *(f"{text}." for text in warnings(report))])


def _claims(found: Sequence[Claim]) -> list[str]:
    words = {True: "yes", False: "**no**", None: "not measured"}
    rows = [[claim.claim, claim.paper, claim.bar, claim.ours, words[claim.is_met]] for claim in found]
    return ["## What the numbers must show", "", *_table(["claim", "the paper's figure", "bar", "ours", "met"], rows)]


def _regions(report: Report, folder: str) -> list[str]:
    lines = ["## Pictures against the truth", "", "PSNR [dB] and SSIM: higher is better. Flow error [px a frame]: lower is better.", ""]
    for region, name in REGION_NAMES.items():
        tables = {contender: table[region] for contender, table in _tables(report).items()}
        lines += [f"**{name}**", "", *_metrics_table(tables, list(picture_metrics(tables["model"])))]
    return [*lines, f"![PSNR by region]({folder}/regions.png)", "", f"![PSNR by frame]({folder}/by_frame.png)", ""]


def _world(report: Report) -> list[str]:
    tables = {name: table["overall"] for name, table in _tables(report).items()}
    own = {"*true pictures: the estimators' own error*": report["estimators"]}
    used = list(world_metrics(tables["model"]))
    return [
        "## What the pictures show",
        "",
        *_metrics_table(tables | own, used),
        *(f"- `{metric}`: {MEANING[metric]}" for metric in used),
        "- `frechet_world` of the true pictures is that between every other episode and the rest",
        "",
    ]


def _others(report: Report, beside: Sequence[Report]) -> list[str]:
    """The model's overall numbers in every evaluation, such as longer ones."""
    if not beside:
        return []
    metrics = ("psnr", "ssim", "flow_error", "hand_iou", "object_error", "camera_error", "frechet_world", "drift")
    rows = [
        [other["model"], str(other["episodes"]), str(other["frames"]), *(number(overall(other, "model", m)) for m in metrics)]
        for other in (report, *beside)
    ]
    return ["## Other evaluations", "", *_table(["model", "episodes", "frames", *metrics], rows)]


def _papers(report: Report) -> list[str]:
    """Ratios, the only thing that can be held against one another across data sets."""
    rows = [
        ["model over its best baseline, Fréchet", "0.24 (ARCTIC, 218.76 / 908.32)", _ratio_to_baselines(report)],
        ["without camera rays over with, Fréchet", "3.7 (ARCTIC), 4.1 (HOT3D), 2.5 (HOI4D)", _ratio(report, "no_rays", "frechet_world")],
        ["cut masks over complete hands, Fréchet", "4.2 (ARCTIC, InterDyn)", _ratio(report, "cut_masks", "frechet_world")],
    ]
    return ["## Beside the papers", "", *_table(["ratio", "Hand2World (FVD)", "ours (`frechet_world`)"], rows)]


def _ratio(report: Report, name: str, metric: str) -> str:
    reference = f"{name}_reference" if f"{name}_reference" in report["results"] else "model"
    return number(ratio(overall(report, name, metric), overall(report, reference, metric)))


def _ratio_to_baselines(report: Report) -> str:
    known = [value for name in ("repeat", "warp") if (value := overall(report, name, "frechet_world")) is not None]
    return number(ratio(overall(report, "model", "frechet_world"), min(known, default=None)))


def _strips(folder: str, count: int) -> list[str]:
    pictures = [line for index in range(count) for line in (f"![Episode {index}, a row a contender]({folder}/strip_{index}.png)", "")]
    return ["## Strips", "", "The first frame is given; the others are predicted. Numbers are frames.", "", *pictures] if count else []


def _tables(report: Report) -> dict[str, Mapping[str, Mapping[str, float | None]]]:
    return {**report["results"], "codec_ceiling": report["codec_ceiling"]}


def _metrics_table(rows: Mapping[str, Mapping[str, float | None]], metrics: Sequence[str]) -> list[str]:
    return _table(["", *metrics], [[name, *(_cell(row, metric) for metric in metrics)] for name, row in rows.items()])


def _cell(row: Mapping[str, float | None], metric: str) -> str:
    """The number, with its interval where there is one."""
    low, high = (row.get(f"{metric}_{end}") for end in ("low", "high"))
    return number(row.get(metric)) + ("" if low is None else f" ({number(low)} to {number(high)})")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows), ""]
