"""One stage of training under a time budget: optimisers, learning rates, averaged weights, saving and resuming.

Weights alone suffice to go on: a resumed run rebuilds its optimisers and warms up again.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from h2w_ros.hardware import describe
from h2w_ros.provenance import code_version
from h2w_ros.training.muon import Muon
from h2w_ros.training.processes import ALONE, Processes
from h2w_ros.training.weights import take

logger = logging.getLogger(__name__)

COOLDOWN_SHARE = 0.5  # last part of the budget, over which learning rates fall to a twentieth
GRADIENT_NORM = 1.0
SAVE_EVERY_S = 120.0
BAR = "{l_bar}{bar}| {elapsed}, {remaining} left, {postfix}"

Losses = Callable[[int, float], Tensor]
"""The loss of a step of the whole run, given the share of this session's budget that is spent."""


@dataclass(frozen=True)
class Budget:
    """When a session of training ends: after these minutes, or at this step of the whole run if that comes first."""

    minutes: float
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise ValueError(f"minutes must be positive, got {self.minutes}")

    def spent(self, elapsed_s: float, step: int, first_step: int) -> float:
        """Share of the budget that a session which began at `first_step` has used; 1 or more when it is over."""
        share = elapsed_s / (60.0 * self.minutes)
        if self.max_steps is None:
            return share
        return 1.0 if step >= self.max_steps else max(share, (step - first_step) / (self.max_steps - first_step))


@dataclass
class Progress:
    """How far a run has come, over all its sessions; `loss` is smoothed."""

    step: int = 0
    seconds: float = 0.0
    loss: float | None = None

    def advance(self, loss: float, seconds: float) -> None:
        """Counts one step."""
        self.step, self.seconds = self.step + 1, seconds
        self.loss = loss if self.loss is None else 0.98 * self.loss + 0.02 * loss


