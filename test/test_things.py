"""Things on a table: lifted from a picture into parts, moved by hands, and drawn where they are by now."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from h2w_ros.camera import Resize
from h2w_ros.condition import Camera
from h2w_ros.conditioning import SceneSeen
from h2w_ros.evaluation.things import things_of
from h2w_ros.generator.presets import preset
from h2w_ros.geometry import apply, look_at, transform
from h2w_ros.hands.grip import grips_world, joints_world
from h2w_ros.hands.render import HandRenderer
from h2w_ros.things.handling import HandledParts, Handling, load_handling
from h2w_ros.things.handling_network import HandlingNetwork
from h2w_ros.things.lifting import Lifter, Look, load_lifter, points_of, rays_of, save_lifter, table_depth_m
from h2w_ros.things.lifting_network import LiftingConfig, LiftingNetwork
from h2w_ros.things.outlines import outlined
from h2w_ros.things.parts import MIN_PIXELS, Part, grouped
from h2w_ros.things.table_scene import TableScene

CAMERA = Camera(128, 128, 110.0, 140.0, 63.0, 66.0)
HERE = look_at(np.array([0.0, -0.35, 0.4]), np.array([0.0, 0.05, 0.0]), np.array([0.0, 0.0, 1.0]))
VIEW = CAMERA, HERE
NO_HANDS = np.full((2, 21, 3), np.nan), np.full((2, 4, 4), np.nan)
NOTHING_HIDDEN = np.zeros((128, 128), bool)
TABLE = np.full((128, 128, 3), 90, np.uint8)
RED = np.array([220, 30, 30], np.uint8)


def block_at(x: float, y: float, size_m: float = 0.06) -> Part:
    """A flat red square that lies on the table."""
    steps = np.linspace(-size_m / 2, size_m / 2, 30)
    points = np.stack([*(axis.ravel() for axis in np.meshgrid(x + steps, y + steps)), np.full(900, 0.01)], axis=-1)
    return Part(points.astype(np.float32), np.tile(RED, (900, 1)), np.full(900, 0.002, np.float32), is_link=False)


class Seen(Lifter):
    """Finds what it was told to."""

    def __init__(self, *parts: Part) -> None:
        super().__init__(LiftingNetwork())
        self.parts = parts

    def look(self, _picture, is_hand, *_):
        return Look(list(self.parts), is_hand)


class Going(HandledParts):
    """The first part goes aside after the first frame, the others rest."""

    frame = -1

    def advance(self, _joints, _grips):
        self.frame += 1
        poses = np.tile(np.eye(4), (len(self._points), 1, 1))
        if self.frame > 0:
            poses[:1] = transform(np.eye(3), np.array([0.12, 0.0, 0.0]))
        return poses


class Moves(Handling):
    """A handling whose answers are known."""

    def __init__(self) -> None:
        super().__init__(HandlingNetwork())

    def begin(self, points_world, is_link, body_of_link=None):
        assert len(points_world) == len(is_link)
        return Going(self, np.zeros((len(is_link), 1, 3)), np.asarray(is_link, bool), np.full(len(is_link), -1))


def scene_of(*parts: Part) -> TableScene:
    scene = TableScene(Seen(*parts), Moves(), 0.0)
    scene.take(scene.look(TABLE, NOTHING_HIDDEN, VIEW), VIEW, *NO_HANDS)
    return scene


def middle_of(picture: np.ndarray) -> np.ndarray:
    v, u = np.nonzero((picture == RED).all(-1))
    return np.array([u.mean(), v.mean()])


def pixel_of(point: tuple[float, float, float]) -> np.ndarray:
    x, y, z = apply(np.linalg.inv(HERE), np.array(point))
    return np.array([CAMERA.fx * x / z + CAMERA.cx - 0.5, CAMERA.fy * y / z + CAMERA.cy - 0.5])


def test_pixels_that_vote_for_one_middle_are_one_part() -> None:
    wanted, offsets = np.zeros((64, 64), bool), np.zeros((2, 64, 64), np.float32)
    rng = np.random.default_rng(0)
    for left, right in ((5, 25), (26, 50)):  # side by side, without a gap that would tell them apart
        wanted[20:40, left:right] = True
        rows, columns = np.mgrid[20:40, left:right]
        offsets[:, 20:40, left:right] = (left + right) / 2 - columns, 30 - rows
    offsets += rng.normal(0, 1.0, offsets.shape).astype(np.float32)
    groups = grouped(wanted, offsets)
    assert set(np.unique(groups)) == {-1, 0, 1}
    assert (groups[~wanted] == -1).all()
    assert {int(np.median(groups[20:40, 5:25])), int(np.median(groups[20:40, 26:50]))} == {0, 1}


def test_a_piece_in_the_midst_of_a_part_belongs_to_it_and_one_beside_it_does_not() -> None:
    wanted, offsets = np.zeros((64, 64), bool), np.zeros((2, 64, 64), np.float32)
    wanted[20:40, 10:30] = wanted[20:40, 30:36] = True
    rows, columns = np.mgrid[:64, :64]
    whole, piece, beside = (slice(20, 40), slice(10, 30)), (slice(26, 32), slice(12, 18)), (slice(20, 40), slice(30, 36))
    for part, (middle_row, middle_column) in ((whole, (30, 20)), (piece, (29, 8)), (beside, (30, 33))):
        offsets[0][part], offsets[1][part] = (middle_column - columns)[part], (middle_row - rows)[part]
    groups = grouped(wanted, offsets)
    assert len(np.unique(groups[whole])) == 1
    assert len(np.unique(groups[beside])) == 1
    assert sorted(np.unique(groups)) == [-1, 0, 1]


def test_a_mirrored_picture_is_lifted_to_the_mirrored_parts() -> None:
    rng = np.random.default_rng(0)
    lifter = load_lifter()
    size = lifter.config.width_px
    camera, here = Camera(size, size, 100.0, 100.0, size / 2, size / 2), HERE
    picture = cv2.GaussianBlur(rng.integers(0, 255, (size, size, 3), dtype=np.uint8), (0, 0), 6)
    no_hand = np.zeros((size, size), bool)
    one = lifter.surfaces(picture, no_hand, camera, here)
    other = lifter.surfaces(np.ascontiguousarray(picture[:, ::-1]), no_hand, camera, here).mirrored()
    torch.testing.assert_close(one.kinds, other.kinds, atol=1e-3, rtol=0)
    torch.testing.assert_close(one.offsets_px, other.offsets_px, atol=1e-2, rtol=0)


def test_too_few_pixels_are_no_part() -> None:
    wanted = np.zeros((64, 64), bool)
    wanted[3, : MIN_PIXELS - 1] = True
    assert (grouped(wanted, np.zeros((2, 64, 64), np.float32)) == -1).all()


def test_a_surface_on_the_table_lies_on_the_table_and_a_nearer_one_above_it() -> None:
    on_it, _ = points_of(np.zeros((128, 128), np.float32), CAMERA, HERE)
    _, meets = table_depth_m(rays_of(CAMERA), HERE)
    assert meets.mean() > 0.5
    assert np.abs(on_it[meets][:, 2]).max() < 1e-5
    above, radii_m = points_of(np.full((128, 128), np.log(0.9), np.float32), CAMERA, HERE)
    assert np.allclose(above[meets][:, 2], 0.1 * HERE[2, 3], atol=1e-5)
    below, _ = points_of(np.full((128, 128), 0.3, np.float32), CAMERA, HERE)
    assert below[meets][:, 2].min() > -1e-5  # nothing is under the table
    assert (radii_m > 0).all()


def test_an_outline_is_found_where_colours_change() -> None:
    picture = np.full((128, 128, 3), 60, np.uint8)
    picture[40:70, 50:90] = (200, 180, 20)
    seems = np.zeros((128, 128), bool)
    seems[42:72, 48:87] = True
    found = outlined(picture, seems, NOTHING_HIDDEN)
    true = (picture != 60).any(-1)
    assert (found & true).sum() / (found | true).sum() > 0.97
    hidden = np.zeros((128, 128), bool)
    hidden[:, :60] = True
    assert not outlined(picture, seems & ~hidden, hidden)[hidden].any()


def test_nothing_has_no_outline() -> None:
    assert not outlined(TABLE, NOTHING_HIDDEN, NOTHING_HIDDEN).any()


def test_a_moved_thing_is_drawn_where_it_is_by_now_and_no_longer_where_it_was() -> None:
    scene = scene_of(block_at(-0.06, 0.05), block_at(0.0, 0.17))
    assert np.linalg.norm(middle_of(scene_of(block_at(-0.06, 0.05)).over_bare_table(TABLE, VIEW)) - pixel_of((-0.06, 0.05, 0.01))) < 0.7
    scene.advance(*NO_HANDS)
    drawn = scene.over_bare_table(TABLE, VIEW)
    alone = scene_of(block_at(-0.06, 0.05))
    alone.advance(*NO_HANDS)
    assert np.linalg.norm(middle_of(alone.over_bare_table(TABLE, VIEW)) - pixel_of((0.06, 0.05, 0.01))) < 0.7
    u, v = pixel_of((-0.06, 0.05, 0.01)).round().astype(int)
    assert (drawn[v, u] == 90).all()
    u, v = pixel_of((0.0, 0.17, 0.01)).round().astype(int)
    assert (drawn[v, u] == RED).all()  # what rests stays


def test_over_a_render_of_the_untouched_scene_only_what_moved_is_drawn() -> None:
    untouched = np.full((128, 128, 3), 10, np.uint8)
    scene = scene_of(block_at(-0.06, 0.05), block_at(0.0, 0.17))
    assert scene.over_untouched(untouched, TABLE, VIEW) is untouched  # nothing has moved
    scene.advance(*NO_HANDS)
    drawn = scene.over_untouched(untouched, TABLE, VIEW)
    was, is_now, rests = (pixel_of(place).round().astype(int) for place in ((-0.06, 0.05, 0.01), (0.06, 0.05, 0.01), (0.0, 0.17, 0.01)))
    assert (drawn[was[1], was[0]] == 90).all()
    assert (drawn[is_now[1], is_now[0]] == RED).all()
    assert (drawn[rests[1], rests[0]] == 10).all()


def test_holes_of_a_render_show_the_table_with_its_things() -> None:
    untouched, known = np.full((128, 128, 3), 10, np.uint8), np.ones((128, 128), bool)
    at_rest = pixel_of((0.0, 0.17, 0.01)).round().astype(int)
    known[at_rest[1] - 12 : at_rest[1] + 12, at_rest[0] - 12 : at_rest[0] + 12] = False
    scene = scene_of(block_at(-0.06, 0.05), block_at(0.0, 0.17))
    scene.advance(*NO_HANDS)
    shown = SceneSeen(untouched, known, TABLE).by_now(scene, VIEW)
    is_now = pixel_of((0.06, 0.05, 0.01)).round().astype(int)
    assert (shown[at_rest[1], at_rest[0]] == RED).all()
    assert (shown[is_now[1], is_now[0]] == RED).all()
    assert (shown[5, 5] == 10).all()


def test_what_hands_hide_in_a_new_picture_stays_as_it_was_known() -> None:
    scene = scene_of(block_at(-0.06, 0.05), block_at(0.1, 0.05))
    hidden = np.zeros((128, 128), bool)
    hidden[:, :64] = True
    scene._lifter.parts = (block_at(0.1, 0.05),)
    shown = scene.take(scene.look(TABLE, hidden, VIEW), VIEW, *NO_HANDS)
    assert not shown[:, :60].any()
    drawn = scene.over_bare_table(TABLE, VIEW)
    for x in (-0.06, 0.1):
        u, v = pixel_of((x, 0.05, 0.01)).round().astype(int)
        assert (drawn[v, u] == RED).all()


def test_branches_go_their_own_ways_and_a_new_stream_knows_nothing() -> None:
    scene = scene_of(block_at(-0.06, 0.05))
    twin = scene.branch()
    twin.advance(*NO_HANDS)
    assert not np.array_equal(twin.over_bare_table(TABLE, VIEW), scene.over_bare_table(TABLE, VIEW))
    assert (scene.begin().over_bare_table(TABLE, VIEW) == 90).all()


def test_the_table_may_be_at_any_height() -> None:
    raised = transform(np.eye(3), np.array([0.0, 0.0, 0.72]))
    scene = TableScene(Seen(block_at(-0.06, 0.05)), Moves(), 0.72)
    view = CAMERA, raised @ HERE
    scene.take(scene.look(TABLE, NOTHING_HIDDEN, view), view, *NO_HANDS)
    assert np.array_equal(scene.over_bare_table(TABLE, view), scene_of(block_at(-0.06, 0.05)).over_bare_table(TABLE, VIEW))


def test_a_saved_network_is_the_same_and_a_missing_one_says_how_to_make_it(tmp_path: Path) -> None:
    network = LiftingNetwork(LiftingConfig(32, 32, (8, 8, 8)))
    save_lifter(tmp_path, network, {"episodes": 0})
    again = load_lifter(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    small = Camera(32, 32, 30.0, 30.0, 16.0, 16.0)
    pictures = [lifter.surfaces(picture, np.zeros((32, 32), bool), small, HERE).kinds for lifter in (again, Lifter(network))]
    assert np.allclose(*pictures, atol=2e-3)  # half precision
    with pytest.raises(FileNotFoundError, match="h2w train things"):
        load_lifter(tmp_path / "nowhere")


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="width_px must be a multiple of 16"):
        LiftingConfig(width_px=100)


@pytest.mark.slow
def test_the_shipped_networks_take_along_what_a_hand_carries_in_simulated_episodes() -> None:
    """Over a few held-out episodes, things that moved are drawn nearer to where they are than where they were."""
    pytest.importorskip("mujoco")
    from h2w_ros.evaluation.episodes import Source

    config = preset("tiny")
    source = Source(config, 33)
    try:
        episodes = list(source.simulated(900_010, 8, 0))
    except OSError as error:
        pytest.skip(str(error))
    ways, errors = [], []
    for episode in episodes:
        first = episode.conditions[0]
        scene = TableScene(load_lifter(), load_handling(), episode.table_height_m)
        hands = [(joints_world(c.hands), grips_world(c.hands)) for c in episode.conditions]
        drawn = HandRenderer(style="solid").render(first.hands, first.camera, first.T_world_camera).any(-1)
        view = first.camera, first.T_world_camera
        scene.take(scene.look(episode.pictures[0], drawn, view), view, *hands[0])
        for points in hands:
            scene.advance(*points)
        for thing in (each for each in things_of(episode) if each.moves):
            found = place_of(scene, thing.mask, first)
            last = np.flatnonzero(np.isfinite(thing.place_px).all(-1))[-1]
            if last < 32 or found is None or not np.isfinite(thing.unmoved_px[last]).all():
                continue
            there = replace(first, T_world_camera=episode.conditions[last].T_world_camera)
            place = pixel_in(scene, found, there)
            ways.append(np.linalg.norm(thing.unmoved_px[last] - thing.place_px[last]))
            errors.append(np.linalg.norm(place - thing.place_px[last]))
    far = np.array(ways) > 4.0
    assert far.sum() >= 2
    assert np.mean(np.array(errors)[far]) < 0.8 * np.mean(np.array(ways)[far])


def place_of(scene: TableScene, mask: np.ndarray, first) -> int | None:
    """The part that most of the mask's pixels belong to."""
    best, most = None, 0
    for index, part in enumerate(scene._now.parts):
        shown = scene._splatted([part.points_world], [part], (first.camera, first.T_world_camera)).known
        if (shown & mask).sum() > most:
            best, most = index, (shown & mask).sum()
    return best


