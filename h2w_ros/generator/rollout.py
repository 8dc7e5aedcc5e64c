"""Streaming generation: one state, the same code for live streams, offline clips and rollouts in training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from h2w_ros.generator.cache import KeyValueCache
from h2w_ros.generator.config import RolloutConfig
from h2w_ros.generator.dressed import dressed_layer
from h2w_ros.generator.motion import moved
from h2w_ros.generator.recall import Recall, Recalled, recalled, seen_beside
from h2w_ros.generator.schedule import Step, block_steps, clean_from_output, draw_noise, layered, renoised
from h2w_ros.generator.side_thread import SideThread
from h2w_ros.generator.transformer import Modulation, TextKeys, Transformer

CLEAN = Step(0.0, 0.0)


@dataclass(frozen=True, eq=False)
class BlockConditions:
    """What steers n latents of B streams: encoded hand pictures, packed rays, the encoded static scene if it is known, how things moved, and
    for a network that asks, the encoded hands in their colours."""

    control: Float[Tensor, "B Z n h w"]
    plucker: Float[Tensor, "B c n H W"] | None = None
    static: Float[Tensor, "B Z n h w"] | None = None
    places: Float[Tensor, "B n N y x 2"] | None = None  # see `motion.places_since`
    dressed: Float[Tensor, "B Z n h w"] | None = None  # see `hands.dress`

    @property
    def num_latents(self) -> int:
        """n."""
        return self.control.shape[2]

    def repeated(self, times: int) -> BlockConditions:
        """Every stream so many times over, one after the other."""
        others = self.plucker, self.static, self.places, self.dressed
        return BlockConditions(self.control.repeat_interleave(times, 0), *(None if x is None else x.repeat_interleave(times, 0) for x in others))

    def part(self, start: int, stop: int) -> BlockConditions:
        """The conditions of latents start .. stop-1."""
        plucker, static, dressed = (None if x is None else x[:, :, start:stop] for x in (self.plucker, self.static, self.dressed))
        places = None if self.places is None else self.places[:, start:stop]
        return BlockConditions(self.control[:, :, start:stop], plucker, static, places, dressed)


@dataclass(frozen=True, eq=False)
class _Block:
    """A block in work: the channels beside the noise, the rays' tokens, what was generated, and what is kept in mind after it."""

    channels: Tensor
    ray_tokens: Tensor | None
    may_take_back: bool
    latents: Tensor | None = None
    recall: Recall | None = None


