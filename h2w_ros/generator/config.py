"""What a generator is, in numbers: network, codec, rays, rollout. Frozen, validated, and strict about JSON keys."""

from __future__ import annotations

import dataclasses
import itertools
import json
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

ConfigT = TypeVar("ConfigT")

CodecKind = Literal["folded", "wan"]
AspectRule = Literal["per_axis", "released"]
KeyMode = Literal["rotated", "relative"]
Prediction = Literal["velocity", "x0", "residual", "layers"]

RAY_CHANNELS = 6


@dataclass(frozen=True)
class RefinerConfig:
    """Convolutions that improve the output: `depth` residual blocks of `width` channels at the latents' resolution, and `detail_depth` of
    `detail_width` channels at that of the picture whose `fold` by `fold` places a latent holds; a width of 0 leaves those out. Every
    such place remembers `memory` values from frame to frame. `traced`: it is also told where the reference shows what is there now, and
    may take it from there (see `origins`). `dressed`: it is shown the hands in their colours, and may take them from there.
    `rays`: it sees the camera's rays at its own places, too. `static_raised` and `dressed_raised` are added to the logits of the static scene and of
    those hands: as much more they are believed than streams taught, whose squared error likes means of frames, and means blur.
    """

    width: int
    depth: int
    fold: int = 1
    detail_width: int = 0
    detail_depth: int = 2
    memory: int = 0
    traced: bool = False
    dressed: bool = False
    rays: bool = False
    static_raised: float = 0.0
    dressed_raised: float = 0.0

    def __post_init__(self) -> None:
        _require_positive(self, "width", "depth", "fold", "detail_depth")
        if self.dressed_raised and not self.dressed:
            raise ValueError(f"dressed_raised must be 0 for a refiner that is not shown dressed hands, got {self.dressed_raised}")
        if min(self.detail_width, self.memory) < 0:
            raise ValueError(f"detail_width and memory must not be negative, got {self.detail_width} and {self.memory}")

    @property
    def memory_channels(self) -> int:
        """Values that the places of a latent remember together."""
        return self.memory * self.fold**2

    @property
    def asks_for_layers(self) -> bool:
        """Whether it sees, and keeps, what only a network that lays layers over one another has."""
        return bool(self.memory or self.traced or self.dressed)


@dataclass(frozen=True)
class TransformerConfig:
    """The network's sizes, by the released (Wan) names.

    `in_dim` counts every channel at the patch embedding: noise, hand control, reference and, with a static scene, its
    render. `text_dim` None makes a network without text: no text embedding and no cross-attention. The camera adapter
    takes `in_dim_control_adapter` ray channels at picture size and unshuffles them by `downscale_factor_control_adapter`.
    The released networks have no refiner. One without layers is a refiner only, which is how it is trained first.
    """

    in_dim: int
    dim: int
    ffn_dim: int
    out_dim: int
    num_heads: int
    num_layers: int
    patch_size: tuple[int, int, int] = (1, 2, 2)
    freq_dim: int = 256
    text_len: int = 512
    text_dim: int | None = None
    qk_norm: bool = True
    cross_attn_norm: bool = True
    eps: float = 1e-6
    add_control_adapter: bool = True
    in_dim_control_adapter: int = 24
    downscale_factor_control_adapter: int = 8
    refiner: RefinerConfig | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch_size", tuple(self.patch_size))
        _require_positive(self, "in_dim", "dim", "ffn_dim", "out_dim", "num_heads", "freq_dim", "text_len")
        _require_positive(self, "in_dim_control_adapter", "downscale_factor_control_adapter", "eps")
        if self.num_layers < 0:
            raise ValueError(f"num_layers must not be negative, got {self.num_layers}")
        if len(self.patch_size) != 3 or self.patch_size[0] != 1 or min(self.patch_size) < 1:
            raise ValueError(f"patch_size must be (1, h, w): a latent frame is never split in time, got {self.patch_size}")
        if self.dim % self.num_heads or self.head_dim % 2:
            raise ValueError(f"dim must be num_heads times an even head size, got dim={self.dim}, num_heads={self.num_heads}")
        if self.freq_dim % 2:
            raise ValueError(f"freq_dim must be even (half cosines, half sines), got {self.freq_dim}")
        self._check_fold()

    def _check_fold(self) -> None:
        """What is unfolded has whole channels at every place."""
        if self.refiner is None or not self.refiner.detail_width:
            return
        for name, channels in (("in_dim", self.in_dim), ("out_dim", self.out_dim), ("refiner.width", self.refiner.width)):
            if channels % self.refiner.fold**2:
                raise ValueError(f"{name} must be a multiple of refiner.fold^2 = {self.refiner.fold**2}, got {channels}")

    @property
    def asks_for_rays(self) -> bool:
        """Whether any part of the network is told how the camera moves."""
        return self.add_control_adapter or (self.refiner is not None and self.refiner.rays)

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.dim // self.num_heads


