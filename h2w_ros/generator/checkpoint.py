"""A generator on disk: config.json, transformer weights, codec weights. Loaded whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from h2w_ros.generator.config import GeneratorConfig, TransformerConfig, to_json
from h2w_ros.generator.lora import check_window, merge_lora
from h2w_ros.generator.model_folder import CONFIG_FILE, find_model, read_config
from h2w_ros.generator.tensors import State, fill, read_state, weight_files, write_pieces
from h2w_ros.generator.transformer import Transformer

if TYPE_CHECKING:
    from h2w_ros.generator.folded_codec import FoldedCodec
    from h2w_ros.generator.stream import GeneratorStream
    from h2w_ros.generator.wan_codec import WanCodec

TRANSFORMER_STEMS = ("transformer", "diffusion_pytorch_model")
REFINER_STEM, REFINER_PREFIX = "refiner", "refiner."
CODEC_STEM = "codec"
WAN_CODEC_FOLDER = "vae"
TEXT_FILE = "text.safetensors"
UNUSED_PREFIXES = ("ref_conv.",)  # Wan2.2-Fun's reference convolution, which Hand2World's networks leave out
SMALL_TENSOR = 4096  # values; below it precision costs nothing in size


@dataclass(frozen=True, eq=False)
class Generator:
    """A generator ready to run: its config, its network and its codec, in evaluation mode.

    `text` (1, T, text_dim) is the encoded prompt of a network that knows text: computed once, so that no text encoder runs
    beside the generator.
    """

    config: GeneratorConfig
    transformer: Transformer
    codec: FoldedCodec | WanCodec
    text: Tensor | None = None

    def stream(self, seed: int) -> GeneratorStream:
        """A new stream of predicted pictures."""
        from h2w_ros.generator.stream import GeneratorStream

        return GeneratorStream(self, seed)


def load_generator(path_or_name: str | Path, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> Generator:
    """The generator of a model folder, or of a shipped model's name.

    `dtype` None takes bfloat16 where the device multiplies it natively, else float32. Whatever is missing, truncated, not
    finite or does not fit is an error that names file, tensor, expected and got; nothing is built before all of it fits.
    """
    folder = find_model(path_or_name)
    config = read_config(folder)
    dtype = dtype or native_dtype(device)
    transformer = load_transformer(config.transformer, transformer_files(folder), _lora_files(folder, config))
    codec = _load_codec(config, folder, dtype, device)
    text = None if config.transformer.text_dim is None else _load_text(config, folder).to(device, dtype)
    return Generator(config, transformer.to(device, dtype).eval().requires_grad_(False).pack(), codec, text)


def save_generator(folder: Path, config: GeneratorConfig, transformer: Transformer, codec: FoldedCodec, dtype: torch.dtype = torch.bfloat16) -> None:
    """Writes a model folder that `load_generator` opens; large tensors in `dtype`, small ones in float32, in pieces of 15 MiB.

    LoRAs are taken as merged, so the config is written without them; config.json comes last and makes the folder whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = _stored(transformer, dtype)
    refiner = {name: tensor for name, tensor in state.items() if name.startswith(REFINER_PREFIX)}
    write_pieces(folder, TRANSFORMER_STEMS[0], {name: tensor for name, tensor in state.items() if name not in refiner})
    if refiner:
        write_pieces(folder, REFINER_STEM, refiner)
    write_pieces(folder, CODEC_STEM, _stored(codec, dtype))
    part = folder / f"{CONFIG_FILE}.part"
    part.write_text(to_json(replace(config, loras=())))
    part.replace(folder / CONFIG_FILE)


def transformer_files(folder: Path) -> list[Path]:
    """Where a model folder keeps its network: its transformer, and its refiner where that has files of its own."""
    files = weight_files(folder, TRANSFORMER_STEMS)
    has_refiner = any(folder.glob(f"{REFINER_STEM}.safetensors")) or any(folder.glob(f"{REFINER_STEM}-*-of-*.safetensors"))
    return files + weight_files(folder, (REFINER_STEM,)) if has_refiner else files


def load_transformer(config: TransformerConfig, files: Sequence[Path], loras: Sequence[tuple[Path, float]] = ()) -> Transformer:
    """The network of these weight files with these (file, weight) LoRAs merged in order, as stored in precision."""
    state = read_state(files)
    for path, weight in loras:
        state = merge_lora(state, path, weight)
    return build_transformer(config, state, str(files[0]))


def build_transformer(config: TransformerConfig, state: State, source: str) -> Transformer:
    """The network with these weights; `source` names them in errors."""
    used = {name: tensor for name, tensor in state.items() if not name.startswith(UNUSED_PREFIXES)}
    name = "patch_embedding.weight"
    if name in used:
        used[name] = without_mask_channels(used[name], config.in_dim)
    with torch.device("meta"):
        transformer = Transformer(config)
    fill(transformer, used, source)
    return transformer


def without_mask_channels(weight: Tensor, in_dim: int) -> Tensor:
    """A Wan2.2-Fun-5B-Control patch embedding (148 channels) for a network of 144: its mask channels 96:100 are dropped."""
    if weight.shape[1] == 148 and in_dim == 144:
        return torch.cat([weight[:, :96], weight[:, 100:]], dim=1)
    return weight


def find_device(wish: str) -> str:
    """What PyTorch calls the device, a GPU for `auto` where there is one; ValueError when this machine has none of this name."""
    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if wish == "auto":
        return "cuda" if cuda else "cpu"
    known = ["cpu", *(["cuda"] if cuda else []), *cuda]
    if wish not in known:
        raise ValueError(f"device must be auto or one of {known} on this machine, got {wish!r}")
    return wish


def native_dtype(device: torch.device | str) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, else float32."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def _lora_files(folder: Path, config: GeneratorConfig) -> list[tuple[Path, float]]:
    for lora in config.loras:
        check_window(folder / lora.file, config.rollout.window)
    return [(folder / lora.file, lora.weight) for lora in config.loras]


def _load_text(config: GeneratorConfig, folder: Path) -> Tensor:
    """The encoded prompt beside the weights, as (1, T, text_dim)."""
    path = folder / TEXT_FILE
    context = read_state([path]).get("context")
    width = config.transformer.text_dim
    if context is None or context.ndim != 2 or context.shape[1] != width:
        got = "no such tensor" if context is None else tuple(context.shape)
        raise ValueError(f"{path}: tensor context must be the encoded prompt of shape (tokens, {width}), got {got}")
    return context[None]


def _load_codec(config: GeneratorConfig, folder: Path, dtype: torch.dtype, device: torch.device | str) -> FoldedCodec | WanCodec:
    if config.codec.kind == "wan":
        from h2w_ros.generator.wan_codec import WanCodec

        return WanCodec.load(folder / WAN_CODEC_FOLDER, device)
    from h2w_ros.generator.folded_codec import FoldedCodec

    files = weight_files(folder, (CODEC_STEM,))
    with torch.device("meta"):
        codec = FoldedCodec(config.codec)
    fill(codec, read_state(files), str(files[0]))
    return codec.to(device, dtype).eval().requires_grad_(False).pack()


def _stored(module: nn.Module, dtype: torch.dtype) -> State:
    """A module's tensors in the precision they are kept in on disk."""
    return {name: tensor.to(torch.float32 if tensor.numel() < SMALL_TENSOR else dtype) for name, tensor in module.state_dict().items()}
