"""Training data on disk: simulated episodes as pixels, then as latents of a frozen codec that many epochs read.

One file an episode, so that workers write without locks and a killed run loses at most the file under way:
`pixels/SEED.npz` (pictures uint8) and `latents/SEED.safetensors` (bfloat16). Clips of recorded episodes lie beside them in the
same form (`mixture`), without a static scene.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from h2w_ros.camera import intrinsics
from h2w_ros.condition import Camera, Condition
from h2w_ros.generator.codec import PictureCodec
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.motion import Moment, places_since
from h2w_ros.generator.pixels import to_tensor
from h2w_ros.hands.body import Body
from h2w_ros.hands.cover import hidden_by_hands, with_margin
from h2w_ros.hands.dress import Dress, dress_by_seed, dressed, renewed_dress, seen_dress
from h2w_ros.hands.forearms import brightness, forearm_surface, forearms_world, with_forearms
from h2w_ros.hands.grip import grips_world, joints_world
from h2w_ros.hands.render import HandRenderer
from h2w_ros.hands.shoulders import SeenArms
from h2w_ros.hands.surface import HandSurface
from h2w_ros.scene.behind import without
from h2w_ros.scene.table_photo import TablePhoto
from h2w_ros.things.table_scene import NO_FOREARMS, TableScene
from h2w_ros.training.carried import moments_of, num_carried_frames
from h2w_ros.training.mixture import mixed, read_weights, sources
from h2w_ros.world.spec import TABLE_HEIGHT_M

logger = logging.getLogger(__name__)

PICTURES = ("image", "static", "hand")
NUMBERS = ("hand_share", "object_share", "T_world_camera", "T_world_grips", "camera")
UNTOLD = {"knows_scene": torch.tensor(True), "num_carried": torch.tensor(0)}
"""What latent files of earlier versions do not say."""
DRESS_EVERY, SURELY = 6, 0.9
"""Frames that are looked at for colours, and the share of a latent that hands cover where it shows nothing else."""
NORMAL_SCALE = 127.0
VALIDATION_EVERY = 64
"""One seed of so many is never trained on: its loss tells when the others are learned by heart."""


@dataclass(frozen=True)
class ClipSource:
    """Every episode's latents and numbers, in memory: N episodes of T frames.

    image, static, hand, photo: (N, T, Z, h, w) bfloat16, `photo` being frame 0 laid on the table, seen from every frame; `dressed` too,
    hands in their colours, for models that are shown them;
    hand_share, object_share: (N, T, h, w) in [0, 1];
    T_world_camera: (N, T, 4, 4) float64; T_world_grips: (N, T, 2, 4, 4) float32, NaN where there is no hand;
    cameras: (N, 6) float64 as `Camera`'s fields; knows_scene: (N,) bool: without a known table and static scene,
    `static` and `photo` are zero; num_carried: (N,) int, frames with carried things (`carried`).
    """

    image: Tensor
    static: Tensor
    hand: Tensor
    photo: Tensor
    dressed: Tensor | None
    hand_share: Tensor
    object_share: Tensor
    T_world_camera: np.ndarray
    T_world_grips: Tensor
    cameras: np.ndarray
    knows_scene: np.ndarray
    num_carried: np.ndarray

    def to(self, device: torch.device | str) -> ClipSource:
        """The same with its tensors on a device."""
        tensors = {f.name: value.to(device) for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}
        return replace(self, **cast(dict[str, Any], tensors))

    def as_if_still(self) -> ClipSource:
        """The same as if every camera stayed where it was first: hands are where they are in each picture, and nothing tells how cameras move."""
        first = self.T_world_camera[:, :1]
        T_still_world = torch.from_numpy(first @ np.linalg.inv(self.T_world_camera)).to(self.T_world_grips)
        return replace(
            self, T_world_camera=np.repeat(first, self.T_world_camera.shape[1], axis=1), T_world_grips=T_still_world[:, :, None] @ self.T_world_grips
        )

    def camera(self, episode: int) -> Camera:
        """The episode's camera, corner origin."""
        return _camera(self.cameras[episode])

    def moments(self, episodes: np.ndarray, frames: np.ndarray | int, table_is_known: bool | np.ndarray) -> Moment:
        """Where camera and hands of these episodes are at these frames, one of each a stream."""
        cameras = np.stack([intrinsics(self.camera(episode)) for episode in episodes.tolist()])
        height = np.where(np.logical_and(table_is_known, self.knows_scene[episodes]), TABLE_HEIGHT_M, np.nan)
        arrays = cameras, self.T_world_camera[episodes, frames], height
        cameras_now, T_world_camera, heights = (torch.from_numpy(array).float().to(self.image.device) for array in arrays)
        return Moment(cameras_now, T_world_camera, self.T_world_grips[episodes, frames], heights)

    def places_since(
        self, model: GeneratorConfig, episodes: np.ndarray, frames: np.ndarray | int, table_is_known: bool | np.ndarray
    ) -> Tensor | None:
        """Where everything stood one frame before, and in the first, (B, N, H, W, 2) (`motion.places_since`); None for models that don't ask."""
        if model.rollout.prediction != "layers":
            return None
        now, before, first = (self.moments(episodes, index, table_is_known) for index in (frames, frames - 1, 0))
        return places_since(now, before, first, model.small_size)


