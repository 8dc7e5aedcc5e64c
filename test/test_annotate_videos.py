"""Videos to episodes with a report: what is written, what is rejected, and what bad files get."""

import json
import pickle
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from annotate_world import CAMERA, sighting_of
from test_annotate_hands import AT, waving

from h2w_ros.annotate.backends import CAMERAS, HANDS, camera_of, hands_of
from h2w_ros.annotate.cameras.fixed import FixedCamera
from h2w_ros.annotate.cameras.path import CameraPath, NoCameraPathError
from h2w_ros.annotate.cameras.scale import scale_by_rest
from h2w_ros.annotate.clip import ClipConfig, open_clip
from h2w_ros.annotate.hand_stage import FoundHand
from h2w_ros.annotate.intrinsics import Intrinsics, IntrinsicsConfig, film_focal_mm, intrinsics_of
from h2w_ros.annotate.pipeline import AnnotateConfig
from h2w_ros.annotate.report import write_report
from h2w_ros.annotate.saved_sightings import load_sightings, save_sightings
from h2w_ros.annotate.videos import Task, names_of, videos_in
from h2w_ros.bulk.run import run_jobs
from h2w_ros.camera import project
from h2w_ros.episodes.recording import open_recording
from h2w_ros.geometry import apply, rotation_from_axis_angle, transform
from h2w_ros.video import write_video

NUM_FRAMES = 20


class Recorded:
    """A detector that knows the answers."""

    name = "recorded"

    def __init__(self, frames):
        self.frames, self.calls = frames, 0

    def __repr__(self):
        return "Recorded()"

    def sightings(self, clip, camera):
        self.calls += 1
        return iter(self.frames)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "kitchen.mp4"
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    write_video(path, [picture] * NUM_FRAMES, 16.0)
    return path


@pytest.fixture
def hands():
    truth = waving(num_frames=NUM_FRAMES)
    rng = np.random.default_rng(0)
    return truth, [(sighting_of(hand, CAMERA, AT, rng, 1.0),) for hand in truth]


def task_of(out, frames, **config):
    known = IntrinsicsConfig((CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy))
    return Task(out, Recorded(frames), FixedCamera(), AnnotateConfig(intrinsics=known, **config))


def outcomes_of(task, *videos):
    return list(run_jobs(task.make_work(), task.jobs(videos), task.out))


def test_a_video_becomes_an_episode_whose_hands_are_the_true_ones(tmp_path, video, hands):
    truth, frames = hands
    task = task_of(tmp_path / "out", frames)
    (outcome,) = outcomes_of(task, video)
    assert outcome.status == "done"
    assert outcome.result["scores"]["coverage"] == 1.0
    conditions = list(open_recording(tmp_path / "out" / "kitchen").conditions())
    assert len(conditions) == NUM_FRAMES
    for moment, hand in zip(conditions, truth, strict=True):
        assert moment.image is not None
        wrist, wanted = (project(CAMERA, pose.T_world_wrist[None, :3, 3]) for pose in (moment.hand("right"), hand))
        assert np.linalg.norm(wrist - wanted) < 6.0
    page = write_report(task.out).read_text()
    assert "kitchen" in page
    assert "1 annotated" in page
    assert (task.out / "report" / "kitchen.jpg").stat().st_size > 1000


def test_what_is_done_stays_and_a_changed_gate_does_not_look_for_hands_again(tmp_path, video, hands):
    task = task_of(tmp_path / "out", hands[1])
    outcomes_of(task, video)
    (again,) = outcomes_of(task, video)
    assert again.status == "there already"
    other = task_of(tmp_path / "out", hands[1], scale=2.0)
    (changed,) = outcomes_of(other, video)
    assert changed.status == "done"
    assert changed.result["camera"]["scale by"] == "you"
    assert "scale by: you" in write_report(other.out).read_text()
    assert (task.detector.calls, other.detector.calls) == (1, 0)