@dataclass(frozen=True)
class CodecConfig:
    """How pictures become latents. `width` and `depth` size our own codecs and mean nothing to Wan's."""

    kind: CodecKind
    latent_channels: int
    spatial_stride: int
    temporal_stride: int
    width: int = 64
    depth: int = 2

    def __post_init__(self) -> None:
        _require_choice(self, "kind", CodecKind)
        _require_positive(self, "latent_channels", "spatial_stride", "temporal_stride", "width", "depth")
        if self.kind != "wan" and self.temporal_stride != 1:
            raise ValueError(f"a {self.kind} codec has temporal_stride 1, got {self.temporal_stride}")


@dataclass(frozen=True)
class RaysConfig:
    """How camera motion is told to the network.

    `anchor_lag` None anchors every frame's rays to frame 0; a number n anchors frame j to frame max(0, j - n).
    `motion_gain` multiplies the angle and the distance of that motion before rays are made of it. `aspect` says how the
    focal lengths follow a resize that changes the aspect: 'per_axis', or 'released' for checkpoints trained with the
    released tool.
    """

    anchor_lag: int | None = None
    motion_gain: float = 1.0
    aspect: AspectRule = "per_axis"

    def __post_init__(self) -> None:
        _require_choice(self, "aspect", AspectRule)
        if self.anchor_lag is not None and self.anchor_lag < 1:
            raise ValueError(f"anchor_lag must be at least 1 frame, or null for frame 0, got {self.anchor_lag}")
        _require_positive(self, "motion_gain")


@dataclass(frozen=True)
class Riflex:
    """RIFLEx (2502.15894): temporal frequency k-1 becomes 0.9 * 2 pi / L_test, divided by L_test_scale."""

    k: int
    L_test: int
    L_test_scale: float = 1.0

    def __post_init__(self) -> None:
        _require_positive(self, "k", "L_test", "L_test_scale")


@dataclass(frozen=True)
class RolloutConfig:
    """How latents are streamed out, block by block.

    `window` counts latents of context including the current block; `sink` latents at the stream's start stay visible
    beside it. `keys`: 'rotated' caches keys after RoPE at absolute positions (the released checkpoints), 'relative'
    caches them before RoPE and places them relative to the window. `timesteps` are nominal, on [0, 1000], before the
    shift s' = shift s / (1 + (shift - 1) s); `first_block` replaces them for the first generated block. `commit` runs
    a clean pass (t = 0) over every finished block. `prediction` says what the network's output is: the flow's velocity, the
    clean latents, or ('residual') what they add to what is known without it: the static scene's latents where it is given (Dexterous World
    Models, 2512.17907), else the last clean latent of the context; or ('layers') new latents and the weights by which they, what
    is known, and the last clean latent where it now belongs (`motion`) make the picture up; `fold` by `fold` places of a latent have
    weights of their own. Such networks start as "nothing changes".
    """

    window: int
    sink: int = 0
    keys: KeyMode = "rotated"
    riflex: Riflex | None = None
    latents_per_block: int = 1
    timesteps: tuple[float, ...] = (1000.0, 750.0, 500.0, 250.0)
    first_block: tuple[float, ...] | None = None
    shift: float = 5.0
    commit: bool = True
    prediction: Prediction = "velocity"
    fold: int = 1

    def __post_init__(self) -> None:
        _require_choice(self, "keys", KeyMode)
        _require_choice(self, "prediction", Prediction)
        _require_positive(self, "window", "latents_per_block", "shift", "fold")
        if self.sink < 0:
            raise ValueError(f"sink must not be negative, got {self.sink}")
        if self.window < self.latents_per_block:
            raise ValueError(f"window must hold the current block of {self.latents_per_block} latents, got {self.window}")
        object.__setattr__(self, "timesteps", _nominal_timesteps("timesteps", self.timesteps))
        if self.first_block is not None:
            object.__setattr__(self, "first_block", _nominal_timesteps("first_block", self.first_block))

    @property
    def capacity(self) -> int:
        """Latents that are visible at most, the current block included."""
        return self.sink + self.window


