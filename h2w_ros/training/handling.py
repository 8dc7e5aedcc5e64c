"""Trains the handling of things on what simulated hands do to simulated parts.

Shapes: P parts of all episodes together, T frames, n points, B questions at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor

from h2w_ros.things.handling import FINGERTIPS, save_handling
from h2w_ros.things.handling_network import HandlingNetwork, Moment, level_axes
from h2w_ros.training.handling_lessons import GOES_M, HandledEpisode, T_body_link, acts_of, opening_axis, steps_of
from h2w_ros.training.run import Budget, RunFolder, optimisers, train
from h2w_ros.training.truth_files import files_of, taught_and_kept_back
from h2w_ros.world.spec import WORLD_VERSION

BATCH, BATCH_OPENINGS = 512, 48
LEARNING_RATE = 2.5e-3
WARMUP_STEPS = 50
WEIGHT_DECAY = 1e-3
EMA_DECAY = 0.998
NEAR_M = 0.15
"""Of hands that are farther there is nothing to learn."""
PUSH_WEIGHT, HINGE_WEIGHT, OPENING_WEIGHT = 200.0, 10.0, 0.15
"""Of metres, beside the cross-entropy of what happens."""
TOLD_TURN_RAD = 0.8
"""Hinges are compared by what a turn of this angle does to the link."""
VALIDATION_BATCHES = 4


@dataclass(frozen=True, eq=False)
class Questions:
    """What hands are about to do to B parts, and what came of it."""

    moment: Moment
    what: Tensor  # (B,) as in `Acts`
    weight: Tensor  # (B,)
    step: Tensor  # (B, 4, 4): the part's motion within the frame, in the world


@dataclass(frozen=True, eq=False)
class Openings:
    """Links that hands have taken, and how they open, in the world [m]."""

    link: Tensor  # (B, n, 3)
    body: Tensor  # (B, m, 3), nan where it is not known
    joints: Tensor  # (B, 21, 3) of the hand
    turns: Tensor  # (B,)
    axis: Tensor  # (B, 3)
    anchor: Tensor  # (B, 3)


class Lessons:
    """All frames of some episodes in which a hand is near a part, and those in which links open."""

    def __init__(self, episodes: Sequence[HandledEpisode], num_points: int) -> None:
        episodes = [episode for episode in episodes if len(episode.points)]
        if not episodes:
            raise ValueError("there must be episodes with parts to learn from, got none; simulate some first")
        self._half = num_points // 2
        first = np.cumsum([0, *(len(episode.points) for episode in episodes)])
        self._hands, self._episode = (
            _tensor([each.joints for each in episodes]),
            torch.from_numpy(np.repeat(np.arange(len(episodes)), np.diff(first))),
        )
        self._points, self._T = _joined([each.points for each in episodes]), _joined([each.T_now_start for each in episodes])
        self._step = _joined([steps_of(each.T_now_start.astype(np.float64)) for each in episodes])
        self._is_link = _joined([each.is_link for each in episodes])
        bodies = np.concatenate([np.where(each.body >= 0, each.body + start, -1) for each, start in zip(episodes, first, strict=False)])
        self._body, self._other = torch.from_numpy(bodies), torch.from_numpy(_other_of(bodies))
        acts = [acts_of(each) for each in episodes]
        self._what, self._weight = torch.from_numpy(np.concatenate([each.what for each in acts])), _joined([each.weight for each in acts])
        self._distance = _joined([each.distance_m for each in acts])
        self._axes = self._all_axes(episodes)
        self._rows, self._chances = self._worth_asking()
        self.can_ask = bool(self._chances.sum() > 0)
        """Whether a hand is ever near a part."""
        self._opened = self._opening_rows()

    def _all_axes(self, episodes: Sequence[HandledEpisode]) -> Float[Tensor, "P 7"]:
        """Of each link whether it turns, its axis and anchor; nan for what does not open."""
        rows = []
        for episode in episodes:
            for part, is_link in enumerate(episode.is_link):
                known = opening_axis(T_body_link(episode, part)) if is_link else None
                rows.append(np.full(7, np.nan) if known is None else np.concatenate([[known[0]], known[1], known[2]]))
        return _tensor(rows)

    def _worth_asking(self) -> tuple[Int[Tensor, "r 2"], Float[Tensor, "r"]]:
        """Parts and frames to learn from, and how often to ask them: what moves, and what has just been taken or let go, more often."""
        frames = torch.arange(self._what.shape[1])
        rows = ((self._weight > 0) & (frames > 0) & ((self._distance.amin(-1) < NEAR_M) | (self._what > 0))).nonzero()
        what, weight = (each[rows[:, 0], rows[:, 1]] for each in (self._what, self._weight))
        chances = torch.tensor((1.0, 3.0, 3.0, 4.0, 4.0))[what]
        return rows, torch.where(weight >= 1.5, 2 * chances, chances)

    def _opening_rows(self) -> Int[Tensor, "r 2"]:
        """Links and frames in which a hand opens them."""
        goes = (self._step - torch.eye(4)).abs().amax((-1, -2)) > 4 * GOES_M
        opens = self._axes.isfinite().all(-1)[:, None] & goes & (self._what > 0) & (self._weight > 0)
        side = (self._what - 1).clamp(min=0) % 2
        there = self._hands[self._episode].isfinite().all(-1).all(-1).gather(2, side[..., None])[..., 0]
        return (opens & there & there.roll(1, 1)).nonzero()

    def questions(self, count: int, generator: torch.Generator, spoil: bool = True) -> Questions:
        """Random ones; spoiled as a cloud is that a network saw in one picture, and as a stream's memory of what was held."""
        part, frame = self._rows[torch.multinomial(self._chances, count, replacement=True, generator=generator)].unbind(1)
        before, other = frame - 1, self._other[part]
        points = torch.cat([self._at(part, before, self._half, generator), self._at(other, before, self._half, generator)], dim=1)
        step_before, middle = self._step[part, before], points.mean(1)
        went = torch.cat([middle - _place_before(step_before, middle), _small_turn(step_before)], dim=-1)
        held = torch.stack([self._what[part, before] == side for side in (1, 2)], dim=1).float()
        now, past = (self._hands[self._episode[part], k] for k in (frame, before))
        if spoil:
            points, went, held = spoiled_cloud(points, generator), *spoiled_memory(went, held, generator)
        moment = Moment(points, now, past, went, held, self._is_link[part])
        return Questions(moment, self._what[part, frame], self._weight[part, frame], self._step[part, frame])

    def openings(self, count: int, generator: torch.Generator) -> Openings | None:
        """Random ones, mirrored as often as not; None where nothing opens."""
        if len(self._opened) == 0:
            return None
        part, frame = self._opened[torch.randint(len(self._opened), (count,), generator=generator)].unbind(1)
        body, before = self._body[part], frame - 1
        link, own = self._at(part, before, 2 * self._half, generator), self._at(body.clamp(min=0), before, self._half, generator)
        lost = (body < 0) | (torch.rand(count, generator=generator) < 0.1)
        own = torch.where(lost[:, None, None], torch.nan, own)
        T = torch.where((body >= 0)[:, None, None], self._T[body.clamp(min=0), before], torch.eye(4))
        turns, axis, anchor = self._axes[part].split((1, 3, 3), dim=-1)
        side = (self._what[part, frame] - 1) % 2
        joints = _turned_hand(self._hands[self._episode[part], before, side], generator)
        mirror = torch.where(torch.rand(count, 1, generator=generator) < 0.5, -1.0, 1.0)
        mirror = torch.cat([mirror, torch.ones(count, 2)], dim=1)
        axis, anchor = (T[:, :3, :3] @ axis[..., None])[..., 0], (T[:, :3, :3] @ anchor[..., None])[..., 0] + T[:, :3, 3]
        link, own, joints = (each * mirror[:, None] for each in (spoiled_cloud(link, generator, hide=False), own, joints))
        return Openings(link, own, joints, turns[:, 0], axis * mirror, anchor * mirror)

    def _at(self, part: Int[Tensor, "B"], frame: Int[Tensor, "B"], count: int, generator: torch.Generator) -> Float[Tensor, "B n 3"]:
        """Random points of parts, where they were in this frame."""
        chosen = torch.randint(self._points.shape[1], (len(part), count), generator=generator)
        T = self._T[part, frame]
        return self._points[part[:, None], chosen] @ T[:, :3, :3].mT + T[:, None, :3, 3]


