"""Trains the network that lifts a picture's things, on what each pixel of simulated pictures shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from numpy import ndarray
from safetensors.torch import load_file
from torch import Tensor

from h2w_ros.things.lifting import FARTHEST_M, network_input, rays_of, save_lifter, table_depth_m
from h2w_ros.things.lifting_network import KINDS, OFFSET_PX, LiftingNetwork
from h2w_ros.things.parts import MIN_PIXELS
from h2w_ros.training.augment import colour_matrix
from h2w_ros.training.precision import mixed_precision
from h2w_ros.training.run import Budget, RunFolder, optimisers, train
from h2w_ros.training.truth_files import camera_of, taught_and_kept_back
from h2w_ros.world.spec import FIRST_OBJECT, WORLD_VERSION

BATCH = 16
LEARNING_RATE, WARMUP_STEPS, WEIGHT_DECAY, EMA_DECAY = 1.5e-3, 50, 1e-3, 0.995
UNTOLD = 255
"""The kind of pixels that teach nothing: of what too little is seen."""
KIND_WEIGHTS = (1.0, 2.0, 3.0, 1.0)
DEPTH_WEIGHT, OFFSET_WEIGHT = 10.0, 2.0
LARGEST_DEPTH_ERROR, ELSEWHERE = 0.5, 0.05
"""Of the depth's logarithm; and how much what is no thing counts there."""
HANDS_KNOWN, RECOLOURED, FIRST_PICTURE = 0.85, 0.6, 0.3
VALIDATION_BATCHES = 6


@dataclass(frozen=True, eq=False)
class Pictures:
    """n pictures as the network is shown them, and what it should answer."""

    shown: Float32[ndarray, "n 8 H W"]
    kinds: UInt8[ndarray, "n H W"]
    log_nearer: Float32[ndarray, "n H W"]
    offsets_px: Float32[ndarray, "n 2 H W"]

    def mirrored(self) -> Pictures:
        """The same in a world whose x points the other way."""
        shown, offsets = np.ascontiguousarray(self.shown[..., ::-1]), np.ascontiguousarray(self.offsets_px[..., ::-1])
        shown[:, 3], offsets[:, 0] = -shown[:, 3], -offsets[:, 0]
        return Pictures(shown, np.ascontiguousarray(self.kinds[..., ::-1]), np.ascontiguousarray(self.log_nearer[..., ::-1]), offsets)


def train_lifting(folder: Path, files: Sequence[Path], budget: Budget, out: Path, seed: int = 0, device: str = "cpu") -> Path:
    """Goes on with the run in `folder` on these files (`things_data`), and ships its averaged weights; the file's path."""
    torch.manual_seed(seed)
    network, run = LiftingNetwork().to(device, memory_format=torch.channels_last), RunFolder(folder)  # type: ignore[call-overload]  # forgotten in stubs
    run.announce({"stage": "lifting", "seed": seed, "device": device, "episodes": len(files), "world_version": WORLD_VERSION})
    taught, kept_back = taught_and_kept_back(files)
    source = batches(taught, np.random.default_rng((seed, run.progress().step)))

    def loss(_step: int, _spent: float) -> Tensor:
        return sum_of(losses(network, next(source), device))

    chosen = optimisers(network, LEARNING_RATE, None, WEIGHT_DECAY)
    progress = train(network, run, loss, chosen, budget, WARMUP_STEPS, EMA_DECAY, _exam(network, kept_back, device))
    network.cpu().load_state_dict(load_file(folder / "average.safetensors"))
    return save_lifter(out, network, {"episodes": len(taught), "world_version": WORLD_VERSION, **asdict(progress)})


def batches(files: Sequence[Path], rng: np.random.Generator) -> Iterator[Pictures]:
    """Random pictures of random episodes, in other colours, half of them mirrored; for ever. Episodes stay in memory once they were read."""
    known: dict[Path, dict[str, ndarray]] = {}
    while True:
        drawn = []
        for index in rng.integers(len(files), size=BATCH).tolist():
            path = files[index]
            if path not in known:
                known[path] = _picture_arrays(path)
            drawn.append(_drawn(known[path], rng))
        yield Pictures(*(np.concatenate([getattr(each, field.name) for each in drawn]) for field in fields(Pictures)))


