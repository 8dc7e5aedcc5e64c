import cv2
import numpy as np
import pytest
from hand_poses import camera, random_hand

from h2w_ros import geometry
from h2w_ros.camera import project
from h2w_ros.condition import Camera, HandPose
from h2w_ros.hands.drawing import HandView, clipped_segments, hand_view
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.render import HandRenderer
from h2w_ros.hands.skinning import hand_vertices_world, mirrored
from h2w_ros.hands.styles import FLAT_COLOURS, LINE_COLOUR, STYLES
from h2w_ros.rasterize import painted

HERE = np.eye(4)


def render(hands, seen_by, style="silhouette_wireframe", T_world_camera=HERE):
    return HandRenderer(style).render(hands, seen_by, T_world_camera)


def silhouette(hands, seen_by, T_world_camera=HERE):
    return HandRenderer().silhouette(hands, seen_by, T_world_camera)


def dot_view(point_camera, seen_by):
    """A hand that has shrunk to a point."""
    return HandView(load_hand_model("right"), seen_by, np.repeat(point_camera[None], 778, axis=0))


@pytest.mark.parametrize("size", [(480, 672), (96, 128), (1080, 1920)])
def test_a_projected_vertex_lands_on_its_pixel_within_half_a_pixel(size):
    seen_by = camera(*size)
    for point in np.random.default_rng(0).uniform((-0.2, -0.2, 0.4), (0.2, 0.2, 0.8), (50, 3)):
        view = dot_view(point, seen_by)
        top, _, left, _ = view.window
        row, column = np.unravel_index(view.ink[..., 0].argmax(), view.ink.shape[:2])
        distance_px = np.abs(np.array([left + column + 0.5, top + row + 0.5]) - project(seen_by, point[None])[0])
        assert (distance_px <= 0.5 + 1e-9).all()


def test_the_pixels_of_all_vertices_carry_ink():
    seen_by, hand = camera(), random_hand(1, distance_m=0.35)
    vertices_px = project(seen_by, hand_vertices_world(load_hand_model("right"), hand))
    columns, rows = np.floor(vertices_px).astype(int).T
    inside = (columns >= 0) & (columns < seen_by.width_px) & (rows >= 0) & (rows < seen_by.height_px)
    picture, covered = render([hand], seen_by), silhouette([hand], seen_by)
    kept = inside & covered[np.clip(rows, 0, 479), np.clip(columns, 0, 671)]
    assert kept.sum() > 300
    assert (picture[rows[kept], columns[kept]] != FLAT_COLOURS["right"]).any(axis=1).mean() > 0.99  # rounding may tip an end over
    assert (picture[covered] == FLAT_COLOURS["right"]).all(axis=1).mean() > 0.1, "there must be pixels without ink"


def test_the_silhouette_has_the_area_of_the_projected_hand():
    """Against OpenCV's fill at eight times the size, whose outline is thinner by as much."""
    seen_by, hand = camera(), random_hand(2)
    vertices_px = project(seen_by, hand_vertices_world(load_hand_model("right"), hand))
    canvas = np.zeros((480 * 8, 672 * 8), np.uint8)
    for triangle in np.rint((vertices_px * 8 - 0.5) * 16).astype(np.int32)[load_hand_model("right").faces]:
        cv2.fillConvexPoly(canvas, triangle, 1, cv2.LINE_8, 4)
    covered = silhouette([hand], seen_by)
    centres = canvas.reshape(480, 8, 672, 8)[:, 3:5, :, 3:5].mean(axis=(1, 3))
    assert np.count_nonzero(covered != (centres >= 0.5)) < 0.01 * covered.sum()


@pytest.mark.parametrize("seed", range(4))
def test_a_silhouette_is_the_union_of_its_faces(seed):
    """By another route: every face painted, also where some are cut away close before the camera."""
    for distance_m in (0.06, 0.15, 0.5):
        view = hand_view(load_hand_model("right"), random_hand(seed, distance_m=distance_m), camera(96, 128), HERE)
        faces = painted(view.runs, np.ones(len(view.faces)), view.window, view.far_to_near)
        np.testing.assert_array_equal(view.silhouette, faces > 0)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [(480, 672), (96, 128)])
