"""Other looks of the same episodes."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from h2w_ros.condition import Camera
from h2w_ros.generator.config import CodecConfig
from h2w_ros.generator.folded_codec import FoldedCodec
from h2w_ros.generator.motion import Moment, places_before
from h2w_ros.geometry import invert, rotation_from_axis_angle, transform
from h2w_ros.training.augment import Looks, colour_matrix, draw_looks, plain_looks

MIRRORED = Looks(torch.eye(3)[None], torch.tensor([True]))
CODEC = FoldedCodec(CodecConfig("folded", 12, 4, 1, width=4, depth=1))


def random_latents(seed: int = 0) -> torch.Tensor:
    return CODEC.encode(random_picture(seed))[:, :, None]


def random_picture(seed: int = 0) -> torch.Tensor:
    return 2 * torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(seed)) - 1


def pose(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return transform(rotation_from_axis_angle(rng.normal(size=3)), rng.normal(size=3))


def test_a_mirrored_latent_is_the_latent_of_the_mirrored_picture() -> None:
    expected = CODEC.encode(random_picture().flip(-1))[:, :, None]
    torch.testing.assert_close(MIRRORED.picture(random_latents()), expected)


def test_a_recoloured_latent_is_the_latent_of_the_recoloured_picture() -> None:
    matrix = torch.from_numpy(0.7 * colour_matrix(np.random.default_rng(0))).float()
    rgb = (random_picture() + 1) / 2
    recoloured = torch.einsum("ij,bjhw->bihw", matrix, rgb) * 2 - 1
    seen = Looks(matrix[None], torch.tensor([False])).picture(random_latents())
    within = CODEC.encode(recoloured)[:, :, None].clamp(-2, 2)
    torch.testing.assert_close(seen, within, rtol=0, atol=1e-5)


def test_in_a_mirror_left_hands_are_right_ones() -> None:
    red = torch.tensor([200.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 12, 16)
    torch.testing.assert_close(MIRRORED.hands(CODEC.encode(red)[:, :, None]), CODEC.encode(red.flip(1))[:, :, None])


def test_a_mirrored_world_is_seen_in_mirrored_pictures() -> None:
    """A point of the world, its mirror image, and where a camera and its mirror image see them."""
    camera, T_world_camera = Camera(16, 12, 14.0, 15.0, 7.0, 6.5), pose(1)
    point = T_world_camera @ (0.1, -0.2, 1.0, 1.0)
    mirror_camera, T_mirror_camera = MIRRORED.view(0, camera, T_world_camera)
    u, v = pixel_of(point, camera, T_world_camera)
    np.testing.assert_allclose(pixel_of(point * (-1, 1, 1, 1), mirror_camera, T_mirror_camera), [16.0 - u, v], atol=1e-9)
    assert np.linalg.det(T_mirror_camera[:3, :3]) == pytest.approx(1.0)


def pixel_of(point_world: np.ndarray, camera: Camera, T_world_camera: np.ndarray) -> np.ndarray:
    """Where a point of the world is seen, corner origin."""
    x, y, z = (invert(T_world_camera) @ point_world)[:3]
    return np.array([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy])


def test_what_a_hand_carries_is_carried_by_the_other_hand_in_a_mirror() -> None:
    """Mirrored moments move mirrored pictures: the places before, too, are those of the plain world in a mirror."""
    now, before = moment(0), moment(1)
    plain = places_before(now, before, (6, 8))
    seen = places_before(MIRRORED.moment(now), MIRRORED.moment(before), (6, 8))
    torch.testing.assert_close(seen.flip(-2) * torch.tensor([-1.0, 1.0]), plain, rtol=0, atol=1e-4)


def moment(step: int) -> Moment:
    """A camera that looks down, and a right hand under it, which both move."""
    T_world_camera = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    T_world_camera[:3, 3] = torch.tensor([0.02 * step, 0.01, 0.6])
    grips = torch.full((2, 4, 4), torch.nan)
    grips[1] = torch.eye(4)
    grips[1, :3, 3] = torch.tensor([0.05, 0.03 * step, 0.2])
    return Moment(torch.tensor([[1.0, 1.3, 0.45, 0.52]]), T_world_camera[None], grips[None], torch.zeros(1))


def test_a_change_of_hue_and_saturation_leaves_grey_grey() -> None:
    """Apart from the light's own colour, which the diagonal in front holds."""
    matrix = colour_matrix(np.random.default_rng(3))
    light = matrix @ np.ones(3)
    np.testing.assert_allclose((matrix / light[:, None]) @ np.ones(3), np.ones(3))
    assert np.ptp(matrix / light[:, None]) > 0.1


def test_plain_looks_change_nothing() -> None:
    latents, plain = random_latents(), plain_looks(1)
    torch.testing.assert_close(plain.picture(latents), latents)
    assert torch.equal(plain.hands(latents), latents)
    assert torch.equal(plain.map(latents[:, :1]), latents[:, :1])


def test_every_stream_has_its_own_look() -> None:
    looks = draw_looks(np.random.default_rng(0), 40)
    assert 10 < looks.is_mirrored.sum() < 30
    assert len(looks.colours.flatten(1).unique(dim=0)) > 15
    seen = looks.picture(random_latents().expand(40, -1, -1, -1, -1))
    one = Looks(looks.colours[7:8], looks.is_mirrored[7:8]).picture(random_latents())
    torch.testing.assert_close(seen[7:8], one)


def test_shares_of_places_go_along() -> None:
    share = F.pixel_shuffle(random_latents()[:, :4, 0], 2)[:, :, None]
    assert torch.equal(MIRRORED.map(share), share.flip(-1))
