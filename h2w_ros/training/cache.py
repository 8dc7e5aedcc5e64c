"""Training data on disk: simulated episodes as pixels, then as latents of a frozen codec that many epochs read.

One file an episode, so that workers write without locks and a killed run loses at most the file under way:
`pixels/SEED.npz` (pictures uint8) and `latents/SEED.safetensors` (bfloat16).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from h2w_ros.condition import Camera, Condition
from h2w_ros.generator.codec import FramewiseCodec
from h2w_ros.generator.pixels import to_tensor
from h2w_ros.hands.render import HandRenderer

logger = logging.getLogger(__name__)

PICTURES = ("image", "static", "hand")


@dataclass(frozen=True)
class ClipSource:
    """Every episode's latents and numbers, in memory: N episodes of T frames.

    image, static, hand: (N, T, Z, h, w) bfloat16; hand_share, object_share: (N, T, h, w) in [0, 1];
    T_world_camera: (N, T, 4, 4) float64; cameras: (N, 6) float64 as `Camera`'s fields.
    """

    image: Tensor
    static: Tensor
    hand: Tensor
    hand_share: Tensor
    object_share: Tensor
    T_world_camera: np.ndarray
    cameras: np.ndarray

    def camera(self, episode: int) -> Camera:
        """The episode's camera, corner origin."""
        width_px, height_px, fx, fy, cx, cy = self.cameras[episode]
        return Camera(int(width_px), int(height_px), fx, fy, cx, cy)


def episode_pixels(
    conditions: list[Condition], hand_masks: np.ndarray, object_masks: np.ndarray, renderer: HandRenderer, latent_stride: int
) -> dict[str, np.ndarray]:
    """The arrays of one pixel file; conditions must carry their image and static render."""
    camera = conditions[0].camera
    hands = [renderer.render(c.hands, c.camera, c.T_world_camera) for c in conditions]
    return {
        "image": np.stack([np.asarray(c.image) for c in conditions]),
        "static": np.stack([np.asarray(c.static_render) for c in conditions]),
        "hand": np.stack(hands),
        "hand_share": _shares(hand_masks, latent_stride),
        "object_share": _shares(object_masks, latent_stride),
        "T_world_camera": np.stack([c.T_world_camera for c in conditions]),
        "camera": np.array([camera.width_px, camera.height_px, camera.fx, camera.fy, camera.cx, camera.cy]),
    }


def _shares(masks: np.ndarray, stride: int) -> np.ndarray:
    """Share of each stride x stride cell that is set, (T, h, w) float16."""
    size = (masks.shape[2] // stride, masks.shape[1] // stride)
    return np.stack([cv2.resize(m.astype(np.float32), size, interpolation=cv2.INTER_AREA) for m in masks]).astype(np.float16)


def pixel_files(folder: Path) -> list[Path]:
    """Pixel files in order of seed."""
    return sorted((folder / "pixels").glob("*.npz"), key=lambda path: int(path.stem))


@torch.inference_mode()
def encode_pixels(codec: FramewiseCodec, files: Iterable[Path], folder: Path) -> Iterator[Path]:
    """Writes the latents of pixel files that have none yet; yields each file as it is done."""
    (folder / "latents").mkdir(parents=True, exist_ok=True)
    for path in files:
        out = folder / "latents" / f"{path.stem}.safetensors"
        if not out.exists():
            save_file(_encoded(codec, np.load(path)), out.with_suffix(".part"))
            out.with_suffix(".part").rename(out)
        yield out


def _encoded(codec: FramewiseCodec, pixels: np.lib.npyio.NpzFile) -> dict[str, Tensor]:
    dtype = next(codec.parameters()).dtype
    arrays = {name: codec.encode(to_tensor(pixels[name], dtype)).to(torch.bfloat16).contiguous() for name in PICTURES}
    shares = {name: torch.from_numpy(pixels[name]) for name in ("hand_share", "object_share")}
    poses = {name: torch.from_numpy(pixels[name]) for name in ("T_world_camera", "camera")}
    return {**arrays, **shares, **poses}


def load_clips(folder: Path, limit: int | None = None) -> ClipSource:
    """All latent files of a folder in memory."""
    files = sorted((folder / "latents").glob("*.safetensors"))[:limit]
    if not files:
        raise FileNotFoundError(f"No latents under {folder / 'latents'}; run `h2w train data` first")
    records = [load_file(path) for path in files]
    logger.info("%d episodes of %d frames from %s", len(records), records[0]["image"].shape[0], folder)
    stacked = {name: torch.stack([record[name] for record in records]) for name in records[0]}
    image, static, hand, hand_share, object_share = (stacked[name] for name in (*PICTURES, "hand_share", "object_share"))
    return ClipSource(image, static, hand, hand_share, object_share, stacked["T_world_camera"].numpy(), stacked["camera"].numpy())