def test_every_style_colours_the_same_pixels(style, size):
    hands = [random_hand(3), random_hand(4, "left")]
    np.testing.assert_array_equal(render(hands, camera(*size), style).any(axis=2), silhouette(hands, camera(*size)))


def test_right_is_red_and_left_is_blue_with_the_papers_colours():
    for side in ("right", "left"):
        picture = render([random_hand(5, side)], camera())
        colours, counts = np.unique(picture[silhouette([random_hand(5, side)], camera())], axis=0, return_counts=True)
        assert {tuple(map(int, colour)) for colour in colours[counts.argsort()[-4:]]} >= {FLAT_COLOURS[side], LINE_COLOUR}
        red, _, blue = picture.reshape(-1, 3).astype(int).sum(axis=0)
        assert (red > 1.5 * blue) if side == "right" else (blue > 1.5 * red)


def test_small_pictures_keep_the_hands_colour():
    red, _, blue = render([random_hand(5)], camera(96, 128)).reshape(-1, 3).astype(int).sum(axis=0)
    assert red > 2 * blue


def test_where_hands_overlap_each_channel_takes_its_maximum():
    right, left = random_hand(6), random_hand(6, "left")
    both = render([right, left], camera())
    np.testing.assert_array_equal(both, np.maximum(render([right], camera()), render([left], camera())))
    assert ((both[..., 0] == 200) & (both[..., 2] == 200)).any()
    np.testing.assert_array_equal(both, render([left, right], camera()))


def test_a_mirrored_hand_gives_the_mirrored_silhouette():
    centred = Camera(128, 96, 90.0, 90.0, 64.0, 48.0)
    hand = random_hand(7)
    ours, theirs = silhouette([hand], centred), silhouette([mirrored(hand)], centred)[:, ::-1]
    assert np.count_nonzero(ours != theirs) <= 2  # centres exactly on an edge


def test_moving_the_principal_point_moves_the_picture():
    first, second = Camera(672, 480, 400.0, 400.0, 330.25, 240.5), Camera(672, 480, 400.0, 400.0, 337.25, 236.5)
    a, b = render([random_hand(8)], first), render([random_hand(8)], second)
    np.testing.assert_array_equal(np.roll(a, (-4, 7), axis=(0, 1)), b)


def test_moving_camera_and_hand_together_changes_nothing():
    T = geometry.transform(geometry.rotation_from_axis_angle(np.array([0.5, 2.0, -1.0])), np.array([3.0, -1.0, 0.7]))
    hand = random_hand(9)
    moved = HandPose("right", T @ hand.T_world_wrist, hand.joint_angles_rad, hand.betas)
    assert np.mean(render([hand], camera()) != render([moved], camera(), T_world_camera=T)) < 1e-3


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "wrist_m",
    [
        (0.0, 0.0, -0.5),  # behind the camera
        (0.0, 0.0, 0.0),  # around it
        (0.05, 0.0, 0.08),  # partly too near
        (0.0, 0.0, 0.13),  # fills the picture
        (40.0, 0.0, 0.5),  # far to the side
        (0.0, 1e6, 0.5),
        (1e30, -1e30, 1e30),
        (0.0, 0.0, 1e9),  # smaller than a pixel
    ],
)
def test_no_place_of_a_hand_breaks_the_drawing(style, wrist_m):
    T_world_wrist = geometry.transform(geometry.rotation_from_axis_angle(np.array([0.3, 1.0, 0.2])), np.array(wrist_m))
    hand = HandPose("right", T_world_wrist, np.zeros(45), np.zeros(10))
    picture = render([hand], camera(96, 128), style)
    assert picture.shape == (96, 128, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture.any(axis=2), silhouette([hand], camera(96, 128)))
    assert picture.any() == (wrist_m in ((0.05, 0.0, 0.08), (0.0, 0.0, 0.13), (0.0, 0.0, 0.0)))


