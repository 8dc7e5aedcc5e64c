"""Plots of the report, as small PNGs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

SIZE_IN = (9.0, 3.2)
DPI = 90
PICTURE_REGIONS = ("overall", "hand", "object", "background")


def plot_by_frame(psnr_by_frame: Mapping[str, Sequence[float]], path: Path) -> None:
    """PSNR of every frame after the given one, a line a contender."""
    figure, axes = _figure("frame", "PSNR [dB]")
    for name, values in psnr_by_frame.items():
        axes.plot(range(1, len(values) + 1), values, label=name, linewidth=2.5 if name == "model" else 1.2)
    _save(figure, axes, path)


def plot_regions(results: Mapping[str, Any], path: Path) -> None:
    """PSNR of every region, a bar a contender; regions that no episode shows have none."""
    figure, axes = _figure("", "PSNR [dB]")
    width = 0.8 / len(results)
    for index, (name, table) in enumerate(results.items()):
        known = [(place, table[region]["psnr"]) for place, region in enumerate(PICTURE_REGIONS) if table[region]["psnr"] is not None]
        axes.bar([place + (index + 0.5) * width - 0.4 for place, _ in known], [value for _, value in known], width, label=name)
    axes.set_xticks(range(len(PICTURE_REGIONS)), PICTURE_REGIONS)
    _save(figure, axes, path)


def plot_choices(questions: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Curves of PSNR over minutes, axes a question, a line an answer (`h2w_ros.training.choices`); questions without answers have none."""
    asked = {question: answers for question, answers in questions.items() if answers}
    figure = Figure(figsize=(SIZE_IN[0], 2.4 * len(asked)), layout="constrained")
    for axes, (question, answers) in zip(figure.subplots(len(asked), squeeze=False)[:, 0], asked.items(), strict=True):
        for name, shown in answers.items():
            axes.plot(*zip(*shown["curve"], strict=True), label=f"{name}, {shown['steps']} steps", marker=".")
        axes.set_title(question, fontsize="medium", loc="left")
        axes.set_xlabel("minutes of a core")
        axes.set_ylabel("PSNR [dB]")
        _finish(axes)
    figure.savefig(path, dpi=DPI)


def plot_losses(curves: Mapping[str, Sequence[tuple[float, float]]], path: Path) -> None:
    """Losses over minutes of training, axes a stage: losses of different stages are of different things."""
    figure = Figure(figsize=(SIZE_IN[0], 2.4 * len(curves)), layout="constrained")
    for axes, (stage, curve) in zip(figure.subplots(len(curves), squeeze=False)[:, 0], curves.items(), strict=True):
        axes.plot(*zip(*curve, strict=True), label=stage, marker=".")
        axes.set_xlabel("minutes")
        axes.set_ylabel("loss of episodes kept back")
        _finish(axes)
    figure.savefig(path, dpi=DPI)


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE_IN, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _save(figure: Figure, axes: Axes, path: Path) -> None:
    _finish(axes)
    figure.savefig(path, dpi=DPI)


def _finish(axes: Axes) -> None:
    axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))  # beside the curves, not over them
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