class Rollout:
    """The state of B streams that advance together, one seed each.

    `start` takes in the reference; then, block after block, `generate` predicts and `commit` writes the result (or
    what was really seen instead) into the context. `generate` alone leaves the stream where it is.
    """

    def __init__(self, transformer: Transformer, config: RolloutConfig, seeds: Sequence[int] = (0,), text: Tensor | None = None) -> None:
        """`text` (B, T, text_dim) is the encoded prompt, where the network knows text."""
        if (text is None) != (transformer.config.text_dim is None):
            raise ValueError(f"text must be given exactly where the network has text_dim; it has {transformer.config.text_dim}")
        self.transformer, self.config, self.seeds = transformer, config, tuple(seeds)
        self.dtype, self.device = transformer.patch_embedding.weight.dtype, transformer.patch_embedding.weight.device
        self.num_blocks = 0
        self._modulations: dict[float, Modulation] = {}
        self._beside = SideThread()
        self._text = self._embed_text(text)
        self._cache: KeyValueCache | None = None
        self._open: _Block | None = None
        self._closed: _Block | None = None
        self._reference: Tensor | None = None
        self._reference_control: Tensor | None = None
        self._previous: Tensor | None = None  # input channels of the newest clean latent, the reference in its place
        self._recall: Recall | None = None
        self.drawn: tuple[Tensor, tuple[Tensor, ...]] | None = None  # the newest step's output, and the layers below it

    @property
    def cache(self) -> KeyValueCache:
        """The context; a ValueError before `start`."""
        if self._cache is None:
            raise ValueError("the rollout has no reference yet: call start first")
        return self._cache

    @torch.no_grad()
    def start(self, reference: Float[Tensor, "B Z 1 h w"], conditions: BlockConditions) -> None:
        """Begins the streams anew: the clean reference fills the context as block 0."""
        if conditions.num_latents != 1 or reference.shape[0] != len(self.seeds):
            got = conditions.num_latents, reference.shape[0]
            raise ValueError(f"the reference is one latent for each of {len(self.seeds)} seeds, got {got[0]} for {got[1]} streams")
        reference = reference.to(self.device, self.dtype)
        grid = self.transformer.grid(reference)
        if self._cache is None or self._cache.grid != grid:
            self._cache = KeyValueCache(self.transformer.config, self.config, len(self.seeds), grid, self.dtype, self.device)
        self._cache.reset()
        self.num_blocks = 0
        self._open, self._reference = self._prepare(conditions, reference), reference
        self._reference_control = conditions.control.to(self.device, self.dtype)
        self._recall = Recall.at_start(self.transformer.config.refiner, reference.float())
        self.commit(reference)

    @torch.no_grad()
    def branch(self, seeds: Sequence[int]) -> Rollout:
        """Streams that go on from here, one for each of these seeds, in one batch; this one stays as it is.

        What is behind them is copied, not computed again. Only a single stream with nothing left to commit can branch.
        """
        if len(self.seeds) != 1 or self._open is not None or not seeds:
            got = f"{len(self.seeds)} streams, {'an open' if self._open else 'no open'} block and {len(seeds)} seeds"
            raise ValueError(f"a rollout of one stream branches between commit and generate, into at least one; got {got}")
        twin = copy.copy(self)
        twin.seeds, twin._cache, twin._closed = tuple(seeds), self.cache.branch(len(seeds)), None
        twin._modulations, twin._beside = dict(self._modulations), SideThread()
        for name in ("_reference", "_reference_control", "_previous"):
            setattr(twin, name, _shared(getattr(self, name), len(seeds)))
        twin._recall = None if self._recall is None else self._recall.for_streams(len(seeds))
        twin._text = None if self._text is None else tuple((_shared(k, len(seeds)), _shared(v, len(seeds))) for k, v in self._text)
        return twin

    def generate(
        self, conditions: BlockConditions, noises: Sequence[Tensor] | None = None, may_take_back: bool = False
    ) -> Float[Tensor, "B Z n h w"]:
        """Predicts the next block, float32. May be called again, with other conditions, before `commit`; or `take_back`, if it is said here.

        `noises` are the start and renoise draws, in order, to use instead of those that follow from the seeds. Where
        gradients are on, they flow through the block's last step alone (Self-Forcing, 2506.08009) and on into the memory of the
        blocks before, until `detach`; the context gets none.
        """
        block = self._opened_again(conditions, may_take_back)
        schedule = block_steps(self.config, self.num_blocks)
        draws = self._draw(conditions, len(schedule)) if noises is None else noises
        if len(draws) < len(schedule):
            raise ValueError(f"block {self.num_blocks} takes {len(schedule)} draws of noise, got {len(draws)}")
        x = draws[0].to(self.device, torch.float32)
        for i, step in enumerate(schedule):
            is_last = i + 1 == len(schedule)
            with torch.set_grad_enabled(torch.is_grad_enabled() and is_last):
                clean, recall = self._denoise(x, step, block, conditions)
            if not is_last:
                x = renoised(clean, schedule[i + 1].sigma, draws[i + 1].to(self.device, torch.float32))
        self._open = replace(block, latents=clean.detach(), recall=recall)
        return clean

    def _opened_again(self, conditions: BlockConditions, may_take_back: bool) -> _Block:
        """The next block, whatever became of the last attempt at it. Where it writes over what the one before it saw, that one is final."""
        may_take_back = may_take_back and (self._open is None or self._open.may_take_back)
        self._open = None
        if not (may_take_back or self.transformer.is_silent):
            self._closed = None
        return self._prepare(conditions, torch.zeros_like(conditions.control), may_take_back)

    def _denoise(self, x: Tensor, step: Step, block: _Block, conditions: BlockConditions) -> tuple[Tensor, Recall | None]:
        """The clean latents that one step makes of noisy ones, float32, and what is kept in mind after it."""
        inputs, modulation = self._inputs(x, block), self._modulation(step)
        assert self._reference_control is not None  # the cache exists
        # Neither part needs the other: on a CPU they are computed side by side.
        transform = partial(self.transformer.forward_block, inputs, modulation, self.cache, block.ray_tokens, self._text)
        with self._beside.doing(transform, is_worth_it=self._has_two_parts) as transformed:
            previous, layers = self._past(conditions)
            kept = self._recalled(conditions, layers)
            layers = layers if kept is None else kept.layers
            beside = seen_beside(self.transformer.config, kept, conditions.plucker, self.device)
            added, noted = self.transformer.refinement(inputs, previous, self._reference_control, beside)
            output = transformed().float() + added.float()
        self.drawn = output, layers
        clean = clean_from_output(self.config.prediction, output, x, step.sigma, layers)
        return clean, None if kept is None else kept.after(layered(output, layers)[1], noted.float())

    @property
    def _has_two_parts(self) -> bool:
        return self.transformer.refiner is not None and not self.transformer.is_silent and self.device.type == "cpu"

    @torch.no_grad()
    def commit(self, latents: Float[Tensor, "B Z n h w"] | None = None) -> None:
        """Writes the open block into the context and advances: the generated latents, or these in their place.

        With `config.commit` off, generated latents keep the keys of their last step; given latents are always written.
        """
        if self._open is None or (clean := self._open.latents if latents is None else latents) is None:
            raise ValueError("there is no block to commit: call generate first")
        if latents is not None or self.config.commit:
            self._write_clean(self._open, clean)
        self._remember(self._open, clean)
        self._recall = self._open.recall or self._recall
        self.cache.close_block()
        self.num_blocks += 1
        self._open, self._closed = None, self._open

    @torch.no_grad()
    def replace(self, latents: Float[Tensor, "B Z n h w"]) -> None:
        """Rewrites the block that was committed last, with what was really seen then."""
        if self._closed is None or self._open is not None:
            raise ValueError("only the block that was committed last can be replaced, before the next one is generated")
        self._write_clean(self._closed, latents)
        self._remember(self._closed, latents)

    def take_back(self) -> None:
        """Forgets what was generated and not committed, as if it had never been; a ValueError where `generate` was not told."""
        if self._open is not None and not self._open.may_take_back:
            raise ValueError("what was generated can't be taken back: tell generate that it may be, whenever the block is generated")
        self.cache.give_up_block()
        self._open = None

    def detach(self) -> None:
        """Ends the gradients' way into blocks before."""
        self._recall = None if self._recall is None else self._recall.detached()

    @property
    def hears_rays(self) -> bool:
        """Whether rays make a difference to this network."""
        refiner = self.transformer.config.refiner
        return self._embeds_rays or (refiner is not None and refiner.rays)

    @property
    def _embeds_rays(self) -> bool:
        return self.transformer.config.add_control_adapter and not self.transformer.is_silent

    @property
    def previous(self) -> Tensor:
        """What the next block's refinement sees of the newest clean latent, (B, C_in, 1, h, w); a ValueError before `start`."""
        if self._previous is None:
            raise ValueError("the rollout has no reference yet: call start first")
        return self._previous

    def _remember(self, block: _Block, clean: Tensor) -> None:
        assert self._reference is not None
        self._previous = previous_channels(clean[:, :, -1:].to(self.device, torch.float32), block.channels[:, :, -1:], self._reference)

    def _past(self, conditions: BlockConditions) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the refiner sees of the newest clean latent, and the layers that the output adds to or covers; float32."""
        previous, static = self.previous, conditions.static
        static = None if static is None else static.to(self.device, torch.float32)
        if self.config.prediction != "layers":
            return previous, (previous[:, : conditions.control.shape[1]] if static is None else static,)
        return moved_past(previous, static, conditions.places, self.config.fold)

    def _recalled(self, conditions: BlockConditions, layers: tuple[Tensor, ...]) -> Recalled | None:
        if self._recall is None or self._reference is None:
            return None
        coloured = None if conditions.dressed is None else conditions.dressed.to(self.device)
        dressed = dressed_layer(self.transformer.config.refiner, coloured, conditions.control.to(self.device), layers[1])
        return recalled(self._recall, conditions.places, self._reference, layers, conditions.static is not None, dressed)

    def _prepare(self, conditions: BlockConditions, reference: Tensor, may_take_back: bool = False) -> _Block:
        """Opens the next block in the cache and computes what all its steps share."""
        expected = 1 if self.num_blocks == 0 else self.config.latents_per_block
        if conditions.num_latents != expected:
            raise ValueError(f"block {self.num_blocks} has {expected} latents, got conditions for {conditions.num_latents}")
        self.cache.open_block(conditions.num_latents, may_take_back and not self.transformer.is_silent)
        channels = condition_channels(conditions, reference, self.transformer.config.in_dim).to(self.device, self.dtype)
        plucker = conditions.plucker if self._embeds_rays else None
        rays = None if plucker is None else self.transformer.embed_rays(plucker.to(self.device, self.dtype))
        return _Block(channels, rays, may_take_back)

    def _write_clean(self, block: _Block, latents: Tensor) -> None:
        inputs, modulation = self._inputs(latents, block), self._modulation(CLEAN)
        self.transformer.write_block(inputs, modulation, self.cache, block.ray_tokens, self._text)

    def _inputs(self, latents: Tensor, block: _Block) -> Tensor:
        return torch.cat([latents.to(self.device, self.dtype), block.channels], dim=1)

    def _draw(self, conditions: BlockConditions, count: int) -> list[Tensor]:
        shape = tuple(conditions.control.shape[1:])
        return [draw_noise(self.seeds, self.num_blocks, draw, shape) for draw in range(count)]

    def _modulation(self, step: Step) -> Modulation:
        """What this step's timestep decides: computed once a stream, or anew while weights are in training."""
        if step.t not in self._modulations or self.transformer.training:
            self._modulations[step.t] = self.transformer.modulation(torch.tensor(step.t, device=self.device))
        return self._modulations[step.t]

    @torch.no_grad()
    def _embed_text(self, text: Tensor | None) -> TextKeys | None:
        return None if text is None else self.transformer.text_keys(text.to(self.device, self.dtype))