def test_lines_that_leave_the_canvas_far_are_drawn_where_they_cross_it():
    long_lens = Camera(128, 96, 60000.0, 60000.0, 64.0, 48.0)  # faces are wider than the picture
    vertices = hand_vertices_world(load_hand_model("right"), random_hand(10))
    view = HandView(load_hand_model("right"), long_lens, vertices - vertices.mean(axis=0) + (0.0, 0.0, 0.5))
    assert np.abs(view.vertices_px).max() > 2000
    # The fixed-point limit lies far above; drawn without cutting, the picture must be the same.
    whole = np.zeros((96 * 8, 128 * 8), np.uint8)
    edges = (view.vertices_px * 8 - 0.5)[view.model.edges.vertices]
    cv2.polylines(whole, list(np.rint(edges * 16).astype(np.int32)), False, 255, 1, cv2.LINE_8, 4)
    top, bottom, left, right = view.window
    expected = cv2.resize(whole, (128, 96), interpolation=cv2.INTER_AREA)[top:bottom, left:right] / 255
    assert np.abs(view.ink[..., 0] - expected).max() < 0.3
    assert np.abs(view.ink[..., 0] - expected).mean() < 0.01


def test_cut_segments_stay_on_their_lines_and_in_their_box():
    segments = np.random.default_rng(11).uniform(-30, 40, (500, 2, 2))
    segments[:20, 1, 0] = segments[:20, 0, 0]
    segments[20:40, 1] = segments[20:40, 0]
    low, high = np.zeros(2), np.array([10.0, 8.0])
    cut = clipped_segments(segments, low, high)
    assert (cut >= low - 1e-9).all()
    assert (cut <= high + 1e-9).all()
    samples = segments[:, :1] + np.linspace(0, 1, 400)[None, :, None] * (segments[:, 1:] - segments[:, :1])
    inside = ((samples > low) & (samples < high)).all(axis=2)
    assert len(cut) >= np.count_nonzero(inside.any(axis=1))
    total_px = np.linalg.norm(cut[:, 1] - cut[:, 0], axis=1).sum()
    expected_px = (inside.mean(axis=1) * np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1)).sum()
    assert total_px == pytest.approx(expected_px, rel=0.01)


def test_solid_shows_the_nearest_surface():
    """A palm that looks at the camera hides the back of the hand: dark where the finger's side is seen, never two layers added."""
    picture = render([random_hand(12)], camera(), "solid")
    shades = np.unique(picture[..., 0][picture.any(axis=2)])
    assert shades.min() >= int(0.3 * 255)
    assert shades.max() <= 255
    assert not picture[..., 1:].any()


def test_no_hands_give_a_black_picture():
    assert not render([], camera(96, 128)).any()


@pytest.mark.parametrize(("field", "value"), [("style", "neon"), ("backend", "blender")])
def test_unknown_names_are_refused_with_the_known_ones(field, value):
    with pytest.raises(ValueError, match=rf"must be one of .*, got '{value}'"):
        HandRenderer(**{field: value})


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_pytorch3d_draws_the_same_pictures(style):
    pytest.importorskip("pytorch3d")
    moments = [([random_hand(seed), random_hand(seed + 50, "left")], camera(120, 168), HERE) for seed in range(2)]
    moments.append(([random_hand(20, distance_m=0.12)], camera(48, 64), HERE))
    ours = HandRenderer(style).render_batch(moments)
    theirs = HandRenderer(style, backend="pytorch3d").render_batch(moments)
    for a, b in zip(ours, theirs, strict=True):
        assert np.count_nonzero(a.any(axis=2) != b.any(axis=2)) <= 0.01 * a.any(axis=2).sum()
        covered = a.any(axis=2)
        assert np.abs(a[covered].astype(float) - b[covered]).mean() < 10
