"""The hand styles on a GPU, for batches: rasterized by pytorch3d, an optional package.

The pictures follow `styles`: the same pixels are covered (pytorch3d, too, samples pixel centres), colours differ by
rounding, and mesh lines by their anti-aliasing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from h2w_ros.condition import Image
from h2w_ros.hands.drawing import HandView, ink_scale
from h2w_ros.hands.render import HandRenderer, Moment
from h2w_ros.hands.styles import (
    AMBIENT,
    FLAT_COLOURS,
    FULL_COLOURS,
    GREY_LINE_COLOUR,
    LINE_COLOUR,
    XRAY_SHINE,
    XRAY_SHINE_POWER,
    XRAY_WEIGHTS,
)

# Surfaces along a pixel's ray whose mesh lines show; a fist has about eight.
NUM_LAYERS = 10


@dataclass(frozen=True, eq=False)
class Fragments:
    """What one hand shows at each pixel of the picture, nearest surface first."""

    view: HandView
    faces: Int[Tensor, "H W L"]  # index into the view's faces, -1 where there is none
    line_distances_px: Float[Tensor, "H W L 3"]  # from the pixel's centre to each edge of the face

    @property
    def is_covered(self) -> Tensor:
        """(H, W) whether the hand covers the pixel."""
        return self.faces[..., 0] >= 0

    @property
    def facing(self) -> Tensor:
        """(H, W, L) how squarely each surface faces the camera, 0 where there is none."""
        padded = np.append(self.view.facing, 0.0).astype(np.float32)
        return torch.from_numpy(padded).to(self.faces.device)[self.faces]

    @property
    def ink(self) -> Tensor:
        """(H, W, 1) how much of each pixel the mesh lines cover: the overlap of a thin line with the pixel's width."""
        width_px = 1.0 / ink_scale(self.view.camera)
        overlap = (0.5 + width_px / 2 - self.line_distances_px).clamp(0.0, width_px)
        return 1.0 - (1.0 - overlap).flatten(-2).prod(dim=-1, keepdim=True)


def render_batch(renderer: HandRenderer, moments: Sequence[Moment]) -> list[Image]:
    """One picture a moment, on the GPU if there is one; moments of one picture size are rasterized together."""
    pictures = [np.zeros((camera.height_px, camera.width_px, 3), dtype=np.uint8) for _, camera, _ in moments]
    views = [(index, view) for index, moment in enumerate(moments) for view in renderer.views(moment)]
    sizes = sorted({pictures[index].shape[:2] for index, _ in views})
    for size in sizes:
        group = [(index, view) for index, view in views if pictures[index].shape[:2] == size]
        for (index, _), fragments in zip(group, rasterized([view for _, view in group]), strict=True):
            np.maximum(pictures[index], _coloured(renderer.style, fragments), out=pictures[index])
    return pictures


def rasterized(views: Sequence[HandView]) -> list[Fragments]:
    """The fragments of hands whose cameras have one picture size."""
    from pytorch3d.renderer import MeshRasterizer, RasterizationSettings
    from pytorch3d.structures import Meshes
    from pytorch3d.utils import cameras_from_opencv_projection

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    first = views[0].camera
    faces = [torch.tensor(view.faces, device=device) for view in views]
    meshes = Meshes([torch.from_numpy(view.vertices_camera).float().to(device) for view in views], faces)
    K = torch.from_numpy(np.stack([view.camera.K for view in views])).float().to(device)
    R = torch.eye(3, device=device).expand(len(views), 3, 3)
    sizes = torch.tensor([[first.height_px, first.width_px]] * len(views), device=device)
    cameras = cameras_from_opencv_projection(R, torch.zeros(len(views), 3, device=device), K, sizes)
    settings = RasterizationSettings(image_size=(first.height_px, first.width_px), faces_per_pixel=NUM_LAYERS, perspective_correct=False)
    found = MeshRasterizer(cameras=cameras, raster_settings=settings)(meshes)
    offsets = np.cumsum([0, *(len(face) for face in faces)])
    return [
        _fragments(view, torch.where(found.pix_to_face[k] >= 0, found.pix_to_face[k] - int(offsets[k]), -1), found.bary_coords[k])
        for k, view in enumerate(views)
    ]


