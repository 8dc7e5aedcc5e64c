"""LPIPS, FVD and DINO similarity, by networks that the user has: their weights are not ours to ship.

Each is a TorchScript file, as such networks are commonly handed on. What it is called with:

- `lpips`: two batches of pictures (n, 3, H, W) in [-1, 1]; it returns a distance each.
- `fvd`: clips (n, 3, T, 224, 224) in [-1, 1]; it returns features (n, f), as StyleGAN-V's `i3d_torchscript.pt` does (that file's own options
  `rescale=False, resize=False, return_features=True` are given where it takes them).
- `dino`: pictures (n, 3, 224, 224), normalised as ImageNet's are; it returns features (n, f).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from h2w_ros.condition import Image
from h2w_ros.evaluation.frechet import can_be_measured, frechet_distance
from h2w_ros.generator.pixels import to_tensor

CLIP_PICTURES = 16
SIDE_PX = 224
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Network = Callable[..., Tensor]


@dataclass(frozen=True, eq=False)
class UserNetworks:
    """Those that were given."""

    lpips: Network | None = None
    fvd: Network | None = None
    dino: Network | None = None


def load_user_networks(lpips: Path | None, fvd: Path | None, dino: Path | None) -> UserNetworks:
    """Opens the files that are not None; ValueError for one that is no TorchScript."""
    return UserNetworks(*(None if path is None else _load(path) for path in (lpips, fvd, dino)))


@dataclass
class UserErrors:
    """One contender's errors by the networks that there are."""

    distances: list[float] = field(default_factory=list)
    similarities: list[float] = field(default_factory=list)
    clips: list[Float[ndarray, "n f"]] = field(default_factory=list)
    true_clips: list[Float[ndarray, "n f"]] = field(default_factory=list)

    @torch.inference_mode()
    def add(self, networks: UserNetworks, predicted: Sequence[Image], truth: Sequence[Image]) -> None:
        """Counts one episode; its first frame was given and does not count."""
        if networks.lpips is None and networks.fvd is None and networks.dino is None:
            return
        a, b = (to_tensor(np.stack(pictures[1:])) for pictures in (predicted, truth))
        if networks.lpips is not None:
            self.distances += networks.lpips(a, b).flatten().tolist()
        if networks.dino is not None:
            self.similarities += F.cosine_similarity(networks.dino(_as_imagenet(a)), networks.dino(_as_imagenet(b))).tolist()
        if networks.fvd is not None and len(a) >= CLIP_PICTURES:
            for features, pictures in ((self.clips, a), (self.true_clips, b)):
                features.append(networks.fvd(_clips(pictures)).double().numpy())

    def metrics(self) -> dict[str, float | None]:
        """The numbers by name, of those networks that were given."""
        values: dict[str, float | None] = {}
        if self.distances:
            values["lpips"] = float(np.mean(self.distances))
        if self.similarities:
            values["dino"] = float(np.mean(self.similarities))
        if self.clips:
            values["fvd"] = frechet_distance(np.concatenate(self.clips), np.concatenate(self.true_clips)) if can_be_measured(self.clips) else None
        return values


def _load(path: Path) -> Network:
    if not path.is_file():
        raise FileNotFoundError(f"No network at {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch would rather export; the networks there are were made before
            module = torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise ValueError(f"{path} must be a TorchScript file (torch.jit.save), got something else: {str(error).splitlines()[0]}") from error
    options = {argument.name for argument in module.forward.schema.arguments}
    given = {name: value for name, value in (("rescale", False), ("resize", False), ("return_features", True)) if name in options}
    return lambda *inputs: module(*inputs, **given)


def _square(pictures: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n 3 s s"]:
    return F.interpolate(pictures, (SIDE_PX, SIDE_PX), mode="bilinear", antialias=True)


def _as_imagenet(pictures: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n 3 s s"]:
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (_square(pictures) * 0.5 + 0.5 - mean) / std


def _clips(pictures: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "m 3 t s s"]:
    """Every second window of CLIP_PICTURES pictures."""
    windows = _square(pictures).unfold(0, CLIP_PICTURES, 2)  # (m, 3, s, s, t)
    return windows.permute(0, 1, 4, 2, 3)