def _shared(x: Tensor, num_streams: int) -> Tensor:
    """One stream's tensor, seen by that many."""
    return x.expand(num_streams, *x.shape[1:])


def condition_channels(conditions: BlockConditions, reference: Float[Tensor, "B Z n h w"], in_dim: int) -> Float[Tensor, "B R n h w"]:
    """Everything beside the noise, in the order of the patch embedding: control, reference, static scene.

    The reference is the scene's latent in the stream's first latent, and zeros after it. A network of `in_dim` channels
    that could take a static scene gets zeros where none is known.
    """
    groups = [conditions.control, reference.to(conditions.control)]
    if conditions.static is not None:
        groups.append(conditions.static)
    elif in_dim == 4 * conditions.control.shape[1]:
        groups.append(torch.zeros_like(conditions.control))
    return torch.cat(groups, dim=1)


def previous_channels(
    latents: Float[Tensor, "B Z n h w"], channels: Float[Tensor, "B R n h w"], reference: Float[Tensor, "B Z 1 h w"]
) -> Float[Tensor, "B C n h w"]:
    """Clean latents and their condition channels, the stream's reference standing where only its first latent has it."""
    num_channels = latents.shape[1]
    filled = channels.to(latents.dtype, copy=True)
    filled[:, num_channels : 2 * num_channels] = reference.to(latents.dtype)
    return torch.cat([latents, filled], dim=1)