class AveragedWeights:
    """An exponential moving average of a module's weights, in float32; while young it forgets faster, or it would keep the random start."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        self.num_updates = 0
        self.weights = {name: value.detach().clone().float() for name, value in module.state_dict().items()}

    def resume(self, weights: dict[str, Tensor], num_updates: int) -> None:
        """Goes on from a mean that was saved."""
        self.weights = {name: value.to(self.weights[name].device) for name, value in weights.items()}
        self.num_updates = num_updates

    @torch.no_grad()
    def update(self) -> None:
        """Takes the module's present weights into the mean."""
        self.num_updates += 1
        decay = min(self._decay, self.num_updates / (self.num_updates + 10))
        for name, value in self._module.state_dict().items():
            self.weights[name].lerp_(value.float(), 1.0 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The module with the mean as its weights, for as long as this lasts."""
        present = {name: value.detach().clone() for name, value in self._module.state_dict().items()}
        self._module.load_state_dict(self.weights)
        try:
            yield
        finally:
            self._module.load_state_dict(present)


class RunFolder:
    """The files of one run: `weights.safetensors` to go on from, `average.safetensors` to ship, `progress.json`, `loss.csv`, `validation.csv`,
    and `sessions.json`, which says what made them. Only the main process writes.
    """

    def __init__(self, path: Path, processes: Processes = ALONE) -> None:
        self.path, self.processes = path, processes
        self._others: dict[str, nn.Module] = {}
        self._made_by: dict[str, Any] = {}
        path.mkdir(parents=True, exist_ok=True)
        self._saved_s = time.monotonic()

    def keep(self, name: str, module: nn.Module) -> None:
        """Saves and resumes another module with the one that is trained, as `NAME.safetensors`."""
        self._others[name] = module

    def announce(self, made_by: Mapping[str, Any]) -> None:
        """Says whatever decides what comes out of the next session; it is noted when training begins."""
        self.warn_of_changes(made_by.get("model", {}))
        self._made_by = dict(made_by)

    def begin_session(self) -> None:
        """Notes which code, on what, goes on from which step, and what was announced."""
        session = {
            "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "from_step": self.progress().step,
            "code": code_version(),
            "torch": torch.__version__,
            "hardware": describe(),
            "processes": self.processes.count,
            **self._made_by,
        }
        if self.processes.is_main:
            write_json(self.path / "sessions.json", [*self._saved_sessions(), session])

    def warn_of_changes(self, model: Mapping[str, Any]) -> None:
        """Says in which respects the newest session trained another model than this one: shapes of weights don't tell all of them."""
        trained = ([{}, *self._saved_sessions()][-1]).get("model", {})
        changes = [f"{name} {was!r} -> {now!r}" for name, was, now in differences(trained, json.loads(json.dumps(model)))]
        if changes and self.processes.is_main:
            logger.warning("%s was trained as another model, and its weights may not suit this one: %s", self.path, "; ".join(changes))

    def sessions(self) -> list[dict[str, Any]]:
        """What was noted of every session, the first one first."""
        path = self.path / "sessions.json"
        return list(json.loads(path.read_text())) if path.exists() else []

    def _saved_sessions(self) -> list[dict[str, Any]]:
        """Those that left weights: none, where all were stopped before the first were saved."""
        return self.sessions() if self.progress().step else []

    @property
    def started_from(self) -> Path | None:
        """The weights that the user gave the first session; None where it took those of the stage before."""
        first = next(iter(self._saved_sessions()), self._made_by)
        return Path(first["start_from"]) if "start_from" in first else None

    def progress(self) -> Progress:
        """How far earlier sessions came."""
        path = self.path / "progress.json"
        return Progress(**json.loads(path.read_text())) if path.exists() else Progress()

    def validation_curve(self) -> list[tuple[float, float]]:
        """Minutes of training and the loss of episodes kept back, of all sessions; nothing from stages that keep none back."""
        path = self.path / "validation.csv"
        rows = [line.split(",") for line in path.read_text().splitlines()] if path.exists() else []
        return [(float(seconds) / 60, float(loss)) for _, seconds, loss in rows]

    def resume(self, module: nn.Module, average: AveragedWeights) -> Progress:
        """Loads the weights of an earlier session, if there is one."""
        progress = self.progress()
        if progress.step == 0:
            return progress
        weights = self.path / "weights.safetensors"
        take(module, load_file(weights), weights)
        average.resume(load_file(self.path / "average.safetensors"), progress.step)
        for name, other in self._others.items():
            path = self.path / f"{name}.safetensors"
            take(other, load_file(path), path)
        logger.info("resumed %s at step %d after %.0f min", self.path, progress.step, progress.seconds / 60)
        return progress

    def save(self, module: nn.Module, average: AveragedWeights, progress: Progress) -> None:
        """Writes everything beside the old files, then replaces them; progress comes last and makes the weights count."""
        if not self.processes.is_main:
            return
        for name, other in (("weights", module), *self._others.items()):
            self._replace(f"{name}.safetensors", {k: v.detach().float().contiguous() for k, v in other.state_dict().items()})
        self._replace("average.safetensors", {k: v.contiguous() for k, v in average.weights.items()})
        write_json(self.path / "progress.json", asdict(progress))

    @property
    def is_save_due(self) -> bool:
        """Whether a crash would cost more than it should."""
        return time.monotonic() - self._saved_s > SAVE_EVERY_S

    def count_from_now(self) -> None:
        """The time to the next save begins: after what a save brings with it, or a busy machine would do nothing else."""
        self._saved_s = time.monotonic()

    def log(self, progress: Progress, loss: float, name: str = "loss") -> None:
        """Appends step, seconds and loss to `loss.csv`, or to the file of another name."""
        if not self.processes.is_main:
            return
        with (self.path / f"{name}.csv").open("a") as file:
            file.write(f"{progress.step},{progress.seconds:.1f},{loss:.5f}\n")

    def _replace(self, name: str, tensors: dict[str, Tensor]) -> None:
        part = self.path / f"{name}.part"
        save_file(tensors, part)
        part.replace(self.path / name)


def differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted names of what both have and is not the same, with both values."""
    for name in sorted(before.keys() & after.keys()):
        was, now = before[name], after[name]
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            yield from differences(was, now, f"{prefix}{name}.")
        elif was != now:
            yield f"{prefix}{name}", was, now


def write_json(path: Path, value: Any) -> None:
    """Writes the whole file or none."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    part.replace(path)


def optimisers(module: nn.Module, adam_lr: float, muon_lr: float | None, weight_decay: float) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the matrices inside `blocks` and AdamW for the rest (Jordan et al. 2024)."""
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    is_matrix = {name: muon_lr is not None and name.startswith("blocks.") and p.ndim == 2 for name, p in named}
    rest = [p for name, p in named if not is_matrix[name]]
    chosen: list[torch.optim.Optimizer] = [torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.95), weight_decay=weight_decay)]
    if muon_lr is not None:
        matrices = [p for name, p in named if is_matrix[name]]
        chosen.append(Muon(matrices, lr=muon_lr, weight_decay=weight_decay))
    for optimiser in chosen:
        for group in optimiser.param_groups:
            group["peak_lr"] = group["lr"]
    return chosen


def learning_rate_factor(step_in_session: int, spent: float, warmup_steps: int) -> float:
    """Linear warm-up, a plateau, and a linear fall to 0.05 over the last part of the budget, of which the share `spent` is gone."""
    cooldown = min(1.0, (1.0 - spent) / COOLDOWN_SHARE)
    return min(1.0, (step_in_session + 1) / warmup_steps) * max(0.05, cooldown)


def train(
    module: nn.Module,
    folder: RunFolder,
    losses: Losses,
    chosen: Sequence[torch.optim.Optimizer],
    budget: Budget,
    warmup_steps: int,
    ema_decay: float,
    validation_loss: Callable[[], float] | None = None,
) -> Progress:
    """Goes on with the run in `folder`, step after step, until the budget is spent; Ctrl-C saves, and goes on to whoever called.

    `validation_loss` is asked for, of the averaged weights, whenever they are saved.
    """
    average = AveragedWeights(module, ema_decay)
    progress, processes = folder.resume(module, average), folder.processes
    folder.begin_session()
    first_step, earlier_s, began_s = progress.step, progress.seconds, time.monotonic()

    def spent() -> float:
        return processes.agreed(budget.spent(time.monotonic() - began_s, progress.step, first_step))

    with tqdm(total=1.0, desc=folder.path.name, bar_format=BAR, disable=not processes.is_main) as bar:
        try:
            while (share := spent()) < 1.0:
                factor = learning_rate_factor(progress.step - first_step, share, warmup_steps)
                loss = _step(module, losses(progress.step, share), chosen, factor, processes)
                average.update()
                progress.advance(loss, earlier_s + time.monotonic() - began_s)
                folder.log(progress, loss)
                _show(bar, share, progress)
                if folder.is_save_due:
                    _save(folder, module, average, progress, validation_loss)
        except KeyboardInterrupt:
            logger.info("stopped at step %d; saving", progress.step)
            folder.save(module, average, progress)
            raise
    _save(folder, module, average, progress, validation_loss)
    return progress


def _save(folder: RunFolder, module: nn.Module, average: AveragedWeights, progress: Progress, validation_loss: Callable[[], float] | None) -> None:
    folder.save(module, average, progress)
    if validation_loss is not None and folder.processes.is_main:
        with average.in_place():
            folder.log(progress, validation_loss(), "validation")
    folder.count_from_now()


def _show(bar: tqdm, share: float, progress: Progress) -> None:
    bar.n = min(share, 1.0)
    bar.set_postfix_str(f"step {progress.step} loss {progress.loss:.4f}")


def _step(module: nn.Module, loss: Tensor, chosen: Sequence[torch.optim.Optimizer], factor: float, processes: Processes = ALONE) -> float:
    """One update; a step whose loss is not finite is refused, since its gradient would poison the weights."""
    loss.backward()
    processes.average_gradients(module)
    told = processes.mean(loss).item()
    if not math.isfinite(told):
        raise FloatingPointError(f"the loss became {told}: lower the learning rate, or look at the data of this step")
    if nn.utils.clip_grad_norm_(module.parameters(), GRADIENT_NORM, error_if_nonfinite=True) == 0.0:
        raise FloatingPointError("the gradient is zero everywhere: the output is saturated; start again with a lower learning rate")
    for optimiser in chosen:
        for group in optimiser.param_groups:
            group["lr"] = group["peak_lr"] * factor
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return told
