"""The report of a batch: every clip with its sheet, its scores, and why it was rejected."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from h2w_ros.bulk.job import Outcome
from h2w_ros.bulk.ledger import Ledger

REPORT = "report.html"
REPORT_FOLDER = "report"

# Score, what the column says, and how it is written.
COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("num_frames", "frames", "{:.0f}"),
    ("coverage", "a hand in", "{:.0%}"),
    ("both", "both in", "{:.0%}"),
    ("filled", "filled in", "{:.0%}"),
    ("reprojection_px", "off by [px]", "{:.1f}"),
    ("reprojection", "of the hand", "{:.1%}"),
    ("jitter_m_per_s2", "jitter [m/s²]", "{:.1f}"),
    ("camera_coverage", "camera in", "{:.0%}"),
    ("camera_error_px", "scene off by [px]", "{:.2f}"),
    ("parallax_deg", "parallax [°]", "{:.1f}"),
    ("agreement", "agrees", "{:.0%}"),
    ("parallax_agreement", "beyond turning", "{:.0%}"),
    ("scale", "scale", "{:.3g}"),
    ("scale_spread", "scale ×/÷", "{:.2f}"),
)
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1500px; padding: 0 1em; color: #222 }
table { border-collapse: collapse } td, th { padding: .2em .7em; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left } img { max-width: 100%; vertical-align: top }
.annotated { color: #175 } .rejected, .failed { color: #a31 } section { margin: 2.5em 0; border-top: 2px solid #ccc }
"""


def write_report(out: Path) -> Path:
    """Writes the page about everything in `out`'s ledger; returns its path."""
    outcomes = sorted(Ledger(out).outcomes.values(), key=lambda outcome: outcome.name)
    path = out / REPORT
    path.write_text(page(outcomes, out))
    return path


def page(outcomes: Sequence[Outcome], out: Path) -> str:
    """The HTML; pictures lie beside it."""
    counts = Counter(_word(outcome) for outcome in outcomes)
    summary = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    sections = "".join(_section(outcome, (out / REPORT_FOLDER / f"{outcome.name}.jpg").is_file()) for outcome in outcomes)
    return (
        f"<!doctype html><meta charset='utf-8'><title>Annotated video</title><style>{STYLE}</style>"
        f"<h1>Annotated video</h1><p>{summary or 'nothing yet'}. Left hands are blue, right hands red; in the drawing the camera's path is"
        f" black and begins at the dot.</p>{_table(outcomes)}{sections}\n"
    )


def _table(outcomes: Sequence[Outcome]) -> str:
    head = "".join(f"<th>{html.escape(title)}</th>" for _, title, _ in COLUMNS)
    rows = "".join(
        f"<tr><td><a href='#{html.escape(outcome.name, quote=True)}'>{html.escape(outcome.name)}</a></td>"
        f"<td class={_word(outcome)}>{_word(outcome)}</td>{_cells(outcome.result.get('scores', {}))}</tr>"
        for outcome in outcomes
    )
    return f"<table><tr><th>clip</th><th></th>{head}</tr>{rows}</table>"


def _cells(scores: Mapping[str, Any]) -> str:
    return "".join(f"<td>{_number(scores.get(key), form)}</td>" for key, _, form in COLUMNS)


def _number(value: float | int | None, form: str) -> str:
    return "–" if value is None or not np.isfinite(value) else form.format(value)


def _section(outcome: Outcome, has_sheet: bool) -> str:
    result = outcome.result
    name = html.escape(outcome.name, quote=True)
    dropped = "; ".join(f"{count} × {reason}" for reason, count in sorted(result.get("dropped", {}).items()))
    camera = ", ".join(f"{key} {value:.1f}" if isinstance(value, float) else f"{key}: {value}" for key, value in result.get("camera", {}).items())
    lines = [str(result.get("video", "")), camera, f"left out or changed: {dropped}" if dropped else ""]
    picture = f"<p><img alt='' src='{REPORT_FOLDER}/{name}.jpg'></p>" if has_sheet else ""
    return (
        f"<section id='{name}'><h2>{name} <span class={_word(outcome)}>{_word(outcome)}</span></h2><p>{html.escape(outcome.reason)}</p>"
        f"<p>{'<br>'.join(html.escape(line) for line in lines if line)}</p>{result.get('path_svg', '')}{picture}</section>"
    )


def _word(outcome: Outcome) -> str:
    return "annotated" if outcome.status == "done" else outcome.status