def episode_pixels(
    conditions: list[Condition], hand_masks: np.ndarray, object_masks: np.ndarray, renderer: HandRenderer, latent_stride: int
) -> dict[str, np.ndarray]:
    """The arrays of one pixel file; conditions must carry their image and static render."""
    camera = conditions[0].camera
    hands, normals = zip(*(renderer.render_with_normals(c.hands, c.camera, c.T_world_camera) for c in conditions), strict=True)
    return {
        "image": np.stack([np.asarray(c.image) for c in conditions]),
        "static": np.stack([np.asarray(c.static_render) for c in conditions]),
        "hand": np.stack(hands),
        "hand_normals": _packed_normals(normals),
        "hand_share": _shares(hand_masks, latent_stride),
        "object_share": _shares(object_masks, latent_stride),
        "T_world_camera": np.stack([c.T_world_camera for c in conditions]),
        "T_world_grips": np.stack([grips_world(c.hands) for c in conditions]).astype(np.float32),
        "hand_joints_world": np.stack([joints_world(c.hands) for c in conditions]).astype(np.float32),
        "camera": np.array([camera.width_px, camera.height_px, camera.fx, camera.fy, camera.cx, camera.cy]),
    }


def recorded_pixels(conditions: list[Condition], renderer: HandRenderer, latent_stride: int) -> dict[str, np.ndarray]:
    """The arrays of a recorded clip's pixel file, which has no static scene; conditions must carry their image."""
    camera = conditions[0].camera
    shown = [_hands_of(condition, renderer) for condition in conditions]
    hand = np.stack([picture for picture, _ in shown])
    return {
        "image": np.stack([np.asarray(c.image) for c in conditions]),
        "hand": hand,
        "hand_normals": _packed_normals([normals for _, normals in shown]),
        "hand_share": _shares(hand.max(axis=-1) > 0, latent_stride),
        "object_share": _shares(np.zeros(hand.shape[:3], bool), latent_stride),
        "T_world_camera": np.stack([c.T_world_camera for c in conditions]),
        "T_world_grips": np.stack([grips_world(c.hands) for c in conditions]).astype(np.float32),
        "hand_joints_world": np.stack([joints_world(c.hands) for c in conditions]).astype(np.float32),
        "camera": np.array([camera.width_px, camera.height_px, camera.fx, camera.fy, camera.cx, camera.cy]),
    }


def _hands_of(condition: Condition, renderer: HandRenderer) -> tuple[np.ndarray, np.ndarray]:
    """The hand picture, and which way its hands face: nobody knows that of a ready-made one."""
    if condition.hand_render is not None:
        return condition.hand_render, np.zeros(condition.hand_render.shape, np.float32)
    return renderer.render_with_normals(condition.hands, condition.camera, condition.T_world_camera)


def _packed_normals(normals: Iterable[np.ndarray]) -> np.ndarray:
    """Unit vectors in the camera's frame as int8, (T, H, W, 3)."""
    return np.stack([np.round(NORMAL_SCALE * each).astype(np.int8) for each in normals])


