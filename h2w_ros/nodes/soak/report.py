"""What a soak run found, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

RULES = {
    "answers": "every answer is to moments that were, whole, in order, without gaps in its session",
    "latency": "no answer comes later than {max_latency_s:g} s after its moment",
    "recordings": "bags open, and hold every answer from their first to a second before their end",
    "recovery": "after every fault answers come again within {max_recovery_s:g} s",
    "processes": "no process ends by itself; those that are asked to end do so in order",
    "growth": "no settled process grows by more than {max_growth_mb:g} MB, {max_new_files:g} open files, {max_new_threads:g} threads",
}
MAX_SHOWN = 20


@dataclass(frozen=True)
class Violation:
    """A rule of `RULES` that did not hold, and how."""

    rule: str
    text: str

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got {self.rule!r}")


@dataclass(frozen=True)
class FaultRecord:
    """A fault: when it began after the start, how long it lasted, how long after its end the graph was itself again (None: it was not) [s]."""

    kind: str
    began_s: float
    lasted_s: float
    recovered_s: float | None

    def recovers_within(self, limit_s: float) -> bool:
        """Whether it did, and in time."""
        return self.recovered_s is not None and self.recovered_s <= limit_s

    def __str__(self) -> str:
        outcome = "NO RECOVERY" if self.recovered_s is None else f"recovered in {self.recovered_s:.1f} s"
        return f"{self.began_s:6.0f} s  {self.kind}: {outcome}"


@dataclass
class SoakReport:
    """Everything that is told of a run; `grown` by node and life, `dropped` by node and reason."""

    minutes: float
    seed: int
    model: str
    hardware: str
    limits: dict[str, float]
    moments: int = 0
    messages: int = 0
    answers: int = 0
    recorded: int = 0
    latency_ms: dict[str, float] = field(default_factory=dict)
    faults: list[FaultRecord] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    grown: dict[str, dict[str, float]] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every rule held."""
        return not self.violations

    def write(self, folder: Path) -> None:
        """report.json and report.md."""
        (folder / "report.json").write_text(json.dumps(asdict(self) | {"holds": self.holds}, indent=1) + "\n")
        (folder / "report.md").write_text(markdown(self))


def markdown(report: SoakReport) -> str:
    """The report as a page."""
    latency = ", ".join(f"{name} {value:.0f}" for name, value in report.latency_ms.items())
    head = [
        f"# Soak of {report.minutes:g} minutes: {'every rule held' if report.holds else f'violations: {len(report.violations)}'}",
        "",
        f"Model {report.model}, seed {report.seed}, on {report.hardware}.",
        f"{report.messages} messages of {report.moments} moments sent, {report.answers} answered, {report.recorded} answers recorded.",
        f"From a moment to the arrival of its answer [ms]: {latency}.",
    ]
    parts = [_rules(report), _faults(report), _growth(report), _dropped(report), _violations(report)]
    return "\n".join([*head, *(line for part in parts for line in ("", *part))]) + "\n"


def _rules(report: SoakReport) -> list[str]:
    counts = {rule: sum(one.rule == rule for one in report.violations) for rule in RULES}
    return ["| rule | holds |", "|---|---|"] + [f"| {RULES[rule].format(**report.limits)} | {count or 'yes'} |" for rule, count in counts.items()]


def _faults(report: SoakReport) -> list[str]:
    kinds = sorted({fault.kind for fault in report.faults})
    rows = []
    for kind in kinds:
        times = [fault.recovered_s for fault in report.faults if fault.kind == kind]
        known = [time_s for time_s in times if time_s is not None]
        rows.append(f"| {kind} | {len(times)} | {max(known, default=float('nan')):.1f} | {len(times) - len(known)} |")
    return ["| fault | times | longest recovery [s] | without recovery |", "|---|---|---|---|", *rows]


def _growth(report: SoakReport) -> list[str]:
    rows = [
        f"| {name} | {one['lived_s']:.0f} | {one['resident_mb']:.0f} | {one['memory_mb']:+.1f} | {one['files']:+.0f} | {one['threads']:+.0f}"
        f" | {100 * one['cores']:.1f} |"
        for name, one in report.grown.items()
    ]
    return ["| process | settled life [s] | MB | grown by MB | files | threads | % of a core |", "|---|---|---|---|---|---|---|", *rows]


def _dropped(report: SoakReport) -> list[str]:
    return ["| counted by the nodes | |", "|---|---|", *(f"| {reason} | {count} |" for reason, count in report.dropped.items())]


def _violations(report: SoakReport) -> list[str]:
    shown = [f"- {one.rule}: {one.text}" for one in report.violations[:MAX_SHOWN]]
    rest = len(report.violations) - len(shown)
    return [*shown, f"- and {rest} more: report.json"] if rest else shown