def test_a_clip_without_hands_is_rejected_with_its_reason_and_leaves_no_episode(tmp_path, video):
    (outcome,) = outcomes_of(task_of(tmp_path / "out", [()] * NUM_FRAMES), video)
    assert (outcome.status, outcome.reason) == ("rejected", "no hands were found")
    assert not (tmp_path / "out" / "kitchen").exists()
    assert "no hands were found" in write_report(tmp_path / "out").read_text()


def test_no_camera_is_looked_for_where_nobody_saw_a_hand(tmp_path, video):
    class Slow(FixedCamera):
        def path(self, clip, intrinsics, sightings):
            raise AssertionError("minutes go by")

    (outcome,) = outcomes_of(Task(tmp_path / "out", Recorded([()] * NUM_FRAMES), Slow(), AnnotateConfig()), video)
    assert (outcome.status, outcome.reason) == ("rejected", "no hands were found")


@pytest.mark.parametrize("hands", sorted(HANDS))
@pytest.mark.parametrize("cameras", ["colmap", "fixed", "tum"])
def test_whoever_finds_hands_and_cameras_a_task_goes_to_other_processes_and_machines(tmp_path, hands, cameras):
    detector = hands_of(hands, "{name}.npz" if HANDS[hands].needs else None)
    task = Task(tmp_path, detector, camera_of(cameras, "{name}.txt" if CAMERAS[cameras].needs else None), AnnotateConfig())
    (job,) = task.jobs([tmp_path / "missing.mp4"])
    make_work, there = pickle.loads(pickle.dumps((task.make_work(), job)))
    assert there == job
    with pytest.raises(FileNotFoundError, match="No video at"):
        make_work()(there.payload, tmp_path / "missing")


def test_hands_in_too_few_frames_are_rejected_by_the_gate(tmp_path, video, hands):
    few = [sightings if frame < 5 else () for frame, sightings in enumerate(hands[1])]
    (outcome,) = outcomes_of(task_of(tmp_path / "out", few), video)
    assert outcome.status == "rejected"
    assert outcome.reason == "hands in 25% of frames, at least 30% wanted"


def test_bad_videos_fail_with_their_reasons_and_stop_no_other(tmp_path, video, hands):
    (truncated := tmp_path / "truncated.mp4").write_bytes(video.read_bytes()[:-4000])
    (text := tmp_path / "text.mp4").write_text("not a video")
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    write_video(short := tmp_path / "short.mp4", np.zeros((3, 48, 64, 3), np.uint8), 16.0)
    videos = [truncated, text, sound, short, tmp_path / "missing.mp4", video]
    found = {outcome.name: outcome for outcome in outcomes_of(task_of(tmp_path / "out", hands[1]), *videos)}
    assert [outcome.status for outcome in found.values()] == ["failed"] * 5 + ["done"]
    wanted = {"truncated": "truncated", "text": "not a readable video", "sound": "no video stream", "short": "too short", "missing": "No video at"}
    assert all(words in found[name].reason for name, words in wanted.items())


def test_a_rotated_video_stands_upright(tmp_path):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :16] = (255, 0, 0)
    path = tmp_path / "rotated.mp4"
    write_video(path, [picture] * 10, 16.0)
    path.write_bytes(turned(path.read_bytes()))
    clip = open_clip(path)
    assert (clip.width_px, clip.height_px) == (48, 64)
    upright = next(iter(clip.pictures()))
    assert upright.shape == (64, 48, 3)
    # The matrix turns by 90 degrees clockwise: what was on the left is above.
    assert upright[4, 24, 0] > 200
    assert upright[60, 24, 0] < 60


def turned(data):
    """The file with a display matrix of 90 degrees clockwise in its track header."""
    at = data.index(b"tkhd") + 4 + 40
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    return data[:at] + matrix + data[at + 36 :]


