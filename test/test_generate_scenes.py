"""`h2w generate` with a static scene, and with Dexterous World Models' two videos; what episodes keep of scenes, and what networks see of holes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scenes import CAMERA, head, table_depth, table_picture
from small_tiny import small_tiny

from h2w_ros import cli
from h2w_ros.camera import Resize
from h2w_ros.condition import Condition
from h2w_ros.conditioning import ConditionDrawer
from h2w_ros.episodes.episode import Episode
from h2w_ros.episodes.layout import SCENE
from h2w_ros.episodes.recording import open_recording
from h2w_ros.episodes.rendered_pair import RenderedPair
from h2w_ros.episodes.writer import write_episode
from h2w_ros.scene.files import save_scene
from h2w_ros.scene.fusion import Fusion
from h2w_ros.scene.points import Points
from h2w_ros.video import LOSSLESS, video_info, write_video

PERIOD_NS = 62_500_000
NUM_FRAMES = 5
PLACES = [head(0.02 * k) for k in range(NUM_FRAMES)]
CONFIG = replace(small_tiny().config, things=False)  # pictures here are noise, in which things would be made up


@pytest.fixture(autouse=True)
def quick_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tiny` in small: what it answers does not matter here."""
    monkeypatch.setattr("h2w_ros.generator.checkpoint.load_generator", lambda _: small_tiny())


def moments(**pictures: object) -> list[Condition]:
    return [Condition((k + 1) * PERIOD_NS, CAMERA, T, image=table_picture(T), **pictures) for k, T in enumerate(PLACES)]


def table_scene() -> Points:
    fusion = Fusion()
    for T in (PLACES[0], PLACES[-1]):
        fusion.add_depth(table_picture(T), table_depth(T), CAMERA, T)
    return fusion.scene()


