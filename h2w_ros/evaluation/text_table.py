"""The numbers of an evaluation as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from h2w_ros.evaluation.protocol import Table

MEANING = {
    "psnr": "peak signal to noise [dB], higher is better",
    "ssim": "structural similarity, 1 is perfect",
    "flow_error": "end-point error of the optical flow from each frame to the next [px], lower is better",
}
"""What every column says."""


def text_table(tables: Mapping[str, Table]) -> str:
    """A block a region, a line a contender, and under it what each column means."""
    regions = list(next(iter(tables.values())))
    blocks = [_block(region, {name: table[region] for name, table in tables.items()}) for region in regions]
    used = {metric for table in tables.values() for row in table.values() for metric in row}
    meanings = [f"{metric}: {text}" for metric, text in MEANING.items() if metric in used]
    return "\n".join([*blocks, *meanings])


def number(value: float | None) -> str:
    """Four significant digits; a dash where nothing could be measured."""
    return "-" if value is None else f"{value:.4g}"


def _block(region: str, rows: Mapping[str, Mapping[str, float | None]]) -> str:
    metrics = list(next(iter(rows.values())))
    widths = [max(10, len(metric) + 2) for metric in metrics]
    head = f"{region:26}" + "".join(f"{metric:>{width}}" for metric, width in zip(metrics, widths, strict=True))
    lines = ["".join([f"{name:26}", *(f"{number(row[m]):>{w}}" for m, w in zip(metrics, widths, strict=True))]) for name, row in rows.items()]
    return "\n".join([head, *lines, ""])
