"""One process that trains a network, or several that do it together: each takes its part of every batch, and gradients are averaged.

Several are started by `accelerate launch` (or `torchrun`), on one machine or many. Gradients are averaged after the whole backward pass,
since losses here run rollouts and whole sequences through parts of the network, which wrappers around `forward` do not see.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True, eq=False)
class Processes:
    """This process among those that train together; without an accelerator it is alone."""

    accelerator: Accelerator | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        return 1 if self.accelerator is None else self.accelerator.num_processes

    @property
    def rank(self) -> int:
        """Which of them this is, from 0."""
        return 0 if self.accelerator is None else self.accelerator.process_index

    @property
    def is_main(self) -> bool:
        """Whether this one writes files and talks."""
        return self.rank == 0

    def device(self, wanted: str) -> torch.device:
        """Where this process trains, when the user wants that kind of device."""
        return torch.device(wanted) if self.accelerator is None else self.accelerator.device

    def part(self, batch: int) -> slice:
        """This process's part of a batch of so many; a ValueError where they cannot have equal parts."""
        if batch % self.count:
            raise ValueError(f"a batch must be a multiple of the {self.count} processes that share it, got {batch}")
        size = batch // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes, without gradients."""
        if self.accelerator is None:
            return value.detach()
        return cast(Tensor, self.accelerator.reduce(value.detach().clone(), reduction="mean"))

    def agreed(self, value: float) -> float:
        """What the main process says: clocks differ, and all must stop at the same step."""
        if self.accelerator is None:
            return value
        from accelerate.utils import broadcast

        return float(broadcast(torch.tensor(value, dtype=torch.float64, device=self.accelerator.device)))

    def average_gradients(self, module: nn.Module) -> None:
        """Gives every process the mean of all processes' gradients, in one exchange."""
        if self.accelerator is None:
            return
        trained = [p for p in module.parameters() if p.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        averaged = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for parameter, gradient in zip(trained, averaged.split([p.numel() for p in trained]), strict=True):
            parameter.grad = gradient.view_as(parameter)


ALONE = Processes()


def check_device(device: str) -> None:
    """A ValueError for a device that PyTorch does not know, or that this machine lacks."""
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(f"device must be cpu or cuda (cuda:1 for the second GPU), got {device!r}") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device {device!r} needs a GPU that PyTorch {torch.__version__} can use, and there is none: install a CUDA build, or train on cpu"
        )


def launched(device: str) -> Processes:
    """The processes that a launcher started, which it says in the environment; alone where there was no launcher."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise ImportError("several processes train together by accelerate, which is not installed: pip install accelerate") from error
    return Processes(Accelerator(cpu=torch.device(device).type == "cpu"))


@dataclass(frozen=True, eq=False)
class SharedRandom:
    """Random numbers for a whole batch, drawn alike by every process, of which each keeps its part: results don't depend on their count."""

    generator: torch.Generator
    processes: Processes = ALONE

    def normal(self, batch: int, *shape: int) -> Tensor:
        """Standard normal, for this process's `batch` samples."""
        return self._part(torch.randn(batch * self.processes.count, *shape, generator=self.generator, device=self.generator.device))

    def even(self, batch: int, *shape: int) -> Tensor:
        """Even in [0, 1), for this process's `batch` samples."""
        return self._part(torch.rand(batch * self.processes.count, *shape, generator=self.generator, device=self.generator.device))

    def chance(self) -> float:
        """Even in [0, 1), the same for all samples."""
        return float(torch.rand((), generator=self.generator, device=self.generator.device))

    def _part(self, drawn: Tensor) -> Tensor:
        return drawn[self.processes.part(len(drawn))]


def weighted_mean(error: Tensor, weight: Tensor, processes: Processes = ALONE) -> Tensor:
    """Mean of errors by their weights, which broadcast to them; over all processes' parts the mean of these is that of the whole batch."""
    return (weight * error).mean() / processes.mean(weight.mean())
