"""A teacher answers clip after clip; `h2w evaluate --teacher` sets it beside its student."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generators import random_transformer
from small_tiny import conditions, small_tiny

from h2w_ros.condition import Condition, Image
from h2w_ros.conditioning import ConditionDrawer
from h2w_ros.evaluation.contenders import contenders, taught_by
from h2w_ros.evaluation.episodes import HeldOutEpisode
from h2w_ros.generator.checkpoint import Generator, save_generator
from h2w_ros.generator.clips import answered_clips
from h2w_ros.training.config import TeacherTraining
from h2w_ros.training.teacher import teacher_of

STUDENT = small_tiny()
CONFIG = teacher_of(STUDENT.config, TeacherTraining(clip_frames=(4,)))
TEACHER = Generator(CONFIG, random_transformer(CONFIG.transformer), STUDENT.codec)
CLIP = 4


def answers(moments: list[Condition], seed: int = 0, teacher: Generator = TEACHER) -> np.ndarray:
    drawer = ConditionDrawer(teacher.config, "squash", None, -0.3).begin(0)
    scene: Image = drawer.resize.picture(moments[0].image)
    drawer.take_picture(scene, moments[0])
    return np.stack(list(answered_clips(teacher, scene, [drawer.draw(moment) for moment in moments], seed))).astype(int)


@pytest.mark.parametrize("count", [2, CLIP, CLIP + 1, 2 * CLIP + 1])
def test_every_condition_has_its_picture(count: int) -> None:
    assert answers(conditions(count)).shape == (count, CONFIG.height_px, CONFIG.width_px, 3)


def test_a_clip_sees_all_of_itself_and_nothing_after_it() -> None:
    moments = conditions(2 * CLIP)
    other = [*moments[: CLIP - 1], *(replace(moment, hands=()) for moment in moments[CLIP - 1 :])]
    changed = np.abs(answers(moments) - answers(other)).reshape(len(moments), -1).max(1)
    assert changed[0] == 0  # the scene is given
    assert (changed[1:CLIP] > 0).all()  # the last frame of the first clip changed, and all of it saw that
    later = [*moments[:CLIP], *(replace(moment, hands=()) for moment in moments[CLIP:])]
    assert np.abs(answers(moments) - answers(later)).reshape(len(moments), -1).max(1)[:CLIP].max() == 0


def test_a_clip_begins_with_the_last_picture_of_the_one_before() -> None:
    """What a clip begins with is all that it has of the past: a network that adds the same everywhere adds it once a clip."""
    bare = replace(CONFIG, dressed_scene=False, static_scene=True)
    silent = random_transformer(bare.transformer)
    torch.nn.init.zeros_(silent.head.head.weight)
    torch.nn.init.constant_(silent.head.head.bias, 0.1)
    moments = [replace(moment, hands=()) for moment in conditions(2 * CLIP)]
    drawer = ConditionDrawer(replace(bare, things=False), "squash", None, None).begin(0)
    drawn = [drawer.draw(moment) for moment in moments]
    scene = drawer.resize.picture(moments[0].image)
    pictures = np.stack(list(answered_clips(Generator(bare, silent, STUDENT.codec), scene, drawn, 0))).astype(float)
    one_clip = np.abs(pictures[CLIP - 1] - pictures[0]).mean()
    assert one_clip > 1.0
    assert np.abs(pictures[1:CLIP] - pictures[CLIP - 1]).max() <= 2.0
    assert np.abs(pictures[CLIP : 2 * CLIP - 1] - pictures[CLIP - 1]).mean() > 0.5 * one_clip


def test_the_seed_is_the_noise() -> None:
    moments = conditions(CLIP)
    assert (answers(moments, 1) == answers(moments, 1)).all()
    assert (answers(moments, 1) != answers(moments, 2)).any()


def test_a_teacher_does_not_stream_and_a_stream_is_no_teacher() -> None:
    with pytest.raises(ValueError, match=r"teacher, for `h2w evaluate --teacher`"):
        TEACHER.stream(0)
    with pytest.raises(ValueError, match=r"clip_frames in its config.*streams"):
        answers(conditions(2), teacher=STUDENT)


def test_a_saved_teacher_stands_beside_its_student(tmp_path: Path) -> None:
    save_generator(tmp_path / "teacher", CONFIG, TEACHER.transformer, STUDENT.codec, torch.float32)
    save_generator(tmp_path / "student", STUDENT.config, STUDENT.transformer, STUDENT.codec, torch.float32)
    table = contenders(STUDENT, 0) | taught_by(str(tmp_path / "teacher"), STUDENT, 0)
    episode = HeldOutEpisode(conditions(CLIP + 2), -0.3)
    pictures = {name: np.stack(list(table[name](episode))) for name in ("model", "teacher")}
    assert pictures["teacher"].shape == pictures["model"].shape
    assert (pictures["teacher"] == answers(conditions(CLIP + 2))).all()
    with pytest.raises(ValueError, match="whole clips"):
        taught_by(str(tmp_path / "student"), STUDENT, 0)
