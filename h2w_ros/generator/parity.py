"""Our network against the released one's numbers: a golden folder, tensor by tensor.

The folder holds meta.json, transformer.safetensors, LoRAs, inputs.safetensors and outputs.safetensors; nothing about its sizes
is assumed. Weights and LoRAs go through the code that loads every other checkpoint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from h2w_ros.camera import pack_plucker
from h2w_ros.condition import Camera
from h2w_ros.generator.checkpoint import build_transformer
from h2w_ros.generator.config import RAY_CHANNELS, RaysConfig, Riflex, RolloutConfig, TransformerConfig, from_dict
from h2w_ros.generator.lora import merge_lora
from h2w_ros.generator.rays import RayTrack
from h2w_ros.generator.rollout import BlockConditions, Rollout, roll_out
from h2w_ros.generator.schedule import RELEASED_TIMESTEPS, steps, with_released_steps
from h2w_ros.generator.tensors import State, read_file, read_state
from h2w_ros.generator.transformer import Transformer
from h2w_ros.geometry import transform

LARGEST_ERROR = 1e-3
SCALAR_T = 700.0  # timestep of `bidirectional_scalar_t` and `bidirectional_teacher`
RELEASED_SHIFT = 5.0
UNUSED_CONFIG = {"add_ref_conv": False, "in_dim_ref_conv": None}
TEACHER_LORA, STUDENT_LORA = "lora_bidirectional.safetensors", "lora_student.safetensors"


@dataclass(frozen=True)
class TensorError:
    """max |ours - theirs| / max |theirs| of one tensor."""

    name: str
    error: float

    @property
    def passed(self) -> bool:
        """False for NaN too."""
        return self.error <= LARGEST_ERROR


def compare(folder: Path) -> Iterator[TensorError]:
    """The error of every tensor that the folder has an answer for, the rays among its inputs first.

    A tensor that nothing here computes is a ValueError, and so is a folder without answers.
    """
    golden = GoldenFolder(folder)
    rays: State = {name: golden.inputs[name] for name in ("plucker", "plucker_latent") if name in golden.inputs}
    if not golden.outputs:
        raise ValueError(f"{folder / 'outputs.safetensors'} holds no tensors to compare with")
    for name, theirs in (rays | golden.outputs).items():
        yield TensorError(name, relative_error(golden.compute(name), theirs, f"{folder}: {name}"))


def relative_error(ours: Tensor, theirs: Tensor, source: str) -> float:
    """max |ours - theirs| / max |theirs|, in float64."""
    if ours.shape != theirs.shape:
        raise ValueError(f"{source}: theirs has shape {tuple(theirs.shape)}, ours {tuple(ours.shape)}")
    difference, scale = (ours.double() - theirs.double()).abs().max(), theirs.double().abs().max()
    return float(difference / scale) if scale > 0 else float(difference)


class GoldenFolder:
    """A golden folder, and our answer to each of its tensors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta = _read_meta(folder / "meta.json")
        self.inputs = read_file(folder / "inputs.safetensors")[0]
        self.outputs = read_file(folder / "outputs.safetensors")[0]
        config = {name: value for name, value in self._of_meta("config").items() if name not in UNUSED_CONFIG}
        self.config = from_dict(TransformerConfig, config, f"{folder / 'meta.json'}: config")

    @torch.no_grad()
    def compute(self, name: str) -> Tensor:
        """Our value of this tensor."""
        for pattern, compute in self._answers.items():
            match = re.fullmatch(pattern, name)
            if match:
                return compute(*match.groups())
        raise ValueError(f"{self.folder}: nothing here computes a tensor named {name}")

    @property
    def _answers(self) -> dict[str, Callable[..., Tensor]]:
        return {
            "plucker": lambda: torch.from_numpy(self._plucker),
            "plucker_latent": lambda: torch.from_numpy(pack_plucker(self._plucker, self._temporal_stride))[None],
            "adapter_base": self._adapter,
            "bidirectional_scalar_t": lambda: self._bidirectional(self._base, self._scalar_t),
            "bidirectional_per_token_t": lambda: self._bidirectional(self._base, self._input("t_per_token")),
            "bidirectional_teacher": lambda: self._bidirectional(self._teacher, self._scalar_t),
            r"schedule_t_(\d+)": lambda count: torch.tensor([step.t for step in _released_steps(int(count))]),
            r"schedule_sigma_(\d+)": lambda count: torch.tensor([step.sigma for step in _released_steps(int(count))]),
            r"ar_latents_(\d+)step": lambda count: self._roll_out(int(count)),
        }

    @cached_property
    def _base_state(self) -> State:
        return read_state([self.folder / "transformer.safetensors"])

    @cached_property
    def _teacher_state(self) -> State:
        return merge_lora(self._base_state, self.folder / TEACHER_LORA, self._lora_weight)

    @cached_property
    def _base(self) -> Transformer:
        return build_transformer(self.config, self._base_state, str(self.folder / "transformer.safetensors"))

    @cached_property
    def _teacher(self) -> Transformer:
        return build_transformer(self.config, self._teacher_state, str(self.folder / TEACHER_LORA))

    @cached_property
    def _student(self) -> Transformer:
        state = merge_lora(self._teacher_state, self.folder / STUDENT_LORA, self._lora_weight)
        return build_transformer(self.config, state, str(self.folder / STUDENT_LORA))

    @cached_property
    def _plucker(self) -> np.ndarray:
        """Rays of every camera frame, (F, H, W, 6), by the released aspect rule."""
        recorded = self._of_meta("camera")
        size = recorded["image_width"], recorded["image_height"]
        track = RayTrack(RaysConfig(aspect="released"), self._of_meta("width"), self._of_meta("height"))
        num_frames = 1 + self._temporal_stride * (self._input("plucker_latent").shape[2] - 1)
        poses = [(frame["intrinsics"], _pose(frame)) for frame in recorded["frames"][:num_frames]]
        return np.stack([track.push(Camera(*size, k["fx"], k["fy"], k["cx"], k["cy"]), T).plucker for k, T in poses])

    @property
    def _temporal_stride(self) -> int:
        return self.config.in_dim_control_adapter // RAY_CHANNELS

    @property
    def _lora_weight(self) -> float:
        return float(self._of_meta("lora_multiplier"))

    @property
    def _scalar_t(self) -> Tensor:
        return torch.full((self._batch, 1), SCALAR_T)

    @property
    def _batch(self) -> int:
        return self._input("noisy").shape[0]

    @property
    def _context(self) -> Tensor | None:
        """The encoded text, the same for every clip of the batch."""
        return None if self.config.text_dim is None else self._input("context").expand(self._batch, -1, -1)

    def _adapter(self) -> Tensor:
        plucker, rows = self._input("plucker_latent"), self.config.patch_size[1]
        tokens = self._base.embed_rays(plucker).unflatten(1, (plucker.shape[2], self._input("noisy").shape[3] // rows, -1))
        return tokens.permute(0, 4, 1, 2, 3)

    def _bidirectional(self, transformer: Transformer, t: Tensor) -> Tensor:
        noisy, reference = self._input("noisy"), torch.zeros_like(self._input("noisy"))
        reference[:, :, :1] = self._input("ref_latent")
        latents = torch.cat([noisy, self._input("control_latents"), reference], dim=1)
        return transformer(latents, t, transformer.embed_rays(self._input("plucker_latent")), context=self._context)

    def _roll_out(self, num_steps: int) -> Tensor:
        riflex = self.meta.get("riflex")
        config = RolloutConfig(
            window=self._of_meta("kv_cache_window"),
            riflex=None if riflex is None else from_dict(Riflex, riflex, "meta.json: riflex"),
            shift=RELEASED_SHIFT,
        )
        rollout = Rollout(self._student, with_released_steps(config, num_steps), seeds=(0,) * self._batch, text=self._context)
        conditions = BlockConditions(self._input("control_latents"), self._input("plucker_latent"))
        noises = [list(draws) for draws in self._input(f"ar_noise_{num_steps}step")]
        return roll_out(rollout, self._input("ref_latent"), conditions, noises)

    def _input(self, name: str) -> Tensor:
        if name not in self.inputs:
            raise ValueError(f"{self.folder / 'inputs.safetensors'} must hold a tensor {name}; it holds {sorted(self.inputs)}")
        return self.inputs[name]

    def _of_meta(self, name: str) -> Any:
        if name not in self.meta:
            raise ValueError(f"{self.folder / 'meta.json'} must have a key {name}; it has {sorted(self.meta)}")
        return self.meta[name]


def _released_steps(count: int) -> Any:
    if count not in RELEASED_TIMESTEPS:
        raise ValueError(f"the release has schedules of {sorted(RELEASED_TIMESTEPS)} steps, got {count}")
    return steps(RELEASED_TIMESTEPS[count], RELEASED_SHIFT)


def _read_meta(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"No golden values at {path}")
    try:
        return dict(json.loads(path.read_text()))
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a JSON object: {error}") from error


def _pose(frame: dict[str, Any]) -> np.ndarray:
    """T_world_camera of a camera file's frame: nine numbers row by row, and three."""
    return transform(np.array(frame["rotation"], dtype=np.float64).reshape(3, 3), np.array(frame["translation"], dtype=np.float64))