def half_known() -> np.ndarray:
    known = np.ones((CAMERA.height_px, CAMERA.width_px), bool)
    known[:, : CAMERA.width_px // 3] = False
    return known


def generated(tmp_path: Path, *arguments: object) -> tuple[int, dict]:
    words = ["generate", *map(str, arguments), "--out", str(tmp_path / "out.mp4"), "--json", str(tmp_path / "out.json")]
    code = cli.main(words)
    return code, json.loads((tmp_path / "out.json").read_text()) if code == 0 else {}


# Episodes.


def test_an_episode_keeps_where_its_static_render_is_known(tmp_path: Path) -> None:
    known = half_known()
    given = [replace(condition, static_render=condition.image, static_known=known) for condition in moments()]
    write_episode(tmp_path / "episode", [*given[:-1], replace(given[-1], static_known=None)], 16.0)
    read = list(Episode(tmp_path / "episode").conditions())
    assert all(np.array_equal(condition.static_known, known) for condition in read[:-1])
    assert read[-1].static_known.all()
    assert np.array_equal(next(Episode(tmp_path / "episode").conditions(2, 3)).static_known, known)


def test_an_episode_without_holes_says_nothing_of_them(tmp_path: Path) -> None:
    write_episode(tmp_path / "episode", [replace(condition, static_render=condition.image) for condition in moments()], 16.0)
    assert Episode(tmp_path / "episode").manifest.masks == ()
    assert all(condition.static_known is None for condition in Episode(tmp_path / "episode").conditions())


def test_what_is_known_of_a_render_comes_and_goes_with_it() -> None:
    condition = replace(moments()[0], static_render=moments()[0].image, static_known=half_known())
    assert condition.static_known.any()
    assert replace(condition, static_render=None).static_known is None
    with pytest.raises(ValueError, match="static_known must be bool"):
        replace(condition, static_known=half_known()[:5])


# What networks see.


def drawn_static(condition: Condition, table_height_m: float | None) -> np.ndarray | None:
    drawer = ConditionDrawer(CONFIG, "squash", None, table_height_m).begin()
    first = replace(condition, static_render=None, static_known=None)
    drawer.take_picture(drawer.resize.picture(first.image), first)
    return drawer.draw(condition).static


@pytest.mark.parametrize("table_height_m", [0.0, None])
def test_holes_become_the_photo_on_the_table_or_what_is_around_them_and_never_black(table_height_m: float | None) -> None:
    condition = moments()[0]
    render, known = np.full_like(condition.image, 200), half_known()
    shown = drawn_static(replace(condition, static_render=np.where(known[..., None], render, 0).astype(np.uint8), static_known=known), table_height_m)
    assert np.abs(shown[:, 20:].astype(int) - 200).max() <= 1, "what is known is shown as it is, up to its edge"
    expected = Resize(CONFIG.width_px, CONFIG.height_px).picture(condition.image)[:, :14] if table_height_m is not None else 200
    assert np.abs(shown[:, :14].astype(int) - expected).mean() < 12


def test_a_scene_of_which_little_is_known_is_unknown_where_no_photo_can_fill_it() -> None:
    condition = moments()[0]
    little = np.zeros((CAMERA.height_px, CAMERA.width_px), bool)
    little[:10] = True
    partial = replace(condition, static_render=condition.image, static_known=little)
    assert drawn_static(partial, None) is None
    assert drawn_static(partial, 0.0) is not None


def test_shrinking_a_picture_with_holes_lets_no_hole_bleed_into_it() -> None:
    known = half_known()
    picture = np.where(known[..., None], np.uint8(240), np.uint8(0)).repeat(3, axis=2)
    for width_px, height_px in ((48, 32), (300, 200)):
        shrunk, kept = Resize(width_px, height_px).partial(picture, known)
        assert np.abs(shrunk[kept].astype(int) - 240).max() <= 2
        assert not shrunk[~kept].any()
        assert kept.mean() == pytest.approx(known.mean(), abs=0.02)


# h2w generate --scene.


def test_generate_shows_a_model_the_scene_of_a_file_along_the_recordings_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_episode(tmp_path / "episode", moments(), 16.0)
    save_scene(tmp_path / "table.npz", table_scene())
    code, report = generated(tmp_path, tmp_path / "episode", "--scene", tmp_path / "table.npz", "--side-by-side", tmp_path / "row.mp4")
    assert (code, report["frames"]) == (0, NUM_FRAMES)
    assert report["static_scene_known"] > 0.85
    assert "the static scene covers" in capsys.readouterr().out
    assert video_info(tmp_path / "row.mp4").width_px > 3.9 * 240 * CAMERA.width_px / CAMERA.height_px, "camera, hands, prediction, static scene"


def test_a_scene_file_in_another_frame_is_put_where_it_belongs(tmp_path: Path) -> None:
    write_episode(tmp_path / "episode", moments(), 16.0)
    away = np.eye(4)
    away[:3, 3] = (0.0, 50.0, 0.0)
    save_scene(tmp_path / "away.npz", table_scene().moved(away))
    _, there = generated(tmp_path, tmp_path / "episode", "--scene", tmp_path / "away.npz")
    _, here = generated(tmp_path, tmp_path / "episode", "--scene", tmp_path / "away.npz", "--scene-pose", "0 -50 0 0 0 0 1")
    assert there["static_scene_known"] < 0.05 < 0.85 < here["static_scene_known"]


def test_an_episode_brings_its_own_scene(tmp_path: Path) -> None:
    write_episode(tmp_path / "episode", moments(), 16.0)
    assert generated(tmp_path, tmp_path / "episode")[1]["static_scene_known"] is None
    save_scene(tmp_path / "episode" / SCENE, table_scene())
    assert Episode(tmp_path / "episode").scene_path == tmp_path / "episode" / "scene.npz"
    assert generated(tmp_path, tmp_path / "episode")[1]["static_scene_known"] > 0.85


# Two videos.


def videos(
    folder: Path, num_hands: int = NUM_FRAMES, rate_hz: float = 16.0, hands_rate_hz: float = 16.0, size: slice = slice(None)
) -> tuple[Path, Path]:
    write_video(folder / "static_video.mp4", [table_picture(T) for T in PLACES], rate_hz, LOSSLESS)
    hands = np.zeros((num_hands, CAMERA.height_px, CAMERA.width_px, 3), np.uint8)
    hands[:, 40:60, 30:50] = (224, 112, 112)
    write_video(folder / "hand_video.mp4", hands[:, size], hands_rate_hz, LOSSLESS)
    return folder / "static_video.mp4", folder / "hand_video.mp4"


def write_cameras(path: Path, num_frames: int = NUM_FRAMES) -> None:
    intrinsics = {"fx": CAMERA.fx, "fy": CAMERA.fy, "cx": CAMERA.cx, "cy": CAMERA.cy}
    frames = [{"intrinsics": intrinsics, "rotation": T[:3, :3].tolist(), "translation": T[:3, 3].tolist()} for T in PLACES[:num_frames]]
    path.write_text(json.dumps({"image_width": CAMERA.width_px, "image_height": CAMERA.height_px, "frames": frames}))


def test_a_pair_of_videos_is_a_recording_of_both_renders(tmp_path: Path) -> None:
    videos(tmp_path)
    for has_cameras in (False, True):
        if has_cameras:
            write_cameras(tmp_path / "camera.json")
        pair = open_recording(tmp_path)
        assert isinstance(pair, RenderedPair)
        assert (pair.num_frames, pair.rate_hz, pair.knows_camera) == (NUM_FRAMES, 16.0, has_cameras)
        conditions = list(pair.conditions())
        assert all(np.array_equal(condition.static_render, table_picture(T)) for condition, T in zip(conditions, PLACES, strict=True))
        assert tuple(conditions[3].hand_render[50, 40]) == (224, 112, 112)
        assert [condition.image is not None for condition in conditions] == [True] + [False] * (NUM_FRAMES - 1)
        assert np.array_equal(pair.scene_image, table_picture(PLACES[0]))
        assert (np.allclose(conditions[2].T_world_camera, PLACES[2]), conditions[2].camera == CAMERA) == (has_cameras, has_cameras)
        assert [c.stamp_ns for c in pair.conditions(2, 4)] == [3 * PERIOD_NS, 4 * PERIOD_NS]


def test_generate_makes_a_video_of_two_and_says_what_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    static, hands = videos(tmp_path)
    code, report = generated(tmp_path, "--static-video", static, "--hand-video", hands)
    assert (code, report["frames"], report["width_px"]) == (0, NUM_FRAMES, CONFIG.width_px)
    assert "No camera path" in capsys.readouterr().out
    write_cameras(tmp_path / "path.json")
    assert generated(tmp_path, "--static-video", static, "--hand-video", hands, "--camera", tmp_path / "path.json")[0] == 0
    assert "No camera path" not in capsys.readouterr().out


WRONG_PAIRS = {
    "num_frames 5 and 4": {"num_hands": 4},
    "rate_hz 16 and 8": {"hands_rate_hz": 8.0},
    "height_px 72 and 36": {"size": slice(36)},
    "must run at the model's 16 Hz, got 8": {"rate_hz": 8.0, "hands_rate_hz": 8.0},
}


@pytest.mark.parametrize("text", WRONG_PAIRS)
def test_two_videos_that_do_not_belong_together_are_refused_with_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    static, hands = videos(tmp_path, **WRONG_PAIRS[text])
    assert generated(tmp_path, "--static-video", static, "--hand-video", hands)[0] == 2
    assert text in capsys.readouterr().err


def test_cameras_that_are_too_few_for_two_videos_are_refused(tmp_path: Path) -> None:
    static, hands = videos(tmp_path)
    write_cameras(tmp_path / "path.json", num_frames=3)
    with pytest.raises(ValueError, match="a camera for each of the videos' 5 frames, got 3"):
        RenderedPair(static, hands, tmp_path / "path.json")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "either RECORDING, or both"),
        (["--static-video", "s.mp4"], "either RECORDING, or both"),
        (["recording", "--static-video", "s.mp4", "--hand-video", "h.mp4"], "either RECORDING, or both"),
        (["recording", "--camera", "c.json"], "a recording has its own cameras"),
        (["--static-video", "s.mp4", "--hand-video", "h.mp4", "--scene", "s.npz"], "give one of them"),
        (["--static-video", "s.mp4", "--hand-video", "h.mp4"], "No video at s.mp4"),
    ],
)
def test_arguments_that_contradict_one_another_are_explained(words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generated(tmp_path, *words)[0] == 2
    assert text in capsys.readouterr().err
