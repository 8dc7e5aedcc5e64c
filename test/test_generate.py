"""`h2w generate` and `h2w bag`: every condition is answered, and the report says what the video is worth."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from test_episodes import plain_conditions

from h2w_ros import cli
from h2w_ros.commands.generate import ROW_HEIGHT_PX, Report, generate, predict, table_height_m
from h2w_ros.condition import Condition
from h2w_ros.domain import check_domain
from h2w_ros.episodes.recording import open_recording
from h2w_ros.episodes.writer import write_episode
from h2w_ros.session import PredictedFrame
from h2w_ros.video import read_video, video_info

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"
EXAMPLES = ["phone_use", "mixer_use"]
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="needs the real recordings beside the checkout")


@dataclass
class Blocks:
    """A predictor that answers whole blocks with grey pictures whose level is 20 x the frame's number."""

    frames_per_block: int
    num_frames: int = 0
    pending: list[Condition] = field(default_factory=list)

    def push(self, condition: Condition) -> list[PredictedFrame]:
        self.pending.append(condition)
        if self.num_frames and len(self.pending) < self.frames_per_block:
            return []
        answered, self.pending = self.pending, []
        frames = [self.answer(self.num_frames + k, condition) for k, condition in enumerate(answered)]
        self.num_frames += len(frames)
        return frames

    def answer(self, index: int, condition: Condition) -> PredictedFrame:
        return PredictedFrame(index, condition.stamp_ns, np.full((12, 16, 3), 20 * index % 256, dtype=np.uint8), index == 0)

    def settle(self) -> None:
        """Nothing is left to do."""


def blank_report() -> Report:
    return Report("recording", "model", 0, 16.0, False, "")


@pytest.mark.parametrize(("num_conditions", "frames_per_block", "left"), [(9, 1, 0), (9, 4, 0), (12, 4, 3)])
def test_every_condition_gets_its_own_frame_or_is_counted(num_conditions: int, frames_per_block: int, left: int) -> None:
    dropped: dict[str, int] = {}
    pairs = list(predict(Blocks(frames_per_block), plain_conditions(num_conditions), dropped))
    assert [condition.stamp_ns for condition, _ in pairs] == [frame.stamp_ns for _, frame in pairs]
    assert [frame.index for _, frame in pairs] == list(range(num_conditions - left))
    assert dropped == ({"incomplete_last_block": left} if left else {})


def test_the_videos_have_one_frame_an_answer_and_the_report_adds_up(tmp_path: Path) -> None:
    write_episode(tmp_path / "episode", plain_conditions(10), 16.0)
    report = blank_report()
    generate(Blocks(4), open_recording(tmp_path / "episode"), tmp_path / "out.mp4", tmp_path / "row.mp4", report)
    assert (report.frames, report.width_px, report.height_px, dict(report.dropped)) == (9, 16, 12, {"incomplete_last_block": 1})
    assert report.realtime_factor == pytest.approx(report.frames / report.seconds / 16.0)
    assert [round(float(picture.mean()) / 20) for picture in read_video(tmp_path / "out.mp4")] == list(range(9))
    assert video_info(tmp_path / "row.mp4").num_frames == 9


def test_predicted_pictures_are_seen_in_their_source_s_proportions(tmp_path: Path) -> None:
    write_episode(tmp_path / "episode", plain_conditions(4), 16.0)
    widths = []
    for aspect in (Fraction(1), Fraction(4, 3)):
        generate(Blocks(1), open_recording(tmp_path / "episode"), tmp_path / "out.mp4", tmp_path / "row.mp4", blank_report(), aspect)
        widths.append(video_info(tmp_path / "row.mp4").width_px)
    assert widths[1] - widths[0] == pytest.approx(ROW_HEIGHT_PX * 16 / 12 / 3, abs=ROW_HEIGHT_PX / 12)  # whole pixels of twelve rows


