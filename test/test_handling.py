"""Parts go as hands move them, whatever the network says of what it has not learned: memory, geometry and what lessons tell."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from h2w_ros.condition import Camera
from h2w_ros.geometry import apply, rotation_angle_rad, rotation_from_axis_angle, transform
from h2w_ros.things.handling import FORGOTTEN_FRAMES, HandledParts, Handling, Opens, load_handling, save_handling
from h2w_ros.things.handling_network import FEATURES, HandlingNetwork, Joint, Moment, Verdict, seen, to_frames, to_world
from h2w_ros.training.handling import Lessons, loss_of, spoiled_cloud, train_handling
from h2w_ros.training.handling_lessons import FirstLook, HandledEpisode, acts_of, opening_axis, parts_of
from h2w_ros.training.run import Budget

RNG = np.random.default_rng(0)
CLOUD = RNG.uniform(-0.03, 0.03, (80, 3)) + np.array([0.1, 0.2, 0.03])
HAND = RNG.uniform(-0.04, 0.04, (21, 3)) + np.array([0.1, 0.16, 0.07])
ASIDE, ABOVE = np.array([0.5, 0.0, 0.0]), np.array([0.0, 0.0, 0.06])
ALONG_X = transform(np.eye(3), np.array([0.01, 0.0, 0.0]))


class Rule(HandlingNetwork):
    """Says of every part what it is told to say."""

    def __init__(self, says: int, twist: tuple[float, ...] = (0.0,) * 6, turns: bool = True) -> None:
        super().__init__()
        self.says, self.twist, self.turns = says, twist, turns

    def plain(self):
        def judge(moment):
            logits = np.zeros((len(moment.points), 5))
            logits[:, self.says] = 5.0
            return Verdict(logits, np.broadcast_to(np.array(self.twist), (len(logits), 2, 6)))

        return judge

    def joint(self, link, body, joints, R):
        return Joint(torch.tensor([1.0 if self.turns else -1.0]), torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.3, 0.02]]))


def hands(T=None, side=1):
    """One hand, moved by T; the other is not there."""
    T = np.eye(4) if T is None else T
    joints, grips = np.full((2, 21, 3), np.nan), np.full((2, 4, 4), np.nan)
    joints[side], grips[side] = apply(T, HAND), T @ transform(np.eye(3), HAND.mean(0))
    return joints, grips


NOBODY = np.full((2, 21, 3), np.nan), np.full((2, 4, 4), np.nan)


def begin(network, is_link=(False,), clouds=(CLOUD,), **kwargs) -> HandledParts:
    return Handling(network).begin(list(clouds), np.array(is_link, dtype=bool), **kwargs)


def episode(num_frames=12, is_link=(False, False)):
    """A right hand that carries the first part along x from the fifth frame on; the second stands far off."""
    T = np.tile(np.eye(4), (num_frames, 1, 1))
    T[:, 0, 3] = np.maximum(np.arange(num_frames) - 4, 0) * 0.01
    seen_hands = [hands(each) for each in T]
    motions = np.stack([T, np.tile(np.eye(4), (num_frames, 1, 1))])
    clouds = np.stack([CLOUD, CLOUD + ASIDE])
    joints, grips = (np.stack([each[k] for each in seen_hands]).astype(np.float32) for k in (0, 1))
    return HandledEpisode(clouds.astype(np.float32), motions.astype(np.float32), np.array(is_link), np.full(2, -1), joints, grips)


def test_the_first_call_moves_nothing():
    assert np.array_equal(begin(Rule(2)).advance(*hands()), np.eye(4)[None])


def test_what_is_held_goes_rigidly_with_its_hand():
    parts, T = begin(Rule(2)), transform(rotation_from_axis_angle(np.array([0.1, 0.2, -0.1])), np.array([0.02, 0.01, 0.03]))
    parts.advance(*hands())
    assert np.allclose(parts.advance(*hands(T))[0], T)


def test_what_rests_never_creeps():
    parts = begin(Rule(0, twist=(0.01,) * 6))
    for frame in range(20):
        assert np.array_equal(parts.advance(*hands(transform(np.eye(3), np.array([0.001 * frame, 0, 0]))))[0], np.eye(4))


def test_what_is_pushed_goes_as_the_network_says_but_not_into_the_table():
    parts = begin(Rule(4, twist=(0.01, 0.0, -0.5, 0.0, 0.0, 0.1)))
    parts.advance(*hands())
    moved = apply(parts.advance(*hands(ALONG_X))[0], CLOUD)
    assert moved[:, 2].min() > min(0.0, CLOUD[:, 2].min()) - 2e-3
    assert moved[:, 0].mean() > CLOUD[:, 0].mean() + 0.005


@pytest.mark.parametrize("side", [0, 1])
def test_a_hand_that_is_missing_for_a_frame_still_holds(side):
    parts = begin(Rule(1 + side))
    parts.advance(*hands(side=side))
    parts.advance(*hands(ALONG_X, side))
    assert np.allclose(parts.advance(*NOBODY)[0], ALONG_X)
    further = ALONG_X @ ALONG_X @ ALONG_X
    assert np.allclose(parts.advance(*hands(further, side))[0], further)


def test_a_hand_that_jumps_or_was_long_away_takes_nothing_along():
    parts = begin(Rule(2))
    parts.advance(*hands())
    assert np.array_equal(parts.advance(*hands(transform(np.eye(3), np.array([0.5, 0.0, 0.0]))))[0], np.eye(4))
    parts = begin(Rule(2))
    parts.advance(*hands())
    for _ in range(FORGOTTEN_FRAMES + 1):
        parts.advance(*NOBODY)
    assert np.array_equal(parts.advance(*hands(ALONG_X))[0], np.eye(4))


def test_a_hand_that_jumps_drops_what_it_held_though_the_other_is_there():
    parts, far = begin(Rule(2)), transform(np.eye(3), np.array([0.0, 0.5, 0.0]))
    for T in (np.eye(4), ALONG_X, far):
        both = [np.where(np.isnan(right), left, right) for right, left in zip(hands(T), hands(side=0), strict=True)]
        moved = parts.advance(*both)
    assert np.allclose(moved[0], ALONG_X)


def test_nothing_moves_without_hands_or_parts():
    assert np.array_equal(begin(Rule(2)).advance(*NOBODY), np.eye(4)[None])
    nothing = begin(Rule(2), (), ())
    nothing.advance(*hands())
    assert nothing.advance(*hands(ALONG_X)).shape == (0, 4, 4)


def test_copies_go_their_own_ways():
    parts = begin(Rule(2))
    parts.advance(*hands())
    other = parts.copy()
    moved = other.advance(*hands(ALONG_X))
    assert not np.allclose(moved, np.eye(4))
    assert np.array_equal(parts.advance(*hands())[0], np.eye(4))


def test_a_link_turns_about_its_hinge_or_slides_level():
    lift = transform(np.eye(3), np.array([0.0, 0.0, 0.03]))
    hinged, drawer = begin(Rule(2), (True,)), begin(Rule(2, turns=False), (True,))
    for parts in (hinged, drawer):
        parts.advance(*hands())
    T = hinged.advance(*hands(lift))[0]
    assert np.allclose(apply(T, np.array([[0.0, 0.3, 0.02]])), [[0.0, 0.3, 0.02]], atol=1e-6)
    assert rotation_angle_rad(T[:3, :3]) > 0.05
    assert np.allclose(drawer.advance(*hands(lift))[0], np.eye(4))
    assert np.allclose(drawer.advance(*hands(lift @ ALONG_X))[0], ALONG_X)


def test_a_hinge_leads_the_grip_back_where_it_was():
    hinge, start, end = Opens(True, np.array([1.0, 0, 0]), np.array([0.0, 0.1, 0.0])), np.array([0.0, 0.0, 0.0]), np.array([0.05, 0.1, 0.1])
    assert np.allclose(apply(hinge.after(start, end), start[None]), [[0.0, 0.1, 0.1]])
    assert np.allclose(hinge.after(start, end) @ hinge.after(end, start), np.eye(4))


def test_links_go_with_their_bodies():
    lid = CLOUD + ABOVE
    parts = begin(Rule(4, twist=(0.02, 0, 0, 0, 0, 0)), (False, True), (CLOUD, lid), body_of_link=np.array([-1, 0]))
    parts.advance(*hands())
    T = parts.advance(*hands(ALONG_X))
    assert np.allclose(T[0, :3, 3], (0.02, 0, 0))
    assert np.allclose(T[1, :3, 3], (0.04, 0, 0)), "its own step, and that of what it opens on"


def test_bodies_of_links_are_found_by_nearness():
    parts = begin(Rule(0), (False, False, True), (CLOUD + ASIDE, CLOUD, CLOUD + ABOVE))
    assert parts._body.tolist() == [-1, -1, 1]


def test_wrong_parts_are_refused():
    with pytest.raises(ValueError, match="got 2"):
        begin(Rule(0), (False, True))
    with pytest.raises(ValueError, match="leave it out"):
        begin(Rule(0), (False,), (np.zeros((0, 3)),))


def moment(turn=0.0, mirror=False):
    """The same scene, turned about the vertical, or mirrored with the hands' sides."""
    R = rotation_from_axis_angle(np.array([0, 0, turn])) @ np.diag([-1.0 if mirror else 1.0, 1, 1])
    other = HAND + np.array([0.05, 0.02, 0.01])
    joints, before = np.stack([HAND, other]), np.stack([HAND, other]) - (0.004, 0.01, -0.002)
    if mirror:
        joints, before = joints[::-1], before[::-1]
    spin = R @ np.array([0.01, 0.02, 0.05]) * np.linalg.det(R)
    went = np.concatenate([R @ np.array([0.001, 0.002, 0.0]), spin])
    told = (CLOUD @ R.T, joints @ R.T, before @ R.T, went, np.zeros(2), np.zeros(1))
    *pairs, is_link = (torch.from_numpy(np.ascontiguousarray(each, dtype=np.float32)) for each in told)
    return Moment(*(each[None] for each in pairs), is_link)


