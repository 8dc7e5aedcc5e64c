"""The report of a batch: every clip with its sheet, its scores, and why it was rejected."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from h2w_ros.annotate.outcome import Outcome, read_outcome

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
    """Writes the page about everything that `out` has outcomes of; returns its path."""
    outcomes = [outcome for path in sorted((out / REPORT_FOLDER).glob("*.json")) if (outcome := read_outcome(path)) is not None]
    path = out / REPORT
    path.write_text(page(outcomes, out))
    return path


def page(outcomes: Sequence[Outcome], out: Path) -> str:
    """The HTML; pictures lie beside it."""
    counts = Counter(outcome.status for outcome in outcomes)
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
        f"<td class={outcome.status}>{outcome.status}</td>{_cells(outcome.scores)}</tr>"
        for outcome in outcomes
    )
    return f"<table><tr><th>clip</th><th></th>{head}</tr>{rows}</table>"


def _cells(scores: Mapping[str, float]) -> str:
    return "".join(f"<td>{_number(scores.get(key), form)}</td>" for key, _, form in COLUMNS)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None or not np.isfinite(value) else form.format(value)


def _section(outcome: Outcome, has_sheet: bool) -> str:
    name = html.escape(outcome.name, quote=True)
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in outcome.reasons)
    dropped = "; ".join(f"{count} × {reason}" for reason, count in sorted(outcome.dropped.items()))
    camera = ", ".join(f"{key} {value:.1f}" if isinstance(value, float) else f"{key}: {value}" for key, value in outcome.camera.items())
    return (
        f"<section id='{name}'><h2>{name} <span class={outcome.status}>{outcome.status}</span></h2>"
        f"<ul>{reasons}</ul><p>{html.escape(outcome.video)}{'; ' + html.escape(camera) if camera else ''}"
        f"{'<br>left out or changed: ' + html.escape(dropped) if dropped else ''}</p>"
        f"{outcome.path_svg}{f'<p><img src={chr(39)}{REPORT_FOLDER}/{name}.jpg{chr(39)}></p>' if has_sheet else ''}</section>"
    )
