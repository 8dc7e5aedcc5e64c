"""The network's convolutions: rays to tokens, and the refinement of a frame by what stands beside it."""

from __future__ import annotations

from itertools import chain

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from h2w_ros.generator.config import RefinerConfig, TransformerConfig
from h2w_ros.generator.dressed import hand_cover
from h2w_ros.generator.memory import GATES
from h2w_ros.generator.motion import WAYS
from h2w_ros.generator.winograd import Conv3x3


class ResidualBlock(nn.Module):
    """3x3, ReLU, 3x3, and the input added."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (Conv3x3(dim, dim) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """x plus what the convolutions find."""
        return x + self.conv2(F.relu(self.conv1(x)))


def normalised(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Every place's vector with mean 0 and variance 1 (1607.06450): without it, sums of many branches blow up at the first steps."""
    return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2]).permute(0, 3, 1, 2)


class RefinerBlock(ResidualBlock):
    """The same of normalised input."""

    def forward(self, x: Tensor) -> Tensor:
        """x plus what the convolutions find."""
        return x + self.conv2(F.relu(self.conv1(normalised(x))))


class GlobalContext(nn.Module):
    """A few places of the whole frame are looked up, and what stands there is told to every place (GCNet, 1904.11492).

    So the colour of a hand in the reference reaches a hand anywhere.
    """

    def __init__(self, dim: int, num_lookups: int = 4) -> None:
        super().__init__()
        self.score = nn.Conv2d(dim, num_lookups, 1)
        self.tell = nn.Linear(num_lookups * dim, dim)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """x plus what was looked up."""
        seen = normalised(x)
        weights = self.score(seen).flatten(2).softmax(-1)
        looked_up = weights @ seen.flatten(2).transpose(1, 2)  # (n, lookups, c)
        return x + self.tell(F.relu(looked_up.flatten(1)))[:, :, None, None]