@pytest.mark.parametrize(("noted", "height_m"), [(0.75, 0.75), (0, 0.0), (True, None), ("0.75", None), (None, None)])
def test_a_table_is_as_high_as_the_user_says_or_as_was_noted(tmp_path: Path, noted: object, height_m: float | None) -> None:
    write_episode(tmp_path / "episode", plain_conditions(3), 16.0, description={"table_height_m": noted})
    recording = open_recording(tmp_path / "episode")
    assert table_height_m(None, recording) == height_m
    assert table_height_m(0.5, recording) == 0.5


@pytest.mark.parametrize(
    ("model", "recording", "out_of_domain"),
    [
        ("the simulated tabletop world", "simulated tabletop", False),
        ("the simulated tabletop world", "real", True),
        ("the simulated tabletop world", "unknown", True),
        ("real egocentric video", "real", False),
        ("real egocentric video", "simulated tabletop", True),
    ],
)
def test_a_model_knows_what_it_has_seen(model: str, recording: str, out_of_domain: bool) -> None:
    check = check_domain(model, recording)
    assert check.out_of_domain == out_of_domain
    assert (model in check.reason) == out_of_domain


def test_mistakes_of_the_user_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", str(tmp_path / "none"), "--out", str(tmp_path / "out.mp4")]) == 2
    assert capsys.readouterr().err == f"h2w generate: No recording at {tmp_path / 'none'}\n"


def test_results_that_could_not_be_written_are_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("not a folder")
    out = tmp_path / "file" / "video.mp4"
    assert cli.main(["generate", str(tmp_path / "none"), "--out", str(out)]) == 2
    assert capsys.readouterr().err == f"h2w generate: --out {out} can't be written: {tmp_path / 'file'} is no folder\n"


def test_h2w_bag_writes_what_open_recording_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_episode(tmp_path / "episode", plain_conditions(6), 16.0, domain="real", description={"made_by": "hand"})
    assert cli.main(["bag", str(tmp_path / "episode"), "--out", str(tmp_path / "bag.mcap")]) == 0
    assert "6 frames at 16 Hz; dropped nothing" in capsys.readouterr().out
    bag = open_recording(tmp_path / "bag.mcap")
    assert (bag.num_frames, bag.domain, bag.description) == (6, "real", {"made_by": "hand"})


def test_a_topic_without_its_part_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bag", str(tmp_path), "--topic", "/image_raw", "--out", str(tmp_path / "bag.mcap")]) == 2
    assert "--topic takes PART=TOPIC" in capsys.readouterr().err


@needs_real
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_hand2world_example_is_a_recording_of_full_length(name: str) -> None:
    recording = open_recording(REAL / name)
    assert (recording.num_frames, recording.rate_hz, recording.domain, dict(recording.dropped)) == (161, 16.0, "real", {})
    first, last = next(recording.conditions(0, 1)), next(recording.conditions(160, 161))
    assert first.image is not None
    assert last.image is None
    assert last.stamp_ns - first.stamp_ns == 10_000_000_000
    assert np.array_equal(last.hand_render, read_video(REAL / name / "hand_video.mp4", 160)[0])
    fields = json.loads((REAL / name / "camera.json").read_text())["frames"][160]
    assert (last.camera.cx, last.camera.cy) == (fields["intrinsics"]["cx"], fields["intrinsics"]["cy"])
    np.testing.assert_array_equal(last.T_world_camera[:3, 3], fields["translation"])


@needs_real
@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_bag_of_a_real_recording_keeps_every_frame(tmp_path: Path, name: str) -> None:
    assert cli.main(["bag", str(REAL / name), "--out", str(tmp_path / "bag.mcap")]) == 0
    bag = open_recording(tmp_path / "bag.mcap")
    report = blank_report()
    generate(Blocks(4), bag, tmp_path / "out.mp4", None, report)
    assert (bag.domain, report.frames, dict(report.dropped)) == ("real", 161, {})
    mine, theirs = next(bag.conditions(90, 91)), next(open_recording(REAL / name).conditions(90, 91))
    assert np.array_equal(mine.hand_render, theirs.hand_render)
    np.testing.assert_allclose(mine.T_world_camera, theirs.T_world_camera, atol=1e-6)


def test_an_example_that_lacks_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "camera.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"lacks scene_image\.png, hand_video\.mp4"):
        open_recording(tmp_path)