def losses(network: LiftingNetwork, pictures: Pictures, device: str) -> dict[str, Tensor]:
    """What each pixel shows, how far things are, and where their middles are; weighted."""
    shown, kinds, nearer, offsets = (torch.from_numpy(getattr(pictures, field.name)).to(device) for field in fields(Pictures))
    with mixed_precision(device):
        surfaces = network(shown.contiguous(memory_format=torch.channels_last))
    is_thing = ((kinds == KINDS.index("thing")) | (kinds == KINDS.index("moving part"))).float()
    weights, told = shown.new_tensor(KIND_WEIGHTS), kinds.long()
    depth = (surfaces.log_nearer - nearer).abs().clamp(max=LARGEST_DEPTH_ERROR) * (is_thing + ELSEWHERE)
    offset = (surfaces.offsets_px - offsets).abs().sum(1) * is_thing / OFFSET_PX
    return {
        "kind": F.cross_entropy(surfaces.kinds, told, weight=weights, ignore_index=UNTOLD),
        "depth": DEPTH_WEIGHT * depth.sum() / (is_thing + ELSEWHERE).sum(),
        "offset": OFFSET_WEIGHT * offset.sum() / is_thing.sum().clamp(min=1.0),
    }


def sum_of(parts: dict[str, Tensor]) -> Tensor:
    """The loss that is trained on."""
    return torch.stack(list(parts.values())).sum()


def _exam(network: LiftingNetwork, files: Sequence[Path], device: str) -> Callable[[], float] | None:
    """The loss on the episodes that are kept back; None while there are none."""
    if not files:
        return None
    source = batches(files, np.random.default_rng(0))
    questions = [next(source) for _ in range(VALIDATION_BATCHES)]

    @torch.inference_mode()
    def loss() -> float:
        network.eval()
        mean = np.mean([float(sum_of(losses(network, question, device))) for question in questions])
        network.train()
        return float(mean)

    return loss


def _picture_arrays(path: Path) -> dict[str, ndarray]:
    names = "image", "is_hand", "ids", "links", "depth_m", "T_world_camera", "camera"
    with np.load(path) as file:
        return {name: file[name] for name in names}


def _drawn(arrays: dict[str, ndarray], rng: np.random.Generator) -> Pictures:
    """One picture of an episode."""
    index = 0 if rng.random() < FIRST_PICTURE else int(rng.integers(len(arrays["image"])))
    picture, T_world_camera, camera = arrays["image"][index], arrays["T_world_camera"][index], camera_of(arrays["camera"])
    if rng.random() < RECOLOURED:
        picture = cv2.transform(picture, 0.5 * np.eye(3) + 0.5 * colour_matrix(rng))
    is_hand = arrays["is_hand"][index] & (rng.random() < HANDS_KNOWN)
    kinds, offsets = answers(arrays["ids"][index], arrays["links"][index])
    depth = arrays["depth_m"][index].astype(np.float32)
    nearer = np.log(np.where(np.isfinite(depth) & (depth > 0), depth, FARTHEST_M) / table_depth_m(rays_of(camera), T_world_camera)[0])
    shown = network_input(picture, is_hand, camera, T_world_camera)
    drawn = Pictures(shown[None], kinds[None], nearer[None].astype(np.float32), offsets[None])
    return drawn.mirrored() if rng.random() < 0.5 else drawn


def answers(ids: UInt8[ndarray, "H W"], links: ndarray) -> tuple[UInt8[ndarray, "H W"], Float32[ndarray, "2 H W"]]:
    """The kind of every pixel (`lifting_network.KINDS`), and how far it is to the middle of its part [px]."""
    kinds = np.where(ids == 0, KINDS.index("surroundings"), KINDS.index("hand"))
    kinds = np.where(ids < FIRST_OBJECT, kinds, np.where(links, KINDS.index("moving part"), KINDS.index("thing"))).astype(np.uint8)
    offsets = np.zeros((2, *ids.shape), np.float32)
    for thing in range(FIRST_OBJECT, int(ids.max()) + 1):
        for is_link in (False, True):
            part = (ids == thing) & (links == is_link)
            if part.sum() < MIN_PIXELS:
                kinds[part] = UNTOLD
                continue
            v, u = np.nonzero(part)
            offsets[:, v, u] = u.mean() - u, v.mean() - v
    return kinds, offsets