class CameraAdapter(nn.Module):
    """Ray maps at picture size to one vector a token."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.downscale = config.downscale_factor_control_adapter
        patch = config.patch_size[1:]
        self.conv = nn.Conv2d(config.in_dim_control_adapter * self.downscale**2, config.dim, patch, patch)
        self.residual_blocks = nn.Sequential(ResidualBlock(config.dim))

    def forward(self, plucker: Float[Tensor, "B c F H W"]) -> Float[Tensor, "B F C h w"]:
        """One map of token vectors a frame."""
        frames = F.pixel_unshuffle(plucker.transpose(1, 2).flatten(0, 1), self.downscale)
        return self.residual_blocks(self.conv(frames)).unflatten(0, (plucker.shape[0], -1))


class Refiner(nn.Module):
    """What convolutions add to the transformer's output, at the latents' resolution and then at the picture's own.

    Patches hide what happens inside them; hands are drawn there. The refiner sees a frame's input channels and those of the clean
    frame before it, so it can copy, move and draw locally; what is further away or longer ago is the transformer's. Neither sees the
    other's answer, so a transformer can learn beside a refiner that stays as it is. On a CPU the refiner learns hands some ten times
    sooner. It begins by adding nothing.
    """

    def __init__(self, network: TransformerConfig, config: RefinerConfig) -> None:
        super().__init__()
        self.memory_channels, self.num_refined = config.memory_channels, network.out_dim
        num_noted = GATES * self.memory_channels
        own_layers = (WAYS if config.traced else 0) + (1 if config.dressed else 0)
        num_rays = network.in_dim_control_adapter * config.fold**2 if config.rays else 0
        self.num_beside = WAYS * self.memory_channels + own_layers * (network.in_dim // 4) + num_rays  # in_dim: four groups of latents
        num_seen, num_out = 2 * network.in_dim + self.num_beside, network.out_dim + num_noted
        self.conv_in = Conv3x3(num_seen, config.width)
        self.blocks = _residual_blocks(config.width, config.depth)
        self.conv_out = Conv3x3(config.width, num_out)
        self.detail = Detail(num_out + num_seen + config.width, num_out, config) if config.detail_width else None
        self.group, self.places, self.raised = network.in_dim // 4, config.fold**2, (config.static_raised, config.dressed_raised)

    def reset_parameters(self) -> None:
        """Weights to start training from: every sum begins as its first term."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        layers_that_end_a_sum = [
            m.conv2 if isinstance(m, ResidualBlock) else m.tell for m in self.modules() if isinstance(m, ResidualBlock | GlobalContext)
        ]
        outputs = [m.conv_out for m in (self, self.detail) if m is not None]
        for layer in [*layers_that_end_a_sum, *outputs]:
            nn.init.zeros_(layer.weight)

    def forward(
        self, inputs: Float[Tensor, "B C F h w"], previous: Float[Tensor, "B C F h w"], beside: Float[Tensor, "B M F h w"] | None = None
    ) -> tuple[Float[Tensor, "B Z F h w"], Float[Tensor, "B g F h w"]]:
        """What is to be added to the output, and the outputs of the memory (g = 0 without one); see `Transformer.refinement`."""
        if beside is None:
            beside = inputs.new_zeros(inputs.shape[0], self.num_beside, *inputs.shape[2:])
        seen = torch.cat([_frames(inputs), _frames(previous), _frames(beside)], dim=1)
        features = F.relu(normalised(self.blocks(self.conv_in(seen))))
        output = self.conv_out(features)
        if any(self.raised):
            output = self._with_drawn_raised(output, _frames(inputs))
        if self.detail is not None:
            output = output + self.detail(torch.cat([output, seen, features], dim=1))
        refined, noted = output.unflatten(0, (inputs.shape[0], -1)).transpose(1, 2).split([self.num_refined, GATES * self.memory_channels], dim=1)
        return refined, noted

    def _with_drawn_raised(self, output: Float[Tensor, "n o h w"], frames: Float[Tensor, "n C h w"]) -> Tensor:
        """The output, which believes more in a static scene where one is known (its channels are zero otherwise, and its layer shows the last
        frame), and in hands in their colours where there are hands (so does theirs elsewhere)."""
        control, static = frames[:, self.group : 2 * self.group], frames[:, 3 * self.group :]
        more = torch.zeros_like(output)
        more[:, self.group :][:, : self.places] = self.raised[0] * static.flatten(1).any(dim=1).view(-1, 1, 1, 1)
        more[:, : self.num_refined][:, -self.places :] += self.raised[1] * hand_cover(control)
        return output + more


class Detail(nn.Module):
    """What is left to correct place by place, where a latent holds `fold` by `fold` of them: edges, and which layer is seen."""

    def __init__(self, num_seen: int, num_out: int, config: RefinerConfig) -> None:
        super().__init__()
        self.fold = config.fold
        places = config.fold**2
        self.conv_in = Conv3x3(num_seen // places, config.detail_width)
        self.blocks = nn.Sequential(*(RefinerBlock(config.detail_width) for _ in range(config.detail_depth)))
        self.conv_out = Conv3x3(config.detail_width, num_out // places)

    def forward(self, seen: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        """The correction of a frame's output."""
        places = F.pixel_shuffle(seen, self.fold).contiguous(memory_format=torch.channels_last)
        return F.pixel_unshuffle(self.conv_out(F.relu(normalised(self.blocks(self.conv_in(places))))), self.fold)


def _frames(clip: Float[Tensor, "B C F h w"]) -> Float[Tensor, "n C h w"]:
    """Every frame by itself."""
    return clip.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def _residual_blocks(width: int, depth: int) -> nn.Sequential:
    """That many blocks, with a look at the whole frame after every second one."""
    pairs = ((RefinerBlock(width), GlobalContext(width)) if i % 2 else (RefinerBlock(width),) for i in range(depth))
    return nn.Sequential(*chain.from_iterable(pairs))
