"""More appearances of one episode: exact in geometry, the same for every picture of a moment."""

import numpy as np
import pytest

from h2w_ros.condition import Camera
from h2w_ros.geometry import invert, rotation_from_axis_angle, transform
from h2w_ros.training.augment import augmented, colour_matrix, mirrored, recoloured

CAMERA = np.array([16.0, 12.0, 14.0, 15.0, 7.0, 6.5])


def episode(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    poses = [transform(rotation_from_axis_angle(rng.normal(size=3)), rng.normal(size=3)) for _ in range(2)]
    pictures = {name: rng.integers(0, 256, (2, 12, 16, 3), dtype=np.uint8) for name in ("image", "static", "hand")}
    shares = {name: rng.uniform(size=(2, 3, 4)).astype(np.float16) for name in ("hand_share", "object_share")}
    grips = np.stack([np.stack([poses[0], np.full((4, 4), np.nan)]), np.stack(poses)]).astype(np.float32)
    return {**pictures, **shares, "T_world_camera": np.stack(poses), "T_world_grips": grips, "camera": CAMERA}


def pixel_of(point_world: np.ndarray, arrays: dict[str, np.ndarray], frame: int) -> np.ndarray:
    """Where a point of the world is seen, corner origin."""
    width_px, height_px, *rest = arrays["camera"].tolist()
    camera = Camera(int(width_px), int(height_px), *rest)
    x, y, z, _ = invert(arrays["T_world_camera"][frame]) @ np.append(point_world, 1.0)
    return np.array([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy])


def test_a_mirrored_world_is_seen_in_mirrored_pictures() -> None:
    before = episode()
    after = mirrored(before)
    point = before["T_world_camera"][1] @ (0.1, -0.2, 1.0, 1.0)
    u, v = pixel_of(point[:3], before, 1)
    np.testing.assert_allclose(pixel_of(point[:3] * (-1, 1, 1), after, 1), [16.0 - u, v], atol=1e-9)
    np.testing.assert_array_equal(after["image"][1, :, 3], before["image"][1, :, 12])
    np.testing.assert_array_equal(after["hand_share"][1, :, 0], before["hand_share"][1, :, 3])
    assert np.linalg.det(after["T_world_camera"][1][:3, :3]) == pytest.approx(1.0)


def test_in_a_mirror_left_hands_are_right_ones() -> None:
    before = episode()
    before["hand"][...] = (200, 0, 0)
    assert (mirrored(before)["hand"] == (0, 0, 200)).all()


def test_what_a_hand_carries_is_carried_by_the_other_hand_in_a_mirror() -> None:
    before = episode()
    grips = before["T_world_grips"]
    left_after = mirrored(before)["T_world_grips"][:, 0]
    assert np.isnan(left_after[0]).all()  # no right hand yet
    point, flip = np.array([0.1, -0.2, 0.3, 1.0]), np.array([-1, 1, 1, 1])
    np.testing.assert_allclose(left_after[1] @ (point * flip), (grips[1, 1] @ point) * flip, atol=1e-6)


def test_mirrored_twice_is_as_it_was() -> None:
    before = episode()
    after = mirrored(mirrored(before))
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, atol=1e-12)


def test_all_pictures_of_the_camera_change_colour_alike_and_hand_renders_do_not() -> None:
    before = episode()
    before["static"] = before["image"].copy()
    for seed in range(4):
        after = augmented(before, np.random.default_rng(seed))
        np.testing.assert_array_equal(after["image"], after["static"])
        assert (after["image"] != before["image"]).any()
        np.testing.assert_array_equal(np.sort(after["hand"], axis=None), np.sort(before["hand"], axis=None))


def test_a_change_of_hue_and_saturation_leaves_grey_grey() -> None:
    """Apart from the light's own colour, which the diagonal in front holds."""
    matrix = colour_matrix(np.random.default_rng(3))
    light = matrix @ np.ones(3)
    np.testing.assert_allclose((matrix / light[:, None]) @ np.ones(3), np.ones(3))
    assert np.ptp(matrix / light[:, None]) > 0.1


def test_no_change_is_no_change() -> None:
    pictures = episode()["image"]
    np.testing.assert_array_equal(recoloured(pictures, np.eye(3), 1.0), pictures)
