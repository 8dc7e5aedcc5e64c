"""What `tiny` is made of, settled by short runs: every choice from nothing, on the same episodes, in the same minutes of a core.

They are measured in streams of episodes that are kept back, which see one picture and from then on their own past.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from h2w_ros.evaluation.plots import plot_choices
from h2w_ros.generator.config import GeneratorConfig, Prediction, RefinerConfig
from h2w_ros.generator.folded_codec import LATENT_SCALE
from h2w_ros.generator.presets import TINY
from h2w_ros.generator.rollout import Rollout
from h2w_ros.generator.transformer import Transformer
from h2w_ros.training.augment import plain_looks
from h2w_ros.training.cache import VALIDATION_EVERY, ClipSource, latent_files, load_clips
from h2w_ros.training.config import RECIPES, Recipe, StreamTraining
from h2w_ros.training.run import Budget, RunFolder, write_json
from h2w_ros.training.stages import Stages
from h2w_ros.training.streamed import StreamedEpisodes
from h2w_ros.training.whole import LEAST_MINUTES

FOLDER, FILE, PLOT = "choices", "choices.json", "choices.png"
NUM_BLOCKS = 24
PICTURES = ("image", "static", "hand", "photo", "dressed")
SMALL_PX = 2
"""A folded latent holds the picture at half its size."""
PLAIN: dict[str, Any] = {"memory": 0, "traced": False, "dressed": False, "rays": False}


def tiny_with(prediction: Prediction = "layers", stride_px: int = 8, patch: int = 2, has_refiner: bool = True, **refiner: Any) -> GeneratorConfig:
    """`tiny`, or another in these respects; `refiner` names fields of its `RefinerConfig`."""
    fold = stride_px // SMALL_PX
    own = replace(cast(RefinerConfig, TINY.transformer.refiner), fold=fold, **(refiner if prediction == "layers" else PLAIN))
    channels, layers = 3 * fold**2, 0
    if prediction == "layers":
        layers = 3 + (2 * own.traced + own.dressed if has_refiner else 0)
    transformer = replace(
        TINY.transformer,
        in_dim=4 * channels,
        out_dim=channels + layers * fold**2,
        patch_size=(1, patch, patch),
        downscale_factor_control_adapter=stride_px,
        refiner=own if has_refiner else None,
    )
    codec = replace(TINY.codec, latent_channels=channels, spatial_stride=stride_px)
    return replace(TINY, transformer=transformer, codec=codec, rollout=replace(TINY.rollout, prediction=prediction, fold=fold))


def _refining(**changes: Any) -> Recipe:
    """`tiny`'s recipe with another past for its refiner."""
    recipe = RECIPES["tiny"]
    return replace(recipe, refiner=replace(recipe.refiner, stream=replace(recipe.refiner.stream, **changes)))


def _causal(**changes: Any) -> Recipe:
    """`tiny`'s recipe with other lessons for its transformer."""
    recipe = RECIPES["tiny"]
    return replace(recipe, causal=replace(recipe.causal, **changes))


FIVE_FRAMES = _refining(frames_together=5)
"""The past of all choices but those that ask for another."""


@dataclass(frozen=True)
class Choice:
    """An answer to one of `QUESTIONS`: a network, and how it is trained."""

    text: str
    model: GeneratorConfig = field(default_factory=tiny_with)
    recipe: Recipe = FIVE_FRAMES
    stage: Literal["refiner", "causal"] = "refiner"