def pixel_in(scene: TableScene, index: int, condition) -> np.ndarray:
    x, y, z = apply(np.linalg.inv(condition.T_world_camera), scene._now.places()[index].mean(0))
    camera = Resize(condition.camera.width_px, condition.camera.height_px).camera(condition.camera)
    return np.array([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy])


@pytest.mark.slow
def test_both_networks_are_trained_from_simulated_episodes_and_go_on_where_they_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mujoco")
    from h2w_ros.training import things_data
    from h2w_ros.training.run import Budget
    from h2w_ros.training.things import train_things

    monkeypatch.setattr(things_data, "SPEC", replace(things_data.SPEC, num_frames=19))
    for steps in (1, 2):
        try:
            made = list(train_things(tmp_path / "run", 3, 0, Budget(1.0, steps), tmp_path / "things"))
        except OSError as error:
            pytest.skip(str(error))
        assert [path.name for path in made] == ["lifting.safetensors", "handling.safetensors"]
    assert isinstance(load_lifter(tmp_path / "things"), Lifter)
    assert isinstance(load_handling(tmp_path / "things"), Handling)
    for stage in ("lifting", "handling"):
        assert '"step": 2' in (tmp_path / "run" / stage / "progress.json").read_text()


def test_what_each_pixel_should_answer() -> None:
    from h2w_ros.training.lifting import UNTOLD, answers

    ids, links = np.zeros((32, 32), np.uint8), np.zeros((32, 32), bool)
    ids[4:12, 4:20], links[4:8, 4:20], ids[20, 20] = 3, True, 4
    kinds, offsets = answers(ids, links)
    assert set(kinds[0]) == {0}
    assert set(kinds[4:8, 4:20].ravel()) == {2}
    assert set(kinds[8:12, 4:20].ravel()) == {1}
    assert kinds[20, 20] == UNTOLD
    rows, columns = np.mgrid[4:8, 4:20]
    assert np.allclose(columns + offsets[0, 4:8, 4:20], 11.5)
    assert np.allclose(rows + offsets[1, 4:8, 4:20], 5.5)


def test_more_episodes_than_there_are_seeds_are_refused_before_any_work(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    from h2w_ros.training.run import Budget
    from h2w_ros.training.things import train_things

    with pytest.raises(ValueError, match=r"episodes must be in 1\.\.20000 .* got 30000"):
        next(train_things(tmp_path / "run", 30000, 0, Budget(1.0, 1), tmp_path / "things"))
    assert not (tmp_path / "run").exists()