@dataclass(frozen=True)
class LoraConfig:
    """A LoRA file beside the weights, merged with this weight when the generator is loaded."""

    file: str
    weight: float = 0.5


@dataclass(frozen=True)
class GeneratorConfig:
    """A whole generator: what it is made of and what it was trained for.

    `height_px` and `width_px` are the pictures' size, `rate_hz` its clock. `hand_style` names the renderer's mode that
    the checkpoint was trained with; with `forearms`, it is shown probable forearms behind the hands. `static_scene` adds
    the static scene's render as a fourth group of channels; with `things`, that shows what hands have moved where it should be by now,
    wherever the height of the table is known (`things.table_scene`); with `dressed_scene`, hands in their colours are laid over it, and over the
    reference where no static scene is known. `clip_frames` is that of a teacher, which answers clips of at most so many frames at once
    (`bidirectional`); None streams. `domain` says in words where its training pictures come from.
    """

    name: str
    transformer: TransformerConfig
    codec: CodecConfig
    rays: RaysConfig
    rollout: RolloutConfig
    height_px: int
    width_px: int
    hand_style: str
    static_scene: bool
    domain: str
    rate_hz: float = 16.0
    loras: tuple[LoraConfig, ...] = field(default=())
    forearms: bool = False
    things: bool = False
    clip_frames: int | None = None
    dressed_scene: bool = False

    def __post_init__(self) -> None:
        _require_positive(self, "height_px", "width_px", "rate_hz")
        object.__setattr__(self, "loras", tuple(self.loras))
        transformer, codec = self.transformer, self.codec
        for name, size, patch in zip(("height_px", "width_px"), (self.height_px, self.width_px), transformer.patch_size[1:], strict=True):
            multiple = codec.spatial_stride * patch
            if size % multiple:
                raise ValueError(f"{name} must be a multiple of {multiple} (codec stride {codec.spatial_stride} x patch {patch}), got {size}")
        groups = 4 if self.static_scene else 3
        _require_equal("transformer.in_dim", transformer.in_dim, f"{groups} groups of codec.latent_channels", groups * codec.latent_channels)
        self._check_output()
        if transformer.add_control_adapter:
            rays = "in_dim_control_adapter", transformer.in_dim_control_adapter
            _require_equal(*rays, "6 ray channels x codec.temporal_stride", RAY_CHANNELS * codec.temporal_stride)
            down = "downscale_factor_control_adapter", transformer.downscale_factor_control_adapter
            _require_equal(*down, "codec.spatial_stride", codec.spatial_stride)
        if self.dressed_scene and (self.codec.kind != "folded" or not self.static_scene or self._has_dressed_layer or self.clip_frames is None):
            got = f"{self.clip_frames}, {self.static_scene}, {self.codec.kind!r} and {'one' if self._has_dressed_layer else 'none'}"
            raise ValueError(f"dressed_scene needs clip_frames, static_scene, codec.kind 'folded' and no refiner that is dressed, got {got}")
        if self.clip_frames is not None and self.clip_frames < 2:
            raise ValueError(f"clip_frames must be at least 2, the given frame and one to answer, got {self.clip_frames}")
        if self.things and not self.static_scene:
            raise ValueError("things needs static_scene: moved things are shown in the static scene, and this network has none")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of pictures."""
        return self.height_px, self.width_px

    @property
    def small_size(self) -> tuple[int, int]:
        """Height and width of the picture whose places a latent frame holds, `rollout.fold` by `fold` in each."""
        height, width = self.latent_size
        return height * self.rollout.fold, width * self.rollout.fold

    def _check_output(self) -> None:
        """The network's output is a latent, and for every layer the logits of its places."""
        out_dim, num_channels, rollout = self.transformer.out_dim, self.codec.latent_channels, self.rollout
        refiner, num_layers = self.transformer.refiner, 3
        if refiner is not None and (refiner.asks_for_layers or refiner.static_raised):
            if rollout.prediction != "layers":
                raise ValueError(f"refiner.memory, traced, dressed and static_raised need prediction 'layers', got {rollout.prediction!r}")
            _require_equal("transformer.refiner.fold", refiner.fold, "rollout.fold", rollout.fold)
            num_layers += 2 * refiner.traced + refiner.dressed
            if refiner.dressed and self.codec.kind != "folded":
                raise ValueError(f"refiner.dressed needs codec.kind 'folded', whose latents can be laid over one another, got {self.codec.kind!r}")
        if rollout.prediction != "layers":
            _require_equal("transformer.out_dim", out_dim, "codec.latent_channels", num_channels)
            return
        expected = num_channels + num_layers * rollout.fold**2
        _require_equal("transformer.out_dim", out_dim, f"codec.latent_channels + {num_layers} layers x fold^2", expected)
        if (rollout.latents_per_block, self.codec.temporal_stride, num_channels % rollout.fold**2, self.static_scene) != (1, 1, 0, True):
            raise ValueError(
                "prediction 'layers' needs blocks of one latent, a codec without temporal stride, fold^2 that divides its channels and a static scene"
            )

    @property
    def dressed(self) -> bool:
        """Whether the network is shown the hands in their colours."""
        return self.dressed_scene or self._has_dressed_layer

    @property
    def _has_dressed_layer(self) -> bool:
        return self.transformer.refiner is not None and self.transformer.refiner.dressed

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width of a latent frame."""
        return self.height_px // self.codec.spatial_stride, self.width_px // self.codec.spatial_stride


def to_json(config: Any) -> str:
    """A config as indented JSON, every field written."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(cls: type[ConfigT], text: str, source: str = "config") -> ConfigT:
    """The config of class `cls` that this JSON holds; unknown or missing keys are errors that name `source`."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is not JSON: {error}") from error
    return from_dict(cls, data, source)


def from_dict(cls: type[ConfigT], data: Any, source: str = "config") -> ConfigT:
    """The config of class `cls` from plain values, strict about keys, nested configs included."""
    if not isinstance(data, dict):
        raise ValueError(f"{source} must be a JSON object, got {type(data).__name__}")
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, cls))}
    unknown = sorted(set(data) - set(fields))
    missing = sorted(name for name, f in fields.items() if name not in data and _has_no_default(f))
    if unknown or missing:
        raise ValueError(f"{source} does not fit {cls.__name__}: unknown keys {unknown}, missing keys {missing}")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _convert(hints[name], value, f"{source}.{name}") for name, value in data.items()})


def _convert(hint: Any, value: Any, source: str) -> Any:
    """A JSON value as the field's type: objects become configs, lists become tuples; a wrong type is an error."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _convert(next(a for a in arguments if a is not types.NoneType), value, source)
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(Any, hint), value, source)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{source} must be a list, got {value!r}")
        return tuple(_convert(arguments[0], item, f"{source}[{i}]") for i, item in enumerate(value))
    accepted = {float: (int, float), int: (int,), bool: (bool,), str: (str,)}.get(hint, (str,))
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{source} must be {getattr(hint, '__name__', 'a string')}, got {value!r}")
    return float(value) if hint is float else value


def _has_no_default(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _nominal_timesteps(name: str, timesteps: Sequence[float]) -> tuple[float, ...]:
    values = tuple(float(t) for t in timesteps)
    falling = all(a > b for a, b in itertools.pairwise(values))
    if not values or not falling or not 0 < values[-1] <= values[0] <= 1000:
        raise ValueError(f"{name} must fall strictly within (0, 1000], got {values}")
    return values


def _require_positive(config: Any, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(config, name)}")


def _require_choice(config: Any, name: str, choices: Any) -> None:
    if getattr(config, name) not in typing.get_args(choices):
        raise ValueError(f"{name} must be one of {typing.get_args(choices)}, got {getattr(config, name)!r}")


def _require_equal(name: str, value: int, rule: str, expected: int) -> None:
    if value != expected:
        raise ValueError(f"{name} must equal {rule} = {expected}, got {value}")