def moved_past(
    previous: Float[Tensor, "B C n h w"], static: Float[Tensor, "B Z n h w"] | None, places: Tensor | None, fold: int
) -> tuple[Float[Tensor, "B C n h w"], tuple[Tensor, ...]]:
    """The previous frame's channels where things now are, and the layers: the static scene, what rests, and what is carried.

    What is carried takes the place of the previous latent, what rests that of the previous static scene, and of an unknown one.
    """
    num_channels = previous.shape[1] // 4
    latents = previous[:, :num_channels]
    resting, carried = (latents, latents) if places is None else moved(latents, places.to(latents.device), fold)
    seen = torch.cat([carried, previous[:, num_channels:-num_channels], resting], dim=1)
    return seen, (resting if static is None else static, resting, carried)


def roll_out(
    rollout: Rollout,
    reference: Float[Tensor, "B Z 1 h w"],
    conditions: BlockConditions,
    noises: Sequence[Sequence[Tensor]] | None = None,
) -> Float[Tensor, "B Z F h w"]:
    """A whole clip whose conditions are all known: the reference, then block after block. `noises[k]` are block k's draws."""
    rollout.start(reference, conditions.part(0, 1))
    clip = [reference.float()]
    for first in range(1, conditions.num_latents, rollout.config.latents_per_block):
        block = conditions.part(first, first + rollout.config.latents_per_block)
        clip.append(rollout.generate(block, None if noises is None else noises[rollout.num_blocks]))
        rollout.commit()
    return torch.cat(clip, dim=2)