ALONE: dict[str, Any] = {"has_refiner": False}
QUESTIONS: dict[str, dict[str, Choice]] = {
    "What does the network answer?": {
        "velocity": Choice("the flow's velocity", tiny_with("velocity")),
        "x0": Choice("the latents themselves", tiny_with("x0")),
        "residual": Choice("what is to be added to the static scene", tiny_with("residual")),
        "layers": Choice("weights of the static scene, the last frame as it rests or is carried, and what is new", tiny_with(**PLAIN)),
    },
    "What else is it told?": {
        "all": Choice("memory, where the reference shows what is here now, hands in their colours, rays"),
        "no_memory": Choice("all but the memory", tiny_with(memory=0)),
        "no_origins": Choice("all but where the reference shows it", tiny_with(traced=False)),
        "no_colours": Choice("all but hands in their colours", tiny_with(dressed=False)),
        "no_ray_maps": Choice("all but rays", tiny_with(rays=False)),
    },
    "Which past does it learn from?": {
        "own_past": Choice("its own, gradients through five frames (the `all` above, once more with another seed)"),
        "one_frame": Choice("its own, gradients through one frame", recipe=_refining()),
        "true_past": Choice("the truth (teacher forcing)", recipe=_refining(frames_together=5, first_seen_share=(1.0, 1.0), seen_share=(1.0, 1.0))),
    },
    "How much does a latent hold?": {
        "fine_latents": Choice("4 x 4 pixels, 1,024 places", tiny_with(stride_px=4)),
        "coarse_latents": Choice("16 x 16 pixels, 64 places", tiny_with(stride_px=16)),
    },
    "How does a transformer alone learn?": {
        "muon": Choice("Muon, 64 tokens a frame, clips of 3 and 6 frames", tiny_with(**ALONE), stage="causal"),
        "adamw": Choice("AdamW for everything", tiny_with(**ALONE), _causal(muon_learning_rate=None), "causal"),
        "few_tokens": Choice("16 tokens a frame", tiny_with(patch=4, **ALONE), stage="causal"),
        "many_tokens": Choice("256 tokens a frame", tiny_with(patch=1, **ALONE), stage="causal"),
        "long_clips": Choice("clips of 8 frames", tiny_with(**ALONE), _causal(clip_frames=(8,)), "causal"),
    },
}
CHOICES = {name: choice for answers in QUESTIONS.values() for name, choice in answers.items()}


@dataclass(frozen=True)
class ShortRun(Stages):
    """The stages of one choice, on the latents of the folder."""

    choice: str = "all"

    @property
    def model(self) -> GeneratorConfig:
        """The choice's network."""
        return CHOICES[self.choice].model

    @property
    def recipe(self) -> Recipe:
        """The choice's lessons."""
        return CHOICES[self.choice].recipe

    def _folder_of(self, _stage: str) -> Path:
        return self.folder / FOLDER / self.choice

    def _begin(self, start_from: Path | None, *_stages_before: str) -> Transformer:
        return super()._begin(start_from)  # whatever else was trained in the folder

    def _take_body(self, transformer: Transformer) -> None:
        pass

    def _as_told(self, source: ClipSource) -> ClipSource:
        return refolded(source if self.model.dressed else replace(source, dressed=None), self.model.codec.latent_channels)

    def _validation(self, transformer: Transformer, _config: StreamTraining) -> Callable[[], float] | None:
        kept_back = load_clips(self.folder, validation=True).to(self.torch_device)
        shares = kept_back.hand_share.float(), kept_back.object_share.float()
        return partial(stream_psnr_db, transformer, self.model, self._as_told(kept_back), shares)


def try_choices(folder: Path, names: Sequence[str], budget: Budget, seed: int = 0, device: str = "cpu") -> dict[str, Any]:
    """Trains these choices, each for the budget's minutes in all, in `folder/choices`; what all so far have shown, also written and drawn there."""
    unknown = sorted(set(names) - set(CHOICES))
    if unknown:
        raise ValueError(f"a choice must be one of {', '.join(CHOICES)}, got {unknown[0]!r}")
    if not latent_files(folder, validation=True):
        rule = f"choices are measured on episodes that are kept back, one in {VALIDATION_EVERY}, and there are none under {folder / 'latents'}"
        raise FileNotFoundError(f"{rule}; simulate and encode {VALIDATION_EVERY} episodes or more first (`h2w train simulate`, `codec`, `encode`)")
    for name in names or CHOICES:
        left_min = budget.minutes - RunFolder(folder / FOLDER / name).progress().seconds / 60
        if left_min > LEAST_MINUTES:  # one that was stopped gets what it lacks, and no more than the others
            run = ShortRun(folder, seed=seed + (name == "own_past"), device=device, choice=name)
            getattr(run, CHOICES[name].stage)(replace(budget, minutes=left_min))
    shown: dict[str, Any] = {}
    for question, answers in QUESTIONS.items():
        shown[question] = {name: _shown(folder / FOLDER / name, choice.text) for name, choice in answers.items() if _is_run(folder, name)}
    write_json(folder / FOLDER / FILE, shown)
    plot_choices(shown, folder / FOLDER / PLOT)
    return shown