def test_turned_and_mirrored_scenes_look_the_same_to_the_network():
    still, turned, mirrored = (seen(each)[0] for each in (moment(), moment(2.0), moment(0.5, mirror=True)))
    assert still.shape == (1, 2, FEATURES)
    assert torch.allclose(still, turned, atol=1e-3)
    assert torch.allclose(still, mirrored.flip(1), atol=1e-3)


def test_motions_told_in_a_hands_frame_come_back_the_same():
    _, frames = seen(moment(0.7))
    twist = torch.tensor([[0.01, -0.02, 0.005, 0.1, 0.05, -0.2]])
    assert torch.allclose(to_world(frames, to_frames(frames.R, twist)), twist[:, None].expand(1, 2, 6), atol=1e-6)


def test_plain_and_torch_say_the_same():
    network, torch_moment = HandlingNetwork(), moment(0.7)
    verdict, _ = network(torch_moment)
    plain = network.plain()(Moment(**{each.name: getattr(torch_moment, each.name).numpy() for each in fields(Moment)}))
    assert np.allclose(plain.logits, verdict.logits.detach().numpy(), atol=1e-4)
    assert np.allclose(plain.twists, verdict.twists.detach().numpy(), atol=1e-4)


def test_far_hands_do_nothing():
    network, near = HandlingNetwork(), moment()
    away = Moment(near.points, near.joints + 1.0, near.joints_before + 1.0, near.went, near.held, near.is_link)
    assert network(away)[0].logits.argmax(1).tolist() == [0]