def _shares(masks: np.ndarray, stride: int) -> np.ndarray:
    """Share of each stride x stride cell that is set, (T, h, w) float16."""
    size = (masks.shape[2] // stride, masks.shape[1] // stride)
    return np.stack([cv2.resize(m.astype(np.float32), size, interpolation=cv2.INTER_AREA) for m in masks]).astype(np.float16)


def pixel_files(folder: Path) -> list[Path]:
    """Pixel files of all sources, each in order of seed, without those that are still being written."""
    return [path for source in sources(folder).values() for path in _by_seed((source / "pixels").glob("*.npz"))]


def training_pixel_files(folder: Path) -> list[Path]:
    """Those of them that are not kept back to validate on."""
    return [path for path in pixel_files(folder) if _is_chosen(path, validation=False)]


def _by_seed(files: Iterable[Path]) -> list[Path]:
    return sorted((path for path in files if path.stem.isdecimal()), key=lambda path: int(path.stem))


@torch.inference_mode()
def encode_pixels(codec: PictureCodec, model: GeneratorConfig, files: Iterable[Path], folder: Path) -> Iterator[Path]:
    """Writes the latents that pixel files do not have yet, or have for a model that is shown other things; yields each file as it is done."""
    (folder / "latents").mkdir(parents=True, exist_ok=True)
    looks = {"dressed": model.dressed and "lit", "things": model.things and "shaded", "forearms": model.forearms and "at table", "photo": "continued"}
    shown = {"shown": json.dumps({"size": model.size, "forearms": model.forearms, **looks})}
    for path in files:
        out = path.parent.parent / "latents" / f"{path.stem}.safetensors"
        out.parent.mkdir(exist_ok=True)
        if not out.exists() or _metadata(out) != shown:
            with np.load(path) as file:
                pixels = dict(file)
            _check_size(path, pixels["image"], model)
            _check_normals(path, pixels, model)
            save_file(_encoded(codec, model, pixels), out.with_suffix(".part"), metadata=shown)
            out.with_suffix(".part").replace(out)
        yield out


def _check_size(path: Path, pictures: np.ndarray, model: GeneratorConfig) -> None:
    if pictures.shape[1:3] != model.size:
        (height, width), (asked_height, asked_width) = pictures.shape[1:3], model.size
        rule = f"pixels must be of the model's {asked_width}x{asked_height}, got {width}x{height} in {path}"
        raise ValueError(f"{rule}: they are another model's; choose another --run, or remove {path.parent} and its latents")


def _check_normals(path: Path, pixels: Mapping[str, np.ndarray], model: GeneratorConfig) -> None:
    if model.dressed and "hand_normals" not in pixels:
        rule = f"pixels for {model.name}, which is shown lit hands, must say which way hands face, got no hand_normals in {path}"
        raise ValueError(f"{rule}: an earlier version made them; remove {path.parent} and simulate again")


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def _encoded(codec: PictureCodec, model: GeneratorConfig, pixels: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Every tensor of a latent file."""
    knows_scene = "static" in pixels
    pictures = {name: pixels[name] for name in PICTURES if name in pixels}
    camera = _camera(pixels["camera"])
    if knows_scene or model.dressed or model.forearms:
        first = _FirstPicture(pixels, TableScene.at(TABLE_HEIGHT_M) if knows_scene and model.things else None, model.forearms)
        pictures |= first.scenes() if knows_scene else {}
        pictures |= {"dressed": first.dressed_hands()} if model.dressed else {}
        pictures |= {"hand": first.hands_and_forearms()} if model.forearms else {}
    if "hand_seen" in pixels:  # what covers a hand cuts it, and so the layer of hands in their colours, which reaches as far as the hand picture
        pictures["hand"] = pictures["hand"] * pixels["hand_seen"][..., None]
    arrays = {name: codec.encode(to_tensor(frames, codec.dtype)).to(torch.bfloat16).contiguous() for name, frames in pictures.items()}
    numbers = {name: torch.from_numpy(np.ascontiguousarray(pixels[name])) for name in NUMBERS}
    unknown = {name: torch.zeros_like(arrays["image"]) for name in ("static", "photo") if name not in arrays}
    moments = moments_of(pixels["T_world_camera"], pixels["T_world_grips"], intrinsics(camera), TABLE_HEIGHT_M if knows_scene else np.nan)
    num_carried = num_carried_frames(arrays["image"], numbers["hand_share"], numbers["object_share"], moments, model)
    return {**arrays, **unknown, **numbers, "knows_scene": torch.tensor(knows_scene), "num_carried": torch.tensor(num_carried)}


class _FirstPicture:
    """What frame 0 tells of an episode: as a session knows it (`ConditionDrawer.take_picture`)."""

    def __init__(self, pixels: Mapping[str, np.ndarray], things: TableScene | None, has_forearms: bool) -> None:
        self._has_forearms = has_forearms
        self._pixels, self._camera, self._poses = pixels, _camera(pixels["camera"]), pixels["T_world_camera"]
        self._grips = pixels["T_world_grips"].astype(np.float64)
        picture, hands, view = pixels["image"][0], pixels["hand"][0], (self._camera, self._poses[0])
        self._look = None if things is None else things.look(picture, brightness(hands) > 0, view)
        is_hand = hidden_by_hands(picture, hands, self._grips[0], *view) if self._look is None else self._look.is_hand
        self._things, self._hidden = things, with_margin(is_hand)
        seen = Body(table_height_m=TABLE_HEIGHT_M if "static" in pixels else None).seen(SeenArms(is_hand, hands, self._grips[0], *view))
        self._shoulders = [body.shoulders_world for body in _heard_along(seen, self._grips, self._poses)]
        bare, hidden, self._light_from = picture, self._hidden, None
        if things is not None and self._look is not None:
            self._joints = pixels["hand_joints_world"].astype(np.float64)
            hidden = hidden | things.take(self._look, view, self._joints[0], self._grips[0], self._forearms(0))
            bare, unsure = things.without_shadows(picture, hidden, view)
            hidden, self._light_from = hidden | unsure, things.light_from
        self._photo = TablePhoto(without(bare, hidden), *view, TABLE_HEIGHT_M)

    def scenes(self) -> dict[str, np.ndarray]:
        """The scene without hands, known from frame 0, laid on the world's table, or from a render; moved things where they are by now."""
        if self._things is None:
            return {"photo": np.stack([self._photo.render(self._camera, pose) for pose in self._poses])}
        photos, statics = [], []
        for frame, (untouched, pose) in enumerate(zip(self._pixels["static"], self._poses, strict=True)):
            self._things.advance(self._joints[frame], self._grips[frame], self._forearms(frame))
            table = self._photo.render(self._camera, pose)
            photos.append(self._things.over_bare_table(table, (self._camera, pose)))
            statics.append(self._things.over_untouched(untouched, table, (self._camera, pose)))
        return {"photo": np.stack(photos), "static": np.stack(statics)}

    def _forearms(self, frame: int) -> np.ndarray:
        """What of forearms casts shadows."""
        return forearms_world(self._grips[frame], self._poses[frame], self._shoulders[frame]) if self._has_forearms else NO_FOREARMS

    def hands_and_forearms(self) -> np.ndarray:
        """What a network that is shown forearms sees of the hands."""
        frames = enumerate(zip(self._pixels["hand"], self._poses, self._shoulders, strict=True))
        return np.stack([with_forearms(hands, self._grips[k], self._camera, pose, shoulders) for k, (hands, pose, shoulders) in frames])

    def dressed_hands(self) -> np.ndarray:
        """Hands in the colours that frame 0 shows, or else in those that they will have: a session draws these by seed."""
        surfaces = [self._surface(frame) for frame in range(len(self._poses))]
        dress = renewed_dress(_worn(self._pixels, surfaces), self._pixels["image"][0], surfaces[0], self._hidden, self._light_from)
        return np.stack([dressed(*drawn, dress) for drawn in zip(self._pixels["hand"], surfaces, strict=True)])

    def _surface(self, frame: int) -> HandSurface:
        """What of hands and forearms each pixel may show."""
        view = self._camera, self._poses[frame]
        normals = self._pixels["hand_normals"][frame].astype(np.float32) / np.float32(NORMAL_SCALE)
        forearms = forearm_surface(self._grips[frame], *view, self._shoulders[frame]) if self._has_forearms else None
        return HandSurface.of(self._pixels["hand"][frame], normals if normals.any() else None, forearms, view[1])


def _heard_along(body: Body, grips: np.ndarray, poses: np.ndarray) -> Iterator[Body]:
    """The body as it is known at every frame, from what hands have told until then."""
    for T_world_grips, T_world_camera in zip(grips, poses, strict=True):
        body = body.heard(T_world_grips, T_world_camera)
        yield body


def _worn(pixels: Mapping[str, np.ndarray], surfaces: Sequence[HandSurface]) -> Dress:
    """The colours of hands and forearms over the whole episode, where they surely are, in light from above."""
    size = pixels["hand"].shape[2], pixels["hand"].shape[1]
    looked_at = slice(None, None, DRESS_EVERY)
    surely = [cv2.resize(share.astype(np.float32), size, interpolation=cv2.INTER_NEAREST) > SURELY for share in pixels["hand_share"][looked_at]]
    return seen_dress(pixels["image"][looked_at], HandSurface.stacked(surfaces[looked_at]), np.stack(surely), dress_by_seed(0))


def _camera(numbers: np.ndarray) -> Camera:
    width_px, height_px, *focal_and_centre = numbers.tolist()
    return Camera(int(width_px), int(height_px), *focal_and_centre)


def latent_files(folder: Path, validation: bool) -> list[Path]:
    """The files that `load_clips` reads: of each source its share."""
    found = {name: _by_seed((source / "latents").glob("*.safetensors")) for name, source in sources(folder).items()}
    return mixed({name: [path for path in files if _is_chosen(path, validation)] for name, files in found.items()}, read_weights(folder))


def load_clips(folder: Path, validation: bool = False) -> ClipSource:
    """The latent files of a folder in memory: all that are for training, or those that are kept back to validate on."""
    files = latent_files(folder, validation)
    if not files:
        raise FileNotFoundError(
            f"No latents {'to validate on' if validation else 'to train on'} under {folder / 'latents'}; run `h2w train encode` first"
        )
    stacked: dict[str, Tensor] = {}
    for row, path in enumerate(files):
        record = {**UNTOLD, **load_file(path)}
        stacked = stacked or {name: torch.empty((len(files), *tensor.shape), dtype=tensor.dtype) for name, tensor in record.items()}
        _check_like(path, record, files[0], stacked)
        for name, tensor in record.items():
            stacked[name][row] = tensor
    logger.info("%d episodes of %d frames from %s", len(files), stacked["image"].shape[1], folder)
    _warn_of_other_drawings(files)
    image, static, hand, photo, hand_share, object_share = (stacked[name] for name in (*PICTURES, "photo", "hand_share", "object_share"))
    poses, grips, cameras = (stacked[name] for name in ("T_world_camera", "T_world_grips", "camera"))
    knows_scene, num_carried = (stacked[name].numpy() for name in UNTOLD)
    pictures = image, static, hand, photo, stacked.get("dressed")
    return ClipSource(*pictures, hand_share, object_share, poses.numpy(), grips, cameras.numpy(), knows_scene, num_carried)


def _check_like(path: Path, record: Mapping[str, Tensor], first: Path, stacked: Mapping[str, Tensor]) -> None:
    """ValueError for latents of two kinds of models in one folder."""
    for name in sorted(record.keys() | stacked.keys()):
        got, expected = (None if tensors.get(name) is None else tuple(tensors[name].shape) for tensors in (record, stacked))
        if got is None or expected is None or got != expected[1:]:
            rule = f"latents to train on must all have what {first} has, got {got} for {name!r} in {path}, not {expected and expected[1:]}"
            raise ValueError(f"{rule}: run `h2w train encode` again, or remove latents whose pixels are gone")


def _warn_of_other_drawings(files: Sequence[Path]) -> None:
    """Says how many episodes are drawn as an earlier version, or for another model, drew them: a session shows no such pictures."""
    drawings = Counter(_metadata(path).get("shown", "{}") for path in files)
    (most, _), *others = drawings.most_common()
    usual = json.loads(most)
    for told, count in others:
        other = json.loads(told)
        changed = ", ".join(
            f"{name}: {other.get(name)} and not {usual.get(name)}" for name in sorted(usual | other) if other.get(name) != usual.get(name)
        )
        logger.warning("%d of %d episodes are drawn otherwise than the rest (%s); encode them again, or remove them", count, len(files), changed)


def _is_chosen(path: Path, validation: bool) -> bool:
    is_kept_back = int(path.stem) % VALIDATION_EVERY == VALIDATION_EVERY - 1
    return is_kept_back == validation
