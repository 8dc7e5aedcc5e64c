"""The stages of a training by name: simulate, codec, encode, refiner, causal, stream, ship. Each resumes where it stopped."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from h2w_ros.generator.bidirectional import noise_levels
from h2w_ros.generator.checkpoint import native_dtype, save_generator
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.convolutions import Refiner
from h2w_ros.generator.folded_codec import FoldedCodec
from h2w_ros.generator.presets import preset
from h2w_ros.generator.transformer import Transformer
from h2w_ros.hands.render import HandRenderer
from h2w_ros.training.ablations import Arm, arm_of
from h2w_ros.training.cache import ClipSource, episode_pixels, latent_files, load_clips, pixel_files, training_pixel_files
from h2w_ros.training.card import write_card
from h2w_ros.training.causal import causal_loss
from h2w_ros.training.clip_rays import ClipRays
from h2w_ros.training.codec import PictureSource, codec_loss
from h2w_ros.training.config import RECIPES, CausalTraining, ConsistencyTraining, MatchingTraining, Recipe, StreamTraining
from h2w_ros.training.consistency import CausalConsistency, follow
from h2w_ros.training.dreams import DreamBank
from h2w_ros.training.encoding import encode_all
from h2w_ros.training.forcing import clip_geometry, draw_batch, draw_layout
from h2w_ros.training.matching import DistributionMatching
from h2w_ros.training.precision import mixed_precision
from h2w_ros.training.processes import ALONE, Processes, SharedRandom
from h2w_ros.training.run import Budget, Losses, RunFolder, optimisers, train
from h2w_ros.training.streaming import StreamingLessons, validation_loss
from h2w_ros.training.teacher import draw_windows, teacher_loss, teacher_of, teacher_validation
from h2w_ros.training.weights import digest, loaded_clips, read_network, read_refiner, refiner_alone, take
from h2w_ros.world.dataset import simulate_many
from h2w_ros.world.simulate import WorldEpisode
from h2w_ros.world.spec import WorldSpec

logger = logging.getLogger(__name__)

BEFORE = {
    "causal": ("refiner",),
    "stream": ("causal", "refiner"),
    "consistency": ("causal", "stream"),
    "matching": ("consistency", "stream", "causal", "refiner"),
    "ship": ("matching", "consistency", "stream", "causal", "refiner"),
}
"""Whose weights a stage takes: those of the first that was run."""
LEFT_OUT = ".left_out"
"""Ends the names of files that stand for episodes which an ablation does not learn from."""
NetworkTraining = CausalTraining | StreamTraining | ConsistencyTraining | MatchingTraining


@dataclass(frozen=True)
class Stages:
    """All stages of one recipe in one folder: `pixels/`, `latents/`, and one for each trained stage."""

    folder: Path
    recipe_name: str = "tiny"
    seed: int = 0
    device: str = "cpu"
    processes: Processes = ALONE
    ablation: str | None = None

    @property
    def arm(self) -> Arm:
        """What the ablation changes: nothing, where there is none."""
        return Arm() if self.ablation is None else arm_of(self.ablation)

    @property
    def recipe(self) -> Recipe:
        """The named training configuration; ValueError for an unknown name."""
        if self.recipe_name not in RECIPES:
            raise ValueError(f"recipe must be one of {sorted(RECIPES)}, got {self.recipe_name!r}")
        return self.arm.recipe(RECIPES[self.recipe_name])

    @property
    def model(self) -> GeneratorConfig:
        """The preset that the recipe trains."""
        model = preset(self.recipe.preset)
        return model if self.ablation is None else self.arm.model(model, self.ablation)

    @property
    def teacher_model(self) -> GeneratorConfig:
        """The preset's teacher."""
        return teacher_of(self.model, self.recipe.teacher)

    def simulate(self, episodes: int, workers: int, minutes: float = math.inf) -> None:
        """Fills `pixels/` with episodes of seeds 0, 1, ... until so many were made or the time is over; those of earlier sessions are kept."""
        until_s = time.monotonic() + 60.0 * minutes
        pixels = self.folder / "pixels"
        pixels.mkdir(parents=True, exist_ok=True)
        model = self.model
        spec = WorldSpec(width_px=model.width_px, height_px=model.height_px, rate_hz=model.rate_hz)
        missing = [seed for seed in range(episodes) if not self._is_made(seed)]
        for seed, episode in tqdm(simulate_many(missing, spec, workers), total=len(missing), desc="simulate", unit="episode"):
            if self.arm.contact_only and not episode.object_masks.any():
                (pixels / f"{seed}{LEFT_OUT}").touch()
            else:
                self._write_pixels(pixels / f"{seed}.npz", episode)
            if time.monotonic() > until_s:
                break

    def _is_made(self, seed: int) -> bool:
        """Whether an earlier session made this episode: its pixels may be gone since they were encoded."""
        candidates = f"pixels/{seed}.npz", f"pixels/{seed}{LEFT_OUT}", f"latents/{seed}.safetensors"
        return any((self.folder / name).exists() for name in candidates)

    def _write_pixels(self, path: Path, episode: WorldEpisode) -> None:
        renderer = HandRenderer(style=self.model.hand_style)
        arrays = episode_pixels(episode.conditions, episode.hand_masks, episode.object_masks, renderer, self.model.codec.spatial_stride)
        if self.arm.cut_hands:
            arrays["hand_seen"] = episode.hand_masks
        part = path.with_suffix(".part.npz")
        np.savez(part, **cast(dict[str, Any], arrays))  # NumPy's stubs take the names for options
        part.rename(path)

    def codec(self, budget: Budget) -> None:
        """Trains the codec on what `pixels/` holds, but for the seeds that are kept back."""
        config = self.recipe.codec
        torch.manual_seed(self.seed)
        codec = FoldedCodec(self.model.codec).to(self.torch_device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # forgotten in stubs
        files, folder = training_pixel_files(self.folder), self._run("codec", config)
        rng, random = self._random(folder, own=True)
        batches = iter(PictureSource(files, config, rng))

        def loss(_step: int, _spent: float) -> Tensor:
            with mixed_precision(self.torch_device):
                return codec_loss(codec, next(batches).to(self.torch_device), config, random)

        chosen = optimisers(codec, config.learning_rate, None, 0.0)
        train(codec, folder, loss, chosen, budget, config.warmup_steps, config.ema_decay)

    def frozen_codec(self) -> FoldedCodec:
        """The codec that the latents are made with; frozen when the first of them is."""
        trained, frozen = self.folder / "codec" / "average.safetensors", self.folder / "latents" / "codec.safetensors"
        if not trained.exists():
            raise FileNotFoundError(f"No codec at {trained}; run `h2w train codec` first")
        codec = FoldedCodec(self.model.codec)
        if frozen.exists():
            take(codec, load_file(frozen), frozen)
            self._check_same_codec(codec, load_file(trained))
        else:
            take(codec, load_file(trained), trained)
            frozen.parent.mkdir(parents=True, exist_ok=True)
            save_file(codec.state_dict(), frozen)
        return codec.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _check_same_codec(self, frozen: nn.Module, trained: dict[str, Tensor]) -> None:
        """Latents of two codecs do not mix."""
        if any(not torch.equal(value, trained[name]) for name, value in frozen.named_parameters()):
            raise ValueError(f"the codec was trained on after {self.folder / 'latents'} was filled; delete that folder and encode again")

    def encode(self, workers: int = 1, pixels_kept: int | None = None) -> None:
        """Fills `latents/` from `pixels/`, of which only the first so many stay."""
        codec = self.frozen_codec().to(native_dtype(self.torch_device))
        files = pixel_files(self.folder)
        for number, file in enumerate(
            tqdm(encode_all(codec, self.model, files, self.folder, workers), total=len(files), desc="encode", unit="episode")
        ):
            if pixels_kept is not None and number >= pixels_kept:
                file.unlink()

    def refiner(self, budget: Budget, start_from: Path | None = None) -> None:
        """Trains the refiner in the stream of a network without layers, which adds nothing, as a new transformer does not either.

        Drawing hands from their render is a local matter: convolutions learn it ten frames to one of the whole network's.
        """
        config = self.recipe.refiner
        source, folder = self._clips(), self._run("refiner", config, start_from)
        torch.manual_seed(self.seed)
        network = Transformer(replace(self.model.transformer, num_layers=0, add_control_adapter=False)).to(self.torch_device).requires_grad_(False)
        refiner = cast(Refiner, network.refiner).requires_grad_(True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if start_from is not None:
            take(refiner, read_refiner(start_from), start_from)
        seed = int(self._random(folder, own=True)[0].integers(2**31))
        lessons = StreamingLessons(network, self.model, source, config.stream, self.recipe.causal, seed)
        chosen = optimisers(refiner, config.stream.adam_learning_rate, None, config.weight_decay)
        validation = self._validation(network, config.stream)
        train(refiner, folder, lambda _, spent: lessons.loss(spent), chosen, budget, config.stream.warmup_steps, config.stream.ema_decay, validation)

    def teacher(self, budget: Budget, start_from: Path | None = None) -> None:
        """Trains the bidirectional teacher on whole clips of `latents/`."""
        config, model, weights = self.recipe.teacher, self.teacher_model, self.recipe.causal
        source, folder = self._clips(), self._run("teacher", config, start_from)
        torch.manual_seed(self.seed)
        teacher = Transformer(model.transformer).to(self.torch_device)
        if start_from is not None:
            take(teacher, read_network(start_from), start_from)
        rng, random = self._random(folder)
        rays, shared = ClipRays(source, model), SharedRandom(random, self.processes)

        def loss(_step: int, _spent: float) -> Tensor:
            batch = draw_windows(source, weights, config.batch_clips, int(rng.choice(config.clip_frames)), rng, self.processes)
            with mixed_precision(self.torch_device):
                return teacher_loss(teacher, model, config, batch, rays, shared)

        chosen = optimisers(teacher, config.adam_learning_rate, config.muon_learning_rate, weights.weight_decay)
        kept_back = self._kept_back()
        validation = None if kept_back is None else partial(teacher_validation, teacher, model, kept_back, config, weights)
        train(teacher, folder, loss, chosen, budget, config.warmup_steps, config.ema_decay, validation)

    def causal(self, budget: Budget, start_from: Path | None = None) -> None:
        """Trains the causal generator on clips of `latents/`, with the refiner of the stage before to begin with."""
        config, model = self.recipe.causal, self.model
        source, folder = self._clips(), self._run("causal", config, start_from)
        transformer = self._begin(start_from, *BEFORE["causal"])
        if start_from is None:
            self._take_body(transformer)
        rng, random = self._random(folder)
        bank, rays, shared = DreamBank(source, model, config.dreams), ClipRays(source, model), SharedRandom(random, self.processes)

        def loss(step: int, _spent: float) -> Tensor:
            if bank.is_due(step):
                bank.dream(transformer, rng)
            dreams = bank.latents if rng.random() < config.dreams.share else None
            stage = config if step >= config.generated_history_from_step else replace(config, generated_history_share=0.0)
            layout = draw_layout(config, model.rollout.window, model.rollout.sink, rng)
            batch = draw_batch(source, layout, config, rng, dreams).part(self.processes.part(config.batch_clips))
            with mixed_precision(self.torch_device):
                return causal_loss(transformer, model, stage, batch, clip_geometry(source, model, rays, batch, layout), layout, shared)

        self._train_transformer(transformer, folder, loss, budget, config)

    def distill(self, budget: Budget, phase: str = "both", start_from: Path | None = None) -> None:
        """One phase, or both: each has half the minutes then, and all the steps."""
        if phase != "both":
            {"consistency": self.consistency, "matching": self.matching}[phase](budget, start_from)
            return
        half = replace(budget, minutes=budget.minutes / 2)
        self.consistency(half, start_from)
        self.matching(half)

    def consistency(self, budget: Budget, start_from: Path | None = None) -> None:
        """Distils the causal network to the rollout's few steps: it answers at once where its own flow, frozen as it was, would end."""
        config, weights, model = self.recipe.consistency, self.recipe.causal, self.model
        source, folder = self._clips(), self._run("consistency", config, start_from)
        student = self._begin(folder.started_from, *BEFORE["consistency"])
        teacher, slow = (copy.deepcopy(student).requires_grad_(False) for _ in range(2))
        rng, random = self._random(folder)
        distilled, rays, shared = CausalConsistency(student, teacher, slow, model), ClipRays(source, model), SharedRandom(random, self.processes)
        levels = torch.tensor(noise_levels(config.num_levels, config.shift), device=self.torch_device)

        def loss(step: int, _spent: float) -> Tensor:
            follow(slow, student, 0.0 if step == first_step else config.slow_decay)
            layout = draw_layout(weights, model.rollout.window, model.rollout.sink, rng)
            batch = draw_batch(source, layout, weights, rng).part(self.processes.part(weights.batch_clips))
            geometry = clip_geometry(source, model, rays, batch, layout)
            with mixed_precision(self.torch_device):
                return distilled.loss(config, weights, batch, geometry, layout, levels, shared)

        first_step = folder.progress().step
        self._train_transformer(student, folder, loss, budget, config)

    def matching(self, budget: Budget, start_from: Path | None = None) -> None:
        """Distils the teacher into the student on the student's own streams (DMD)."""
        config, weights, models = self.recipe.matching, self.recipe.causal, (self.model, self.teacher_model)
        teacher = self._taught()
        source, folder = self._clips(), self._run("matching", config, start_from)
        student = self._begin(start_from, *BEFORE["matching"])
        rng, random = self._random(folder)
        matched = DistributionMatching(student, teacher, models, source, config, weights, rng, SharedRandom(random, self.processes))
        folder.keep("critic", matched.critic)
        self._train_transformer(student, folder, lambda _, spent: matched.loss(spent), budget, config)

    def stream(self, budget: Budget, start_from: Path | None = None) -> None:
        """Trains the causal generator on in its own stream, from the weights of the stage before."""
        config = self.recipe.stream
        source, folder = self._clips(), self._run("stream", config, start_from)
        transformer = self._begin(start_from, *BEFORE["stream"])
        if transformer.refiner is not None:
            transformer.refiner.requires_grad_(config.refiner_too)
        seed = int(self._random(folder, own=True)[0].integers(2**31))
        lessons = StreamingLessons(transformer, self.model, source, config, self.recipe.causal, seed)
        self._train_transformer(transformer, folder, lambda _, spent: lessons.loss(spent), budget, config)

    def _validation(self, transformer: Transformer, config: StreamTraining) -> Callable[[], float] | None:
        """The loss on the episodes that are kept back; None while there are none."""
        kept_back = self._kept_back()
        return None if kept_back is None else partial(validation_loss, transformer, self.model, kept_back, config, self.recipe.causal)

    def _clips(self) -> ClipSource:
        """What is trained on. The stages of one process share it: a large cache takes minutes to load."""
        return self._as_told(loaded_clips(self.folder, self.torch_device, tuple(latent_files(self.folder, validation=False))))

    def _kept_back(self) -> ClipSource | None:
        """The episodes that are never trained on; None while there are none, and in processes that don't validate."""
        if not self.processes.is_main or not latent_files(self.folder, validation=True):
            return None
        return self._as_told(load_clips(self.folder, validation=True).to(self.torch_device))

    def _as_told(self, source: ClipSource) -> ClipSource:
        """What the arm is told of these episodes."""
        return source if self.arm.rays else source.as_if_still()

    def _folder_of(self, stage: str) -> Path:
        return self.folder / stage

    def _run(self, stage: str, config: object, start_from: Path | None = None) -> RunFolder:
        """The folder of a stage, with this session noted in it; a stage that has begun may not be given other weights to start from."""
        folder = RunFolder(self._folder_of(stage), self.processes)
        step = folder.progress().step
        if start_from is not None and step:
            raise ValueError(f"{folder.path} has begun, at step {step}, and goes on from its own weights; --start-from is for a new run")
        model = {"codec": asdict(self.model.codec)} if stage == "codec" else asdict(self.teacher_model if stage == "teacher" else self.model)
        configs = {"config": asdict(cast(Any, config)), "model": model}
        begun = {} if start_from is None else {"start_from": str(start_from), "start_from_sha256": digest(start_from)}
        made_by = {"stage": stage, "recipe": self.recipe_name, "ablation": self.ablation, "seed": self.seed, "device": self.device}
        folder.announce({**made_by, **begun, **configs})
        return folder

    def _begin(self, start_from: Path | None, *stages_before: str) -> Transformer:
        """The network that a stage starts with: from given weights, or else from the averages of the first of these stages that was run."""
        torch.manual_seed(self.seed)
        transformer = Transformer(self.model.transformer).to(self.torch_device)
        averages = (self.folder / stage / "average.safetensors" for stage in stages_before)
        if (chosen := start_from or next((path for path in averages if path.exists()), None)) is not None:
            state = read_network(chosen)
            refiner = refiner_alone(state)
            part = transformer if refiner is None else transformer.refiner
            assert part is not None
            take(part, refiner or state, chosen)
        return transformer

    def _take_body(self, transformer: Transformer) -> None:
        """Gives a transformer the teacher's weights where there is a teacher; but for the head, which answers something else."""
        taught = self.folder / "teacher" / "average.safetensors"
        if taught.exists():
            body = {name: tensor for name, tensor in read_network(taught).items() if not name.startswith("head.")}
            take(transformer, {**transformer.state_dict(), **body}, taught)

    def _train_transformer(self, transformer: Transformer, folder: RunFolder, losses: Losses, budget: Budget, config: NetworkTraining) -> None:
        chosen = optimisers(transformer, config.adam_learning_rate, config.muon_learning_rate, self.recipe.causal.weight_decay)
        train(transformer, folder, losses, chosen, budget, config.warmup_steps, config.ema_decay, self._validation(transformer, self.recipe.stream))

    def ship(self, out: Path) -> None:
        """Writes the averaged weights of the last stage that was run as a model folder that `load_generator` opens."""
        model = self.recipe.shipped(self.model)
        stages = [name for name in BEFORE["ship"] if (self.folder / name / "average.safetensors").exists()]
        if not stages:
            raise FileNotFoundError(f"No weights to ship under {self.folder}; run `h2w train refiner` or `h2w train stream` first")
        transformer = self._begin(None, *stages)
        save_generator(out, model, transformer, self.frozen_codec())
        self._write_card(out)

    def ship_teacher(self, out: Path) -> None:
        """Writes the teacher's averaged weights as a model folder, for evaluation beside its student."""
        save_generator(out, self.teacher_model, self._taught(), self.frozen_codec())
        self._write_card(out)

    def _write_card(self, out: Path) -> None:
        write_card(out, self.folder, {"recipe": self.recipe_name, "ablation": self.ablation, "seed": self.seed})

    def _taught(self) -> Transformer:
        """The teacher that was trained."""
        taught = self.folder / "teacher" / "average.safetensors"
        if not taught.exists():
            raise FileNotFoundError(f"No teacher at {taught}; run `h2w train teacher` first")
        RunFolder(taught.parent).warn_of_changes(asdict(self.teacher_model))
        teacher = Transformer(self.teacher_model.transformer).to(self.torch_device)
        take(teacher, read_network(taught), taught)
        return teacher

    @property
    def torch_device(self) -> torch.device:
        """Where this process trains."""
        return self.processes.device(self.device)

    def _random(self, folder: RunFolder, own: bool = False) -> tuple[np.random.Generator, torch.Generator]:
        """Sources of randomness that follow from the seed and the step at which this session begins; every process its own, or all the same."""
        rng = np.random.default_rng((self.seed, folder.progress().step, self.processes.rank if own else 0))
        return rng, torch.Generator(self.torch_device).manual_seed(int(rng.integers(2**31)))