def test_lessons_know_what_is_carried_and_what_rests():
    acts = acts_of(episode())
    assert acts.what[0].tolist() == [0] * 5 + [2] * 7
    assert not acts.what[1].any()


def test_the_axis_of_a_turn_is_found():
    axis, anchor = np.array([0.6, 0.8, 0.0]), np.array([0.1, -0.2, 0.3])
    turns = [rotation_from_axis_angle(axis * angle) for angle in (0.0, 0.5, 1.2)]
    found = opening_axis(np.stack([transform(R, anchor - R @ anchor) for R in turns]))
    assert found is not None
    assert found[0]
    assert abs(found[1] @ axis) == pytest.approx(1.0)
    assert np.linalg.norm(np.cross(found[2] - anchor, axis)) == pytest.approx(0.0, abs=1e-6)
    assert opening_axis(np.tile(np.eye(4), (3, 1, 1))) is None


def test_parts_are_lifted_from_the_first_picture():
    ids, links = np.zeros((20, 20), np.uint8), np.zeros((20, 20), bool)
    ids[4:12, 4:12], links[4:8] = 3, True
    look = FirstLook(ids, links, np.full((20, 20), 0.5), Camera(20, 20, 20.0, 20.0, 10.0, 10.0), np.eye(4))
    T = np.tile(np.eye(4), (3, 1, 1, 1))
    parts = parts_of(look, T, T, np.random.default_rng(0))
    assert parts["is_link"].tolist() == [False, True]
    assert parts["body"].tolist() == [-1, 0]
    assert np.allclose(parts["points"][..., 2], 0.5)
    assert parts["points"][1, :, 1].max() < 0 < parts["points"][0, :, 1].max() + 0.1