def _is_run(folder: Path, name: str) -> bool:
    return (folder / FOLDER / name / "validation.csv").exists()


def _shown(run: Path, text: str) -> dict[str, Any]:
    """Steps, minutes, and the curve of PSNR [dB] over minutes."""
    progress = RunFolder(run).progress()
    rows = [line.split(",") for line in (run / "validation.csv").read_text().splitlines()]
    curve = [[round(float(seconds) / 60, 2), float(psnr)] for _, seconds, psnr in rows]
    return {"text": text, "steps": progress.step, "minutes": round(progress.seconds / 60, 1), "psnr_db": curve[-1][1], "curve": curve}


@torch.no_grad()
def stream_psnr_db(
    transformer: Transformer, model: GeneratorConfig, source: ClipSource, shares: tuple[Tensor, Tensor], num_blocks: int = NUM_BLOCKS
) -> float:
    """Mean over hands, things that move, and background of the PSNR of streams that see the first picture alone, at the folded picture's size.

    `shares` (N, T, h, w) of hands and moving things are the same for latents of all sizes; regions that no stream shows do not count.
    """
    count, fold = len(source.image), _fold(source.image.shape[2])
    shown = StreamedEpisodes(source, model, np.arange(count), plain_looks(count, source.image.device), source.photo, transformer.config.asks_for_rays)
    rollout = Rollout(transformer, model.rollout, seeds=range(count))
    rollout.start(shown.picture(0), shown.conditions(0))
    errors, areas = source.image.new_zeros(2, 3, dtype=torch.float32)
    for index in range(1, min(num_blocks, source.image.shape[1] - 1) + 1):
        predicted = rollout.generate(shown.conditions(index)).clamp(-LATENT_SCALE, LATENT_SCALE)
        rollout.commit()
        wrong = F.pixel_shuffle((predicted - shown.picture(index)).squeeze(2), fold).square().mean(1) / (2 * LATENT_SCALE) ** 2
        regions = _regions(*(F.interpolate(share[:, index, None], wrong.shape[1:])[:, 0] for share in shares))
        errors += torch.stack([(wrong * region).sum() for region in regions])
        areas += torch.stack([region.sum() for region in regions])
    return float((-10 * (errors / areas)[areas > 0].log10()).mean())


def _regions(hand: Tensor, thing: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shares of every place that are hand, thing and background."""
    thing = thing * (1 - hand)
    return hand, thing, 1 - hand - thing


def refolded(source: ClipSource, channels: int) -> ClipSource:
    """The same episodes with folded latents of so many channels: the same small pictures."""
    size = source.image.shape[2]
    if size == channels:
        return source
    pictures = {name: _refolded(latents, size, channels) for name in PICTURES if (latents := getattr(source, name)) is not None}
    shares = {name: _resized(getattr(source, name), size, channels) for name in ("hand_share", "object_share")}
    return replace(source, **cast(dict[str, Any], pictures | shares))


def _refolded(latents: Tensor, size: int, channels: int) -> Tensor:
    pictures = F.pixel_shuffle(latents.flatten(0, 1), _fold(size))
    return F.pixel_unshuffle(pictures, _fold(channels)).unflatten(0, latents.shape[:2])


def _fold(channels: int) -> int:
    return math.isqrt(channels // 3)


def _resized(share: Tensor, size: int, channels: int) -> Tensor:
    scale = (size / channels) ** 0.5
    return F.interpolate(share.float(), scale_factor=scale, mode="area" if scale < 1 else "nearest").to(share.dtype)
