"""One small network that looks at pictures of the simulated world: where hands are, how far things are, where a thing went, how the camera moved.

It measures generated pictures, whose truth cannot be asked. What it learned from is in `h2w_ros.training.estimator_lessons`.

Shapes: n pictures of H x W; h x w is the size at one of the scales 1/4, 1/8, 1/16; c channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from h2w_ros.things.trunk import STRIDE, Block, Trunk

PICTURE_CHANNELS = 5
"""RGB and the two slopes (x/z, y/z) of the ray through each pixel: without them nobody can say how far or how wide."""
RAY_X = 3
"""The channel of x/z."""


@dataclass(frozen=True)
class EstimatorConfig:
    """The network's sizes; pictures of other sizes are brought to `width_px` x `height_px`."""

    width_px: int = 128
    height_px: int = 96
    widths: tuple[int, ...] = (48, 64, 96)
    """Channels at 1/4, 1/8 and 1/16 of the picture."""
    depths: tuple[int, ...] = (2, 3, 5)
    """Blocks there: what a hand is, is seen best from afar, where blocks cost least."""
    fine_width: int = 24
    """Channels at 1/2 of the picture, where edges of hands are drawn."""
    embedding: int = 32
    clip_pictures: int = 4
    clip_interval_s: float = 0.25
    clip_features: int = 16
    """Few, so that 2,000 windows are enough to know their covariance."""
    clip_answers: int = 57

    def __post_init__(self) -> None:
        for name in ("widths", "depths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if len(getattr(self, name)) != 3:
                raise ValueError(f"{name} must be three (1/4, 1/8, 1/16 of the picture), got {getattr(self, name)}")
        for name in ("width_px", "height_px"):
            if getattr(self, name) % 16:
                raise ValueError(f"{name} must be a multiple of 16 (the coarsest scale), got {getattr(self, name)}")
        if self.clip_pictures < 2:
            raise ValueError(f"clip_pictures must be at least 2 (one picture does not move), got {self.clip_pictures}")


@dataclass(frozen=True, eq=False)
class Seen:
    """What the network made of n pictures: features at 1/4 and 1/8 of their size, and every pixel's surface."""

    quarter: Tensor
    eighth: Tensor
    surfaces: Float[Tensor, "n 2 H W"]
    """Logit of a hand, and natural logarithm of the depth [m]."""


class EstimatorNetwork(Trunk):
    """A U-Net and five small readers of its features."""

    def __init__(self, config: EstimatorConfig | None = None) -> None:
        config = config or EstimatorConfig()
        super().__init__(PICTURE_CHANNELS, config.widths, config.depths)
        self.config = config
        widths = config.widths
        self.surface = nn.Sequential(nn.ReLU(), nn.Conv2d(widths[0], 2 * STRIDE**2, 3, padding=1))
        self.edges = Edges(widths[0], config.fine_width)
        self.finder = Finder(widths[0], config.embedding)
        self.matcher = Matcher(widths[1], config.embedding)
        self.clip = Clip(widths[1], config)

    def forward(self, pictures: Float[Tensor, "n 5 H W"]) -> Seen:
        """What is seen in every picture by itself."""
        quarter, eighth = self.features(pictures)
        coarse = F.pixel_shuffle(self.surface(quarter).float(), STRIDE)
        return Seen(quarter, eighth, coarse + self.edges(pictures, quarter).float())


class Edges(nn.Module):
    """What the features at 1/4 of a picture lack: where exactly surfaces end, read from its pixels."""

    def __init__(self, width: int, fine_width: int) -> None:
        super().__init__()
        self.known = nn.Conv2d(width, 4 * fine_width, 1)
        self.convolutions = nn.Sequential(
            nn.Conv2d(4 * PICTURE_CHANNELS + fine_width, fine_width, 3, padding=1, bias=False),
            nn.BatchNorm2d(fine_width),
            nn.ReLU(),
            nn.Conv2d(fine_width, fine_width, 3, padding=1, bias=False),
            nn.BatchNorm2d(fine_width),
            nn.ReLU(),
            nn.Conv2d(fine_width, 8, 3, padding=1),
        )

    def forward(self, pictures: Float[Tensor, "n 5 H W"], quarter: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 2 H W"]:
        """What to add to the surfaces that the features alone tell."""
        halves = torch.cat([F.pixel_unshuffle(pictures, 2), F.pixel_shuffle(self.known(F.relu(quarter)), 2)], dim=1)
        return F.pixel_shuffle(self.convolutions(halves), 2)


class Finder(nn.Module):
    """Where a thing, shown under a mask in one picture, is in another."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(width, embedding, 1)
        self.compare = nn.Sequential(nn.Conv2d(2 * embedding + 1, embedding, 3, padding=1), *(Block(embedding) for _ in range(3)), nn.ReLU())
        self.score = nn.Conv2d(embedding, 1, 3, padding=1)

    def forward(self, shown: Float[Tensor, "n c h w"], mask: Float[Tensor, "n 1 h w"], searched: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
        """Logit of the thing at every cell of the searched pictures; `mask` holds the share of each cell that shows it."""
        known, found = self.embed(shown), self.embed(searched)
        likeness = (known * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1e-3)
        alike = F.cosine_similarity(likeness, found, dim=1)[:, None]
        return self.score(self.compare(torch.cat([found, found * likeness, alike], dim=1)))[:, 0]


class Matcher(nn.Module):
    """Which cell of one picture shows what a cell of another one shows."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(width, embedding, 1)
        self.sharpness = nn.Parameter(torch.tensor(3.0))

    def forward(self, a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, "n hw hw"]:
        """For every cell of a, how likely each cell of b shows the same."""
        known, found = (F.normalize(self.embed(x).flatten(2), dim=1) for x in (a, b))
        return (known.transpose(1, 2) @ found * self.sharpness.exp()).float().softmax(-1)


class Clip(nn.Module):
    """A few numbers about a window of pictures, and what is learned through them."""

    mean: Tensor
    whitening: Tensor

    def __init__(self, width: int, config: EstimatorConfig) -> None:
        super().__init__()
        self.look = nn.Conv2d(width, 16, 1)
        self.over_time = nn.Sequential(
            nn.Conv2d(16 * config.clip_pictures, 64, 3, stride=2, padding=1),
            Block(64),
            nn.ReLU(),
            nn.Conv2d(64, 24, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        cells = -(-config.height_px // 32) * -(-config.width_px // 32)
        self.features = nn.Linear(24 * cells, config.clip_features)
        self.answers = nn.Sequential(nn.ReLU(), nn.Linear(config.clip_features, 96), nn.ReLU(), nn.Linear(96, config.clip_answers))
        self.register_buffer("mean", torch.zeros(config.clip_features))
        self.register_buffer("whitening", torch.zeros(config.clip_features, config.clip_features).fill_diagonal_(1.0))  # eye would load a compiler

    def forward(self, pictures: Sequence[Float[Tensor, "n c h w"]]) -> Float[Tensor, "n f"]:
        """The features of n windows, given as their first, second, ... pictures."""
        return self.features(self.over_time(torch.cat([self.look(x) for x in pictures], dim=1)))

    def standardised(self, pictures: Sequence[Float[Tensor, "n c h w"]]) -> Float[Tensor, "n f"]:
        """The features, uncorrelated and of unit spread over real windows."""
        return (self(pictures).float() - self.mean) @ self.whitening

    def standardise(self, features: Float[Tensor, "n f"]) -> None:
        """Learns from the features of real windows what `standardised` takes away."""
        self.mean.copy_(features.mean(0))
        values, vectors = torch.linalg.eigh(torch.cov(features.T))
        self.whitening.copy_(vectors / values.clamp(min=1e-4 * float(values.max())).sqrt())


def mean_place(logits: Float[Tensor, "n h w"]) -> Float[Tensor, "n 2"]:
    """Where the logits' softmax is on average, as shares (x, y) of the picture's width and height."""
    n, h, w = logits.shape
    likely = logits.float().flatten(1).softmax(-1).reshape(n, h, w)
    x, y = ((torch.arange(size, device=logits.device) + 0.5) / size for size in (w, h))
    return torch.stack([(likely.sum(1) * x).sum(-1), (likely.sum(2) * y).sum(-1)], dim=-1)