def _fragments(view: HandView, faces: Tensor, barycentric: Tensor) -> Fragments:
    """A barycentric coordinate times the triangle's height over an edge is the distance to that edge."""
    corners = view.vertices_px[view.faces]
    opposite = np.roll(corners, -1, axis=1) - np.roll(corners, 1, axis=1)
    lengths_px = np.linalg.norm(opposite, axis=2)
    doubled_areas = np.abs(opposite[:, 0, 0] * opposite[:, 1, 1] - opposite[:, 0, 1] * opposite[:, 1, 0])
    heights_px = doubled_areas[:, None] / np.maximum(lengths_px, 1e-9)
    table = torch.from_numpy(np.append(heights_px, np.full((1, 3), np.inf), axis=0)).float().to(faces.device)
    distances = torch.where((faces >= 0)[..., None], barycentric.abs() * table[faces], torch.inf)
    return Fragments(view, faces, distances)


def _shade(facing: Tensor) -> Tensor:
    return AMBIENT + (1.0 - AMBIENT) * facing


def _colour(rgb: tuple[int, int, int], like: Tensor) -> Tensor:
    return torch.tensor(rgb, dtype=torch.float32, device=like.device)


def _inked(fill: Tensor, fragments: Fragments, line_rgb: tuple[int, int, int]) -> Tensor:
    return fill + fragments.ink * (_colour(line_rgb, fill) - fill)


def silhouette_wireframe(fragments: Fragments) -> Float[Tensor, "H W 3"]:
    """As `styles.silhouette_wireframe`."""
    return _inked(_colour(FLAT_COLOURS[fragments.view.side], fragments.faces), fragments, LINE_COLOUR)


def silhouette(fragments: Fragments) -> Float[Tensor, "H W 3"]:
    """As `styles.silhouette`."""
    return _colour(FLAT_COLOURS[fragments.view.side], fragments.facing).expand(*fragments.is_covered.shape, 3)


def wireframe(fragments: Fragments) -> Float[Tensor, "H W 3"]:
    """As `styles.wireframe`."""
    return _inked(solid(fragments), fragments, GREY_LINE_COLOUR)


def solid(fragments: Fragments) -> Float[Tensor, "H W 3"]:
    """As `styles.solid`."""
    return _shade(fragments.facing[..., :1]) * _colour(FULL_COLOURS[fragments.view.side], fragments.faces)


def xray(fragments: Fragments) -> Float[Tensor, "H W 3"]:
    """As `styles.xray`."""
    num_layers = len(XRAY_WEIGHTS)
    facing = fragments.facing[..., :num_layers]
    weights = torch.tensor(XRAY_WEIGHTS, device=facing.device) * (fragments.faces[..., :num_layers] >= 0)
    shade = (weights * _shade(facing)).sum(dim=-1, keepdim=True)
    shine = (weights * XRAY_SHINE * facing**XRAY_SHINE_POWER).sum(dim=-1, keepdim=True)
    return shade * _colour(FULL_COLOURS[fragments.view.side], facing) + shine


STYLES: Mapping[str, Callable[[Fragments], Tensor]] = {
    "silhouette_wireframe": silhouette_wireframe,
    "silhouette": silhouette,
    "wireframe": wireframe,
    "solid": solid,
    "xray": xray,
}


def _coloured(style: str, fragments: Fragments) -> Image:
    pixels = (STYLES[style](fragments) + 0.5).clamp(0.0, 255.0) * fragments.is_covered[..., None]
    return pixels.to(torch.uint8).cpu().numpy()