def train_handling(folder: Path, budget: Budget, out: Path, seed: int = 0) -> Path:
    """Learns from `folder/handled` (npz of HandledEpisode), goes on with the run in `folder`, and ships its averaged weights; the file's path."""
    taught, kept_back = taught_and_kept_back(files_of(folder / "handled"))
    torch.manual_seed(seed)
    network, run = HandlingNetwork(), RunFolder(folder)
    run.announce({"stage": "handling", "seed": seed, "episodes": len(taught), "world_version": WORLD_VERSION})
    lessons = Lessons([HandledEpisode.load(path) for path in taught], network.config.points)
    generator = torch.Generator().manual_seed(seed + run.progress().step)

    def loss(_step: int, _spent: float) -> Tensor:
        return loss_of(network, lessons, generator)

    chosen = optimisers(network, LEARNING_RATE, None, WEIGHT_DECAY)
    progress = train(network, run, loss, chosen, budget, WARMUP_STEPS, EMA_DECAY, _exam(network, kept_back, seed))
    network.load_state_dict(load_file(folder / "average.safetensors"))
    return save_handling(out, network, {"episodes": len(taught), "world_version": WORLD_VERSION, **asdict(progress)})


def _exam(network: HandlingNetwork, files: Sequence[Path], seed: int) -> Callable[[], float] | None:
    """The loss on the episodes that are kept back; None while there are none in which anything is seen to be handled."""
    episodes = [episode for path in files if len((episode := HandledEpisode.load(path)).points)]
    if not episodes:
        return None
    lessons = Lessons(episodes, network.config.points)
    if not lessons.can_ask:
        return None

    @torch.inference_mode()
    def loss() -> float:
        generator = torch.Generator().manual_seed(seed)
        return float(np.mean([float(loss_of(network, lessons, generator)) for _ in range(VALIDATION_BATCHES)]))

    return loss