def test_a_video_of_variable_rate_keeps_its_own_stamps_and_tells_what_is_missing(tmp_path):
    path = tmp_path / "variable.mp4"
    shown_ms = [*range(0, 1000, 33), *range(1500, 2500, 33)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for stamp in shown_ms:
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    clip = open_clip(path, ClipConfig(rate_hz=10.0))
    gaps_s = np.diff(clip.stamps_ns) * 1e-9
    assert gaps_s.max() > 0.45
    assert set(np.round(clip.stamps_ns, -6) // 10**6) <= set(shown_ms)
    assert clip.dropped["moments without a frame"] in (4, 5)


def test_intrinsics_come_from_the_user_the_file_or_are_called_assumed(tmp_path, video):
    clip = open_clip(video, ClipConfig(longest_side_px=320))
    told = intrinsics_of(clip, IntrinsicsConfig((500.0, 510.0, 320.0, 240.0)))
    assert (told.source, told.camera.fx, told.camera.cy) == ("user", 250.0, 120.0)
    seen = intrinsics_of(clip, IntrinsicsConfig(view_deg=90.0))
    assert seen.camera.fx == pytest.approx(160.0)
    assert intrinsics_of(clip, IntrinsicsConfig()).source == "assumed"
    assert film_focal_mm({"com.apple.quicktime.camera.focal_length.35mm_equivalent": "26"}) == 26.0
    assert film_focal_mm({"title": "26"}) is None


def test_videos_of_one_name_are_told_apart_by_their_folders(tmp_path):
    assert names_of([tmp_path / "a" / "x.mp4", tmp_path / "b" / "x.mp4", tmp_path / "y.mp4"]) == ["a-x", "b-x", "y"]
    with pytest.raises(ValueError, match="names of their own"):
        names_of([tmp_path / "a" / "x.mp4", tmp_path / "a" / "x.mkv"])
    taste = [tmp_path / hands / "Kitchen" / f"{number}.mp4" for hands in ("SingleHand", "DoubleHand") for number in (7, 8)]
    assert names_of([*taste[:3], tmp_path / "9.mp4"]) == ["SingleHand-Kitchen-7", "8", "DoubleHand-Kitchen-7", "9"]


@pytest.mark.parametrize("path", ["{name}.npz", "all.npz"])
def test_results_of_one_video_are_not_taken_for_anothers(tmp_path, path):
    videos = [tmp_path / "a" / "x.mp4", tmp_path / "b" / "x.mp4"]
    for hands, cameras in (("wilor", "fixed"), ("onnx", "tum")):
        task = Task(tmp_path, hands_of(hands, path), camera_of(cameras, path if cameras == "tum" else None), AnnotateConfig())
        assert [job.name for job in task.jobs(videos[:1])] == ["x"]
        with pytest.raises(ValueError, match="holds results of one video, 2 videos would take them for theirs"):
            task.jobs(videos)
    network = Task(tmp_path, hands_of("onnx", path), camera_of("fixed", None), AnnotateConfig())
    assert len(network.jobs(videos)) == 2


def test_folders_stand_for_the_videos_in_them(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/b/2.MP4", "a/1.mov", "a/._1.mov", "a/notes.txt", "other.bin"):
        (tmp_path / name).touch()
    found = videos_in([tmp_path / "a", tmp_path / "other.bin", tmp_path / "missing.mp4"], tmp_path / "out")
    assert [file.name for file in found] == ["1.mov", "2.MP4", "other.bin", "missing.mp4"]
    (tmp_path / "c").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no videos"):
        videos_in([tmp_path / "c"], tmp_path / "out")


def test_saved_sightings_come_back_as_they_were_for_the_same_key_only(tmp_path, hands):
    path = tmp_path / "seen.gz"
    save_sightings(path, hands[1], "key")
    assert load_sightings(path, "other") is None
    again = load_sightings(path, "key")
    np.testing.assert_allclose(again[3][0].points_px, hands[1][3][0].points_px, atol=0.006)
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="no file of sightings"):
        load_sightings(path)


def moving_path(scale):
    """A camera that goes its way and turns, in units of which each is `scale` metres."""
    times = np.arange(NUM_FRAMES) / 16.0
    turns = [rotation_from_axis_angle(np.array([0.1 * np.sin(time), 0.2 * time, 0.0])) for time in times]
    places = [np.array([0.3 * time, 0.1 * np.sin(2 * time), 0.0]) / scale for time in times]
    poses = tuple(transform(turn, place) for turn, place in zip(turns, places, strict=True))
    return CameraPath(Intrinsics(CAMERA, "user"), poses, is_metric=False, source="test")


@pytest.mark.parametrize("scale", [0.2, 3.0])
def test_hands_that_rest_tell_the_scale_of_the_cameras_path(scale):
    path, metric = moving_path(scale), moving_path(1.0)
    (hand,) = waving(num_frames=1)
    frames = []
    for pose in metric.poses:
        wrist = np.linalg.inv(pose) @ hand.T_world_wrist
        wrist[:3, :3] = hand.T_world_wrist[:3, :3]
        frames.append({"right": FoundHand(type(hand)("right", wrist, hand.joint_angles_rad, hand.betas), 1.0, 100.0)})
    found = scale_by_rest(frames, path, [round(frame * 1e9 / 16) for frame in range(NUM_FRAMES)])
    assert found.scale == pytest.approx(scale, rel=0.02)
    assert found.spread < 1.05
    still = apply(path.scaled(found.scale).poses[-1], frames[-1]["right"].hand_camera.T_world_wrist[:3, 3])
    np.testing.assert_allclose(still, hand.T_world_wrist[:3, 3], atol=0.01)


def test_hands_that_go_their_own_way_tell_no_scale():
    path = moving_path(1.0)
    frames = []
    for pose, hand in zip(path.poses, waving(num_frames=NUM_FRAMES), strict=True):
        wrist = np.linalg.inv(pose) @ hand.T_world_wrist
        wrist[:3, 3] += 0.1 * np.array([np.sin(9.0 * len(frames)), np.cos(7.0 * len(frames)), 0.0])
        frames.append({"right": FoundHand(type(hand)("right", wrist, hand.joint_angles_rad, hand.betas), 1.0, 100.0)})
    assert np.isnan(scale_by_rest(frames, path, [round(frame * 1e9 / 16) for frame in range(NUM_FRAMES)]).scale)


def test_a_camera_that_is_said_to_stand_still_and_moves_is_rejected(tmp_path, hands):
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    write_video(tmp_path / "pan.mp4", (np.roll(picture, 2 * frame, axis=1) for frame in range(NUM_FRAMES)), 16.0)
    (outcome,) = outcomes_of(task_of(tmp_path / "out", hands[1]), tmp_path / "pan.mp4")
    assert outcome.status == "rejected"
    assert "the scene moves by 3.5 degrees within a second" in outcome.reason  # 32 pixels at a focal length of 520


def test_a_clip_whose_camera_stays_unknown_is_rejected_and_its_hands_can_be_looked_at(tmp_path, video, hands):
    class Unscaled:
        name = "unscaled"

        def path(self, clip, intrinsics, sightings):
            return CameraPath(intrinsics, moving_path(1.0).poses, is_metric=False, source=self.name)

    class Turning(Unscaled):
        def path(self, clip, intrinsics, sightings):
            raise NoCameraPathError("too little parallax")

    few = [sightings if frame < 5 else () for frame, sightings in enumerate(hands[1])]
    for cameras, words in ((Unscaled(), "--scale METRES"), (Turning(), "too little parallax")):
        task = Task(tmp_path / cameras.__class__.__name__, Recorded(few), cameras, AnnotateConfig())
        (outcome,) = outcomes_of(task, video)
        assert outcome.status == "rejected"
        assert words in outcome.reason
        assert outcome.result["scores"]["coverage"] == 0.25
        assert outcome.result["scores"]["camera_coverage"] == 0.0
        assert outcome.result["scores"]["jitter_m_per_s2"] is None
        assert (task.out / "report" / "kitchen.jpg").stat().st_size > 1000
        assert words in write_report(task.out).read_text()
        assert json.loads((task.out / "jobs.jsonl").read_text())["reason"] == outcome.reason