def test_spoiled_clouds_keep_their_size_and_place_roughly():
    points = torch.from_numpy(CLOUD.astype(np.float32)).expand(50, -1, -1)
    spoiled = spoiled_cloud(points, torch.Generator().manual_seed(0))
    assert spoiled.shape == points.shape
    assert 1e-4 < (spoiled.mean(1) - points.mean(1)).norm(dim=-1).mean() < 0.04


def test_training_learns_and_what_it_ships_can_be_loaded(tmp_path: Path):
    (tmp_path / "handled").mkdir()
    for seed in (1, 2, 63):
        episode().save(tmp_path / "handled" / f"{seed}.npz")
    lessons, generator = Lessons([episode()], 64), torch.Generator().manual_seed(0)
    with torch.inference_mode():
        before = float(loss_of(HandlingNetwork(), lessons, generator))
    path = train_handling(tmp_path, Budget(minutes=5.0, max_steps=20), tmp_path / "out")
    handling = load_handling(path.parent)
    assert float(loss_of(handling.network, lessons, generator)) < before


@pytest.mark.parametrize("kept_back", ["nothing", "no hand", "far off"])
def test_training_goes_on_without_an_exam_where_what_is_kept_back_asks_nothing(kept_back: str, tmp_path: Path):
    (tmp_path / "handled").mkdir()
    episode().save(tmp_path / "handled" / "1.npz")
    whole = episode()
    if kept_back != "nothing":
        away = np.full_like(whole.joints, np.nan) if kept_back == "no hand" else whole.joints + np.float32(5.0)
        grips = np.full_like(whole.T_world_grips, np.nan) if kept_back == "no hand" else whole.T_world_grips
        still = np.tile(np.eye(4, dtype=np.float32), (*whole.T_now_start.shape[:2], 1, 1))
        replace(whole, joints=away, T_world_grips=grips, T_now_start=still).save(tmp_path / "handled" / "63.npz")
    train_handling(tmp_path, Budget(minutes=5.0, max_steps=1), tmp_path / "out")
    assert not (tmp_path / "validation.csv").exists()


def test_saved_handling_says_the_same(tmp_path: Path):
    network = HandlingNetwork()
    save_handling(tmp_path, network, {})
    ours, theirs = network(moment())[0].logits, load_handling(tmp_path).network(moment())[0].logits
    assert torch.allclose(ours, theirs, atol=2e-2)
    with pytest.raises(FileNotFoundError, match="h2w train things"):
        load_handling(tmp_path / "nowhere")