def loss_of(network: HandlingNetwork, lessons: Lessons, generator: torch.Generator) -> Tensor:
    """The loss of some random questions and openings."""
    loss = question_loss(network, lessons.questions(BATCH, generator))
    openings = lessons.openings(BATCH_OPENINGS, generator)
    return loss if openings is None else loss + opening_loss(network, openings)


def question_loss(network: HandlingNetwork, asked: Questions) -> Tensor:
    """How unlikely it finds what happens, and how far from the truth [m] it pushes what is pushed."""
    verdict, frames = network(asked.moment)
    surprise = (F.cross_entropy(verdict.logits, asked.what, reduction="none") * asked.weight).mean()
    is_pushed = asked.what >= 3
    if not is_pushed.any():
        return surprise
    twist = verdict.twists[torch.arange(len(asked.what)), (asked.what - 3).clamp(min=0)]
    points, middle = asked.moment.points, frames.middle[:, None]
    ours = (points - middle) @ rotations(twist[:, 3:]).mT + middle + twist[:, None, :3]
    truth = points @ asked.step[:, :3, :3].mT + asked.step[:, None, :3, 3]
    return surprise + PUSH_WEIGHT * (ours - truth).norm(dim=-1).mean(1)[is_pushed].mean()


def opening_loss(network: HandlingNetwork, asked: Openings) -> Tensor:
    """Whether it knows hinges from slides, and how far from the truth [m] a turn about its hinge leads the link."""
    joint = network.joint(asked.link, asked.body, asked.joints, level_axes(asked.joints))
    sign = torch.where((joint.axis * asked.axis).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    ends = []
    for axis, anchor in ((joint.axis * sign, joint.anchor), (asked.axis, asked.anchor)):
        ends.append((asked.link - anchor[:, None]) @ rotations(axis * TOLD_TURN_RAD).mT + anchor[:, None])
    apart = (ends[0] - ends[1]).norm(dim=-1).mean(1)
    hinges = (apart * asked.turns).sum() / asked.turns.sum().clamp(min=1)
    return OPENING_WEIGHT * F.binary_cross_entropy_with_logits(joint.hinge_logit, asked.turns) + HINGE_WEIGHT * hinges


def spoiled_cloud(points: Float[Tensor, "B n 3"], generator: torch.Generator, hide: bool = True) -> Float[Tensor, "B n 3"]:
    """As if a network had seen them: elsewhere by up to a centimetre or two, of another size, rough, half of them only in part."""
    count, num_points, _ = points.shape
    off = torch.randn(count, 1, 3, generator=generator) * points.new_tensor((0.012, 0.012, 0.008)) * torch.rand(count, 1, 1, generator=generator)
    size = 1 + 0.15 * torch.randn(count, 1, 3, generator=generator) * torch.rand(count, 1, 1, generator=generator)
    middle = points.mean(1, keepdim=True)
    points = middle + off + (points - middle) * size + 0.002 * torch.randn(points.shape, generator=generator)
    if not hide:
        return points
    way = F.normalize(torch.randn(count, 1, 3, generator=generator), dim=-1)
    order = (points * way).sum(-1).argsort(dim=1)
    share = torch.where(torch.rand(count, 1, generator=generator) < 0.5, 1.0, 0.35 + 0.65 * torch.rand(count, 1, generator=generator))
    chosen = (torch.arange(num_points) * share).long()  # the nearer ones along a random way, some of them twice
    return points.gather(1, order.gather(1, chosen)[..., None].expand(-1, -1, 3))


def spoiled_memory(went: Float[Tensor, "B 6"], held: Float[Tensor, "B 2"], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """As if the stream had not followed well: other speeds, things forgotten in the hand, or thought to be in it."""
    count = len(went)
    went = went * (1 + 0.3 * torch.randn(count, 1, generator=generator)) * (torch.rand(count, 1, generator=generator) > 0.15)
    forgotten = torch.rand(count, 1, generator=generator) < 0.35
    imagined = (torch.rand(count, 2, generator=generator) < 0.12) & (held.sum(1, keepdim=True) == 0)
    return went, torch.where(imagined, 1.0, torch.where(forgotten, 0.0, held))


def rotations(rotation_vector_rad: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3 3"]:
    """Rotation matrices, by the exponential of cross matrices; smooth at zero."""
    x, y, z = rotation_vector_rad.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.linalg.matrix_exp(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3)))


def _turned_hand(joints: Float[Tensor, "B 21 3"], generator: torch.Generator) -> Float[Tensor, "B 21 3"]:
    """Hands that came from another side: turned a little about the vertical through their finger tips."""
    angle = 0.35 * torch.randn(len(joints), generator=generator)
    tips = joints[:, list(FINGERTIPS)].mean(1, keepdim=True)
    return (joints - tips) @ rotations(torch.stack([0 * angle, 0 * angle, angle], dim=-1)).mT + tips


def _place_before(step: Float[Tensor, "B 4 4"], places: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3"]:
    return (step[:, :3, :3].mT @ (places - step[:, :3, 3])[..., None])[..., 0]


def _small_turn(step: Float[Tensor, "B 4 4"]) -> Float[Tensor, "B 3"]:
    """The rotation vector [rad] of a small turn."""
    R = step[:, :3, :3]
    return torch.stack([R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]], dim=-1) / 2


def _other_of(body: Int[np.ndarray, "P"]) -> Int[np.ndarray, "P"]:
    """The part whose points count as a part's own: a body's link, or itself."""
    other = np.arange(len(body))
    links = np.flatnonzero(body >= 0)
    other[body[links]] = links
    return other


def _tensor(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays).astype(np.float32))


def _joined(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays).astype(np.float32))
