"""One stage of training under a time budget: optimisers, learning rates, averaged weights, saving and resuming.

Weights alone suffice to go on: a resumed run rebuilds its optimisers and warms up again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

logger = logging.getLogger(__name__)

COOLDOWN_SHARE = 0.25  # last part of the budget, over which learning rates fall to a twentieth
GRADIENT_NORM = 1.0
SAVE_EVERY_S = 120.0


@dataclass
class Progress:
    """How far a run has come, over all its sessions."""

    step: int = 0
    seconds: float = 0.0
    loss: float = float("nan")


class AveragedWeights:
    """An exponential moving average of a module's parameters, in float32; starts as a plain mean so that it warms up."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay, self._updates = module, decay, 0
        self.weights = {name: value.detach().clone().float() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes the module's present weights into the mean."""
        self._updates += 1
        decay = min(self._decay, self._updates / (self._updates + 10))
        for name, value in self._module.state_dict().items():
            self.weights[name].lerp_(value.float(), 1.0 - decay)


class RunFolder:
    """The files of one run: `weights.safetensors` to go on from, `average.safetensors` to ship, `progress.json`, `loss.csv`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def progress(self) -> Progress:
        """How far earlier sessions came."""
        path = self.path / "progress.json"
        return Progress(**json.loads(path.read_text())) if path.exists() else Progress()

    def resume(self, module: nn.Module, average: AveragedWeights) -> Progress:
        """Loads the weights of an earlier session, if there is one."""
        progress = self.progress()
        if progress.step == 0:
            return progress
        module.load_state_dict(load_file(self.path / "weights.safetensors"))
        average.weights = load_file(self.path / "average.safetensors")
        logger.info("resumed %s at step %d after %.0f min", self.path, progress.step, progress.seconds / 60)
        return progress

    def save(self, module: nn.Module, average: AveragedWeights, progress: Progress) -> None:
        """Writes everything beside the old files, then replaces them."""
        self._replace("weights.safetensors", {k: v.detach().float().contiguous() for k, v in module.state_dict().items()})
        self._replace("average.safetensors", {k: v.contiguous() for k, v in average.weights.items()})
        (self.path / "progress.json").write_text(json.dumps(progress.__dict__))

    def log(self, progress: Progress, loss: float) -> None:
        """Appends step, seconds and loss to `loss.csv`."""
        with (self.path / "loss.csv").open("a") as file:
            file.write(f"{progress.step},{progress.seconds:.1f},{loss:.5f}\n")

    def _replace(self, name: str, tensors: dict[str, Tensor]) -> None:
        part = self.path / f"{name}.part"
        save_file(tensors, part)
        part.rename(self.path / name)


def optimisers(module: nn.Module, adam_lr: float, muon_lr: float | None, weight_decay: float) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the matrices inside `blocks` and AdamW for the rest (Jordan et al. 2024)."""
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    is_matrix = {name: muon_lr is not None and name.startswith("blocks.") and p.ndim == 2 for name, p in named}
    rest = [p for name, p in named if not is_matrix[name]]
    chosen: list[torch.optim.Optimizer] = [torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.95), weight_decay=weight_decay)]
    if muon_lr is not None:
        matrices = [p for name, p in named if is_matrix[name]]
        chosen.append(torch.optim.Muon(matrices, lr=muon_lr, weight_decay=weight_decay, momentum=0.95))
    for optimiser in chosen:
        for group in optimiser.param_groups:
            group["peak_lr"] = group["lr"]
    return chosen


def learning_rate_factor(step_in_session: int, elapsed_share: float, warmup_steps: int) -> float:
    """Linear warm-up, a plateau, and a linear fall to 0.05 over the last part of the budget."""
    cooldown = min(1.0, (1.0 - elapsed_share) / COOLDOWN_SHARE)
    return min(1.0, (step_in_session + 1) / warmup_steps) * max(0.05, cooldown)


def train(
    module: nn.Module,
    folder: RunFolder,
    losses: Callable[[int], Tensor],
    chosen: Iterable[torch.optim.Optimizer],
    *,
    minutes: float,
    warmup_steps: int,
    ema_decay: float,
    max_steps: int | None = None,
) -> Progress:
    """Runs `losses(step)` until the budget or `max_steps` (counted over all sessions) is spent; Ctrl-C saves and returns."""
    average = AveragedWeights(module, ema_decay)
    progress = folder.resume(module, average)
    chosen = list(chosen)
    began = last_save = time.monotonic()
    started_at, first_step = progress.seconds, progress.step
    bar = tqdm(total=round(minutes * 60), unit="s", desc=folder.path.name, bar_format="{l_bar}{bar}| {n:.0f}/{total} s {postfix}")
    try:
        while (elapsed := time.monotonic() - began) < minutes * 60 and (max_steps is None or progress.step < max_steps):
            factor = learning_rate_factor(progress.step - first_step, elapsed / (minutes * 60), warmup_steps)
            loss = _step(module, losses(progress.step), chosen, factor)
            average.update()
            progress.step, progress.seconds = progress.step + 1, started_at + elapsed
            progress.loss = loss if progress.loss != progress.loss else 0.98 * progress.loss + 0.02 * loss
            folder.log(progress, loss)
            bar.n = elapsed
            bar.set_postfix_str(f"step {progress.step} loss {progress.loss:.4f}")
            if time.monotonic() - last_save > SAVE_EVERY_S:
                folder.save(module, average, progress)
                last_save = time.monotonic()
    except KeyboardInterrupt:
        logger.info("stopped at step %d; saving", progress.step)
    bar.close()
    folder.save(module, average, progress)
    return progress


def _step(module: nn.Module, loss: Tensor, chosen: list[torch.optim.Optimizer], factor: float) -> float:
    """One update; a step whose loss is not finite is refused, since its gradient would poison the weights."""
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the loss became {float(loss)}: lower the learning rate, or look at the data of this step")
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), GRADIENT_NORM)
    for optimiser in chosen:
        for group in optimiser.param_groups:
            group["lr"] = group["peak_lr"] * factor
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return float(loss)
