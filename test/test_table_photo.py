"""A photo laid on its table: what lies on the table stays where it is while the head moves."""

import numpy as np
import pytest

from h2w_ros.camera import project
from h2w_ros.condition import Camera
from h2w_ros.geometry import apply, invert, look_at, transform
from h2w_ros.scene.behind import continued
from h2w_ros.scene.table_photo import TablePhoto

CAMERA = Camera(160, 120, 130.0, 125.0, 82.0, 59.0)
UP = np.array([0.0, 0.0, 1.0])
HEIGHT_M = 0.72


def view(x: float, y: float, z: float) -> np.ndarray:
    """A head above the table that looks at its middle."""
    return look_at(np.array([x, y, HEIGHT_M + z]), np.array([0.0, 0.05, HEIGHT_M]), UP)


def photo_of_a_dot(T_world_camera: np.ndarray, point: np.ndarray) -> np.ndarray:
    """A black table with a white dot around the pixel that shows this point."""
    (u, v) = project(CAMERA, apply(invert(T_world_camera), point[None]))[0]
    rows, columns = np.mgrid[: CAMERA.height_px, : CAMERA.width_px] + 0.5
    blob = 255 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 8)
    return np.repeat(blob[..., None], 3, axis=2).astype(np.uint8)


def centre_of(picture: np.ndarray) -> np.ndarray:
    weight = picture[..., 0].astype(float)
    rows, columns = np.mgrid[: CAMERA.height_px, : CAMERA.width_px] + 0.5
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("point", [(0.0, 0.05), (0.1, 0.0), (-0.12, 0.12)])
def test_a_point_of_the_table_lands_on_its_pixel_in_every_view(point: tuple[float, float]) -> None:
    world = np.array([*point, HEIGHT_M])
    here, there = view(0.0, -0.4, 0.45), view(0.12, -0.35, 0.5)
    scene = TablePhoto(photo_of_a_dot(here, world), CAMERA, here, HEIGHT_M)
    expected = project(CAMERA, apply(invert(there), world[None]))[0]
    assert np.linalg.norm(centre_of(scene.render(CAMERA, there)) - expected) < 0.7


def test_from_where_it_was_taken_the_photo_is_itself() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    here = view(0.0, -0.4, 0.45)
    again = TablePhoto(photo, CAMERA, here, HEIGHT_M).render(CAMERA, here)
    assert np.abs(again.astype(int) - photo).max() <= 3


def test_a_level_look_over_the_table_still_gives_a_whole_picture() -> None:
    photo = np.full((120, 160, 3), 77, np.uint8)
    level = look_at(np.array([0.0, -0.4, HEIGHT_M + 0.3]), np.array([0.0, 1.0, HEIGHT_M + 0.3]), UP)
    picture = TablePhoto(photo, CAMERA, view(0.0, -0.4, 0.45), HEIGHT_M).render(CAMERA, level)
    assert (picture == 77).all()


def test_beyond_its_edges_a_photo_goes_on_in_the_colours_around_them_and_not_in_its_lines() -> None:
    photo = np.full((120, 160, 3), (40, 40, 160), np.uint8)
    photo[::6, 120:] = (140, 140, 240)  # lines that run out of it
    whole = continued(photo, 60, 80)
    np.testing.assert_array_equal(whole[60:180, 80:240], photo)
    beyond = whole[80:160, 256:].astype(int)
    assert np.ptp(beyond, axis=0).max() < 15
    assert np.abs(beyond - photo[:, 120:].mean(axis=(0, 1))).max() < 25


def test_a_camera_that_turns_to_where_the_photo_ends_sees_what_continues_it() -> None:
    photo = np.zeros((120, 160, 3), np.uint8)
    photo[:, :80], photo[:, 80:] = (200, 40, 40), (40, 40, 200)
    here, there = view(0.0, -0.4, 0.45), view(0.25, -0.4, 0.45) @ transform(np.eye(3), np.array([0.3, 0.0, 0.0]))
    picture = TablePhoto(photo, CAMERA, here, HEIGHT_M).render(CAMERA, there)
    assert np.abs(picture[40:80, -8:].astype(int) - (40, 40, 200)).max() < 30


def test_an_unknown_height_is_refused() -> None:
    with pytest.raises(ValueError, match="table_height_m must be finite"):
        TablePhoto(np.zeros((120, 160, 3), np.uint8), CAMERA, np.eye(4), float("nan"))
