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
from h2w_ros.scene.table_photo import TablePhoto
from h2w_ros.world.spec import TABLE_HEIGHT_M

logger = logging.getLogger(__name__)

PICTURES = ("image", "static", "hand")


@dataclass(frozen=True)
class ClipSource:
    """Every episode's latents and numbers, in memory: N episodes of T frames.

    image, static, hand, photo: (N, T, Z, h, w) bfloat16, `photo` being frame 0 laid on the table, seen from every frame;
    hand_share, object_share: (N, T, h, w) in [0, 1];
    T_world_camera: (N, T, 4, 4) float64; cameras: (N, 6) float64 as `Camera`'s fields.
    """

    image: Tensor
    static: Tensor
    hand: Tensor
    photo: Tensor
    hand_share: Tensor
    object_share: Tensor
    T_world_camera: np.ndarray
    cameras: np.ndarray

    def camera(self, episode: int) -> Camera:
        """The episode's camera, corner origin."""
        return _camera(self.cameras[episode])


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
    """Pixel files in order of seed, without those that are still being written."""
    return _by_seed((folder / "pixels").glob("*.npz"))


def _by_seed(files: Iterable[Path]) -> list[Path]:
    return sorted((path for path in files if path.stem.isdecimal()), key=lambda path: int(path.stem))


@torch.inference_mode()
def encode_pixels(codec: FramewiseCodec, files: Iterable[Path], folder: Path) -> Iterator[Path]:
    """Writes the latents of pixel files that have none yet; yields each file as it is done."""
    (folder / "latents").mkdir(parents=True, exist_ok=True)
    for path in files:
        out = folder / "latents" / f"{path.stem}.safetensors"
        known = load_file(out) if out.exists() else {}
        if "photo" not in known:
            with np.load(path) as pixels:
                save_file(_encoded(codec, pixels, known), out.with_suffix(".part"))
            out.with_suffix(".part").replace(out)
        yield out


def _encoded(codec: FramewiseCodec, pixels: np.lib.npyio.NpzFile, known: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor of a latent file; those that are known already are taken as they are."""
    pictures = {name: pixels[name] for name in PICTURES if name not in known} | {"photo": _photo_from_everywhere(pixels)}
    arrays = {name: codec.encode(to_tensor(frames, codec.dtype)).to(torch.bfloat16).contiguous() for name, frames in pictures.items()}
    shares = {name: torch.from_numpy(pixels[name]) for name in ("hand_share", "object_share")}
    poses = {name: torch.from_numpy(pixels[name]) for name in ("T_world_camera", "camera")}
    return {**known, **arrays, **shares, **poses}


def _photo_from_everywhere(pixels: np.lib.npyio.NpzFile) -> np.ndarray:
    """Frame 0 laid on the world's table, seen from every frame's camera."""
    camera, poses = _camera(pixels["camera"]), pixels["T_world_camera"]
    scene = TablePhoto(pixels["image"][0], camera, poses[0], TABLE_HEIGHT_M)
    return np.stack([scene.render(camera, pose) for pose in poses])


def _camera(numbers: np.ndarray) -> Camera:
    width_px, height_px, *focal_and_centre = numbers.tolist()
    return Camera(int(width_px), int(height_px), *focal_and_centre)


def load_clips(folder: Path) -> ClipSource:
    """All latent files of a folder in memory."""
    files = _by_seed((folder / "latents").glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"No latents under {folder / 'latents'}; run `h2w train encode` first")
    records = [load_file(path) for path in files]
    logger.info("%d episodes of %d frames from %s", len(records), records[0]["image"].shape[0], folder)
    stacked = {name: torch.stack([record[name] for record in records]) for name in records[0]}
    image, static, hand, photo, hand_share, object_share = (stacked[name] for name in (*PICTURES, "photo", "hand_share", "object_share"))
    return ClipSource(image, static, hand, photo, hand_share, object_share, stacked["T_world_camera"].numpy(), stacked["camera"].numpy())
