"""Synthesized datasets: variations do what their names say, every episode is measured, and a folder is never left half done."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hand_motion import moving_hand
from small_tiny import CAMERA, small_tiny

from h2w_ros.bulk.job import RejectedError
from h2w_ros.bulk.ledger import Ledger
from h2w_ros.camera import project
from h2w_ros.cli import main
from h2w_ros.condition import Condition
from h2w_ros.episodes.bag_writer import write_bag
from h2w_ros.episodes.episode import Episode
from h2w_ros.episodes.layout import SCENE
from h2w_ros.episodes.recording import open_recording
from h2w_ros.episodes.writer import write_episode
from h2w_ros.generator.checkpoint import save_generator
from h2w_ros.geometry import apply, invert, look_at, rotation_angle_rad, transform
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_vertices_world
from h2w_ros.scene.files import load_scene, save_scene
from h2w_ros.scene.points import Points
from h2w_ros.synthesis.dataset import EPISODES
from h2w_ros.synthesis.gate import GateConfig, Meter, Worth, reasons_against
from h2w_ros.synthesis.motion import MOTIONS, mirrored, mirrored_hand, retimed, starts_alike, swapped
from h2w_ros.synthesis.source import content_hash, sources_at
from h2w_ros.synthesis.take import SynthesisConfig, Take, donors_of, jobs_of, parsed_kinds, takes_of
from h2w_ros.synthesis.work import PROVENANCE, Synthesizer, described

PERIOD_NS = 62_500_000


def moments(seed: int = 0, count: int = 24, offset_m: float = 0.0) -> list[Condition]:
    """A hand that moves before a camera that looks about; the first moment is the same for all seeds, give or take `offset_m`."""
    first, hands = moving_hand(0, 1, 16.0)[0], moving_hand(seed, count, 16.0)
    towards = np.array([0.0, 0.0, 0.6])
    hands = [
        replace(hand, T_world_wrist=transform(hand.T_world_wrist[:3, :3], towards + 0.2 * (hand.T_world_wrist - hands[0].T_world_wrist)[:3, 3]))
        for hand in hands
    ]
    start = replace(first, T_world_wrist=transform(first.T_world_wrist[:3, :3], towards + np.array([offset_m, 0.0, 0.0])))
    image = np.random.default_rng(seed).integers(0, 256, (CAMERA.height_px, CAMERA.width_px, 3), dtype=np.uint8)
    return [
        Condition(
            (index + 1) * PERIOD_NS,
            CAMERA,
            look_at(np.array([0.02 * np.sin(index / 5), 0.0, 0.0]), towards, np.array([0.0, -1.0, 0.0])),
            (start if index == 0 else hand,),
            image=image,
        )
        for index, hand in enumerate(hands)
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = small_tiny()
    folder = tmp_path_factory.mktemp("model")
    save_generator(folder, generator.config, generator.transformer, generator.codec)
    return folder


def recorded(folder: Path, names: tuple[str, ...] = ("a", "b"), count: int = 6) -> Path:
    for seed, name in enumerate(names):
        write_episode(folder / name, moments(seed, count), 16.0, description={"task": "reach"}, domain="simulated tabletop")
    return folder


def synthesize(model: Path, *words: str | Path) -> int:
    open_gate = ["--min-hand-agreement", "0", "--max-drift", "999", "--max-spread", "999", "--keep-unjudged"]
    return main(["synthesize", "--model", str(model), *open_gate, *map(str, words)])


# --- variations ---


@pytest.mark.parametrize("kind", sorted(MOTIONS))
def test_variations_begin_with_the_moment_of_the_picture_and_then_differ_smoothly(kind: str) -> None:
    before, after = moments(), MOTIONS[kind](moments(), np.random.default_rng(1))
    assert [moment.stamp_ns for moment in after] == [moment.stamp_ns for moment in before]
    differences = []
    for one, other in zip(before, after, strict=True):
        wrists = (invert(moment.T_world_camera) @ moment.hands[0].T_world_wrist for moment in (one, other))
        a, b = wrists
        differences.append(float(np.linalg.norm(a[:3, 3] - b[:3, 3])))
    assert differences[0] == 0.0
    assert 0.002 < max(differences) < 0.3
    assert np.abs(np.diff(differences)).max() < 0.05


def test_retimed_hands_go_the_same_way_and_arrive() -> None:
    before, after = moments(), retimed(moments(), np.random.default_rng(3))
    way = np.array([moment.hands[0].T_world_wrist[:3, 3] for moment in before])
    for moment in after[1:]:
        apart_m = np.linalg.norm(way - moment.hands[0].T_world_wrist[:3, 3], axis=1).min()
        assert apart_m < 0.01
    assert np.allclose(after[-1].hands[0].T_world_wrist, before[-1].hands[0].T_world_wrist)


def test_a_swayed_camera_leaves_hands_where_they_are_in_the_world() -> None:
    before = moments()
    after = MOTIONS["camera"](before, np.random.default_rng(0))
    assert all(one.hands is other.hands for one, other in zip(before, after, strict=True))
    turned_rad = [rotation_angle_rad(one.T_world_camera[:3, :3].T @ other.T_world_camera[:3, :3]) for one, other in zip(before, after, strict=True)]
    assert 0.01 < max(turned_rad) < 0.5


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_mirrored_hand_has_the_mirrored_vertices_and_lands_on_the_flipped_pixels(side: str) -> None:
    hand = moving_hand(1, 1, 16.0, side=side)[0]
    moment = replace(moments(count=1)[0], hands=(hand,), camera=replace(CAMERA, cx=40.0))
    twin = mirrored([moment])[0]
    assert twin.hands[0].side != side
    ours, theirs = (hand_vertices_world(load_hand_model(each.side), each) for each in (hand, mirrored_hand(hand)))
    assert np.abs(ours * [-1.0, 1.0, 1.0] - theirs).max() < 1e-4
    ours_px = project(moment.camera, apply(invert(moment.T_world_camera), ours))
    theirs_px = project(twin.camera, apply(invert(twin.T_world_camera), theirs))
    assert np.allclose(CAMERA.width_px - ours_px[:, 0], theirs_px[:, 0], atol=0.05)
    assert np.allclose(ours_px[:, 1], theirs_px[:, 1], atol=0.05)


def test_a_mirrors_mirror_is_the_scene() -> None:
    for before, after in zip(moments(), mirrored(mirrored(moments())), strict=True):
        assert np.allclose(before.T_world_camera, after.T_world_camera)
        assert np.allclose(before.hands[0].joint_angles_rad, after.hands[0].joint_angles_rad)
        assert before.camera == after.camera


def test_swapped_hands_are_the_donors_before_our_camera() -> None:
    ours, donor = moments(0), moments(1, count=20)
    moved = transform(np.eye(3), np.array([1.0, 2.0, 3.0]))
    elsewhere = [
        replace(m, T_world_camera=moved @ m.T_world_camera, hands=tuple(replace(h, T_world_wrist=moved @ h.T_world_wrist) for h in m.hands))
        for m in donor
    ]
    swap = swapped(ours, elsewhere)
    assert len(swap) == 20
    assert np.allclose(swap[0].hands[0].T_world_wrist, ours[0].hands[0].T_world_wrist)
    assert np.allclose(swap[-1].hands[0].T_world_wrist, donor[-1].hands[0].T_world_wrist, atol=1e-9)
    assert all(np.array_equal(one.T_world_camera, other.T_world_camera) for one, other in zip(swap, ours, strict=False))


def test_only_recordings_that_start_alike_lend_each_other_hands(tmp_path: Path) -> None:
    assert starts_alike(moments(0)[0], moments(1, offset_m=0.01)[0])
    assert not starts_alike(moments(0)[0], moments(1, offset_m=0.2)[0])
    assert not starts_alike(moments(0)[0], replace(moments(1)[0], hands=()))
    for name, offset_m in (("a", 0.0), ("b", 0.0), ("far", 0.3)):
        write_episode(tmp_path / name, moments(0, 3, offset_m), 16.0)
    a, b, far = (tmp_path / name for name in ("a", "b", "far"))
    assert donors_of([a, b, far], None) == {a: [b], b: [a], far: []}


# --- the gate ---


def test_the_gate_tells_every_reason() -> None:
    bad = Worth(0.4, 50.0, 60.0)
    assert [reason.split()[0] for reason in reasons_against(bad, GateConfig())] == ["hand", "drift", "spread"]
    assert not reasons_against(Worth(0.9, 1.0, 1.0), GateConfig())
    assert "can't be judged" in reasons_against(Worth(None, 1.0, 1.0), GateConfig())[0]
    assert not reasons_against(Worth(None, 1.0, 1.0), GateConfig(keep_unjudged=True))


def test_drift_and_spread_are_measured_in_grey_levels() -> None:
    grey, hands = np.full((32, 32, 3), 100, np.uint8), np.zeros((32, 32), bool)
    meter = Meter(grey, hands, None)
    for shift in np.linspace(0, 40, 16).astype(np.uint8):
        meter.add(np.stack([grey + shift, grey + shift + 2]), hands)
    worth = meter.worth()
    assert worth.drift == pytest.approx(np.linspace(0, 40, 16).astype(np.uint8)[-4:].mean() / 2)  # the mean moves, the contrast does not
    assert worth.spread == pytest.approx(2**0.5)
    assert worth.hand_agreement == 1.0  # none was asked for


def test_a_take_below_the_gate_leaves_nothing_but_its_reason(tmp_path: Path) -> None:
    source = recorded(tmp_path, ("a",)) / "a"
    config = SynthesisConfig("debug", "", "", GateConfig(max_drift=0.001, keep_unjudged=True))
    place = tmp_path / "growing" / "take"
    place.parent.mkdir()
    with pytest.raises(RejectedError, match="drift") as error:
        Synthesizer(config, small_tiny())(Take(source, "", "seed", 1), place)
    assert error.value.result["worth"]["drift"] > 0.001
    assert [path.name for path in place.parent.iterdir()] in ([], ["episode.mcap"])


@pytest.mark.parametrize("kind", ["seed", "mirrored"])
def test_an_episodes_static_scene_is_shown_to_the_generator_and_goes_along(tmp_path: Path, kind: str) -> None:
    plain = recorded(tmp_path, ("a",)) / "a"
    known = shutil.copytree(plain, tmp_path / "known")
    grid = np.stack([*np.meshgrid(np.linspace(-1.0, 1.0, 60), np.linspace(-1.0, 1.0, 60)), np.full((60, 60), 0.9)], axis=-1).reshape(-1, 3)
    colors = np.where(grid[:, :1] > 0.1, (250, 30, 30), (30, 30, 250)).astype(np.uint8)
    save_scene(known / SCENE, Points(grid.astype(np.float32), colors, np.full(len(grid), 0.03, np.float32)))
    synthesize = Synthesizer(SynthesisConfig("debug", "", "", GateConfig(0.0, 1e9, 1e9, keep_unjudged=True)), small_tiny())
    made = {}
    for source in (plain, known):
        made[source] = tmp_path / f"made_{source.name}"
        synthesize(Take(source, "", kind, 1), made[source])

    with_scene, without = (np.stack([moment.image for moment in Episode(made[source]).conditions(1)]) for source in (known, plain))
    assert np.abs(with_scene.astype(float) - without).mean() > 1.0, "the generator saw the scene"
    assert Episode(made[plain]).scene_path is None
    kept = load_scene(Episode(made[known]).scene_path)
    sign = -1.0 if kind == "mirrored" else 1.0
    np.testing.assert_allclose(kept.points_world, grid * (sign, 1.0, 1.0), atol=1e-6)


# --- whole runs ---


def test_a_run_makes_a_dataset_with_provenance_and_the_next_one_makes_nothing_twice(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture
) -> None:
    sources, out = recorded(tmp_path / "in"), tmp_path / "out"
    assert synthesize(model, sources, "--out", out, "--vary", "seed=2", "mirrored", "swapped") == 0
    names = {"a-seed-1", "a-seed-2", "a-mirrored-1", "a-swapped-b-1", "b-seed-1", "b-seed-2", "b-mirrored-1", "b-swapped-a-1"}
    assert {path.name for path in (out / EPISODES).iterdir() if path.is_dir() and not path.name.startswith(".")} == names
    assert {path.stem for path in (out / "mcap").iterdir()} == names
    assert (out / "contact_sheet.png").stat().st_size > 1000
    episode = Episode(out / EPISODES / "a-swapped-b-1")
    said = episode.description[PROVENANCE]
    assert (said["source_sha256"], said["variation"]["donor"]) == (content_hash(sources / "a"), str(sources / "b"))
    assert (said["model_sha256"], said["variation"]["kind"]) == (content_hash(model), "swapped")
    assert {"seed", "code_version", "worth", "gate"} <= set(said)
    assert episode.description["task"] == "reach"

    made = {name: Ledger(out / EPISODES).outcomes[name].seconds for name in names}
    capsys.readouterr()
    assert synthesize(model, sources, "--out", out, "--vary", "seed=2", "mirrored", "swapped") == 0
    assert "8 there already; 8 episodes in all" in capsys.readouterr().out
    assert {name: Ledger(out / EPISODES).outcomes[name].seconds for name in names} == made


def test_what_is_told_of_hands_is_told_of_those_that_a_variation_has() -> None:
    told = {"seed": 3, "moved": ["cup"], "tasks": {"right": ["carry"], "left": ["idle"]}}
    take = Take(Path("a"), "hash", "mirrored", 1)
    assert described(take, told) == {**told, "tasks": {"left": ["carry"], "right": ["idle"]}}
    assert described(replace(take, kind="swapped", donor=Path("b")), told) == {"seed": 3}
    assert described(replace(take, kind="retimed"), told) == told


def test_lerobot_bag_and_episode_hold_the_same(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    assert synthesize(model, recorded(tmp_path / "in", ("a",)) / "a", "--out", out, "--vary", "perturbed") == 0
    episode, lerobot, bag = (open_recording(path) for path in (out / EPISODES / "a-perturbed-1", out, out / "mcap" / "a-perturbed-1.mcap"))
    triples = list(zip(episode.conditions(), lerobot.conditions(), bag.conditions(), strict=True))
    assert len(triples) == 6
    for ours, theirs, bagged in triples:
        assert ours.stamp_ns == theirs.stamp_ns == bagged.stamp_ns
        assert np.array_equal(ours.T_world_camera, theirs.T_world_camera)
        assert np.allclose(ours.T_world_camera, bagged.T_world_camera, atol=1e-12)
        assert np.array_equal(ours.hands[0].joint_angles_rad, theirs.hands[0].joint_angles_rad)
        assert np.array_equal(ours.hands[0].joint_angles_rad, bagged.hands[0].joint_angles_rad)
        assert np.array_equal(ours.image, theirs.image)
        assert np.abs(ours.image.astype(int) - bagged.image).mean() < 12.0  # JPEG and H.264 of noise


def test_equal_seeds_make_equal_pictures_and_others_do_not(tmp_path: Path, model: Path) -> None:
    source = recorded(tmp_path / "in", ("a",)) / "a"
    for out in ("one", "two"):
        assert synthesize(model, source, "--out", tmp_path / out, "--vary", "seed=2", "--no-mcap") == 0
    one, two, other = (
        np.stack([condition.image for condition in Episode(tmp_path / out / EPISODES / name).conditions()])
        for out, name in (("one", "a-seed-1"), ("two", "a-seed-1"), ("one", "a-seed-2"))
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_full_disk_stops_with_the_remedy_and_the_next_run_finishes(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture) -> None:
    sources, out = recorded(tmp_path / "in"), tmp_path / "small"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90k", "tmpfs", out], check=False, capture_output=True).returncode:
        pytest.skip("only root can make a small disk")
    try:
        assert synthesize(model, sources, "--out", out, "--vary", "seed=4") == 2
        assert "make room and run the same again" in capsys.readouterr().err
        for episode in (path for path in (out / EPISODES).glob("?-*")):
            assert sum(1 for _ in Episode(episode).conditions()) == 6
        subprocess.run(["mount", "-o", "remount,size=40m", out], check=True)
        assert synthesize(model, sources, "--out", out, "--vary", "seed=4") == 0
        assert len(list((out / "mcap").iterdir())) == 8
    finally:
        subprocess.run(["umount", "--lazy", out], check=True)  # encoders that failed are closed with the process


# --- what users get wrong ---


def test_a_bag_without_hands_is_refused_with_the_topics_that_it_has(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer

    from h2w_ros.episodes.bag_writer import TopicSink, camera_info_msg

    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        TopicSink(writer).send("/head/camera_info", 1, camera_info_msg(CAMERA, 1))
    assert synthesize(model, tmp_path / "bag", "--out", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "/head/camera_info" in told
    assert "hands" in told
    assert not (tmp_path / "out").exists()


def test_bags_are_sources_as_well(tmp_path: Path, model: Path) -> None:
    write_bag(tmp_path / "run.mcap", moments(0, 5))
    assert synthesize(model, tmp_path / "run.mcap", "--out", tmp_path / "out") == 0
    assert json.loads((tmp_path / "out/episodes/run-seed-1/episode.json").read_text())["num_frames"] == 5


def test_motion_that_nobody_knows_can_not_be_varied(tmp_path: Path, model: Path) -> None:
    drawn = np.zeros((64, 96, 3), np.uint8)
    write_episode(tmp_path / "drawn", [replace(moment, hands=(), hand_render=drawn) for moment in moments(0, 4)], 16.0)
    assert synthesize(model, tmp_path / "drawn", "--out", tmp_path / "out", "--vary", "retimed", "seed") == 1
    outcomes = Ledger(tmp_path / "out" / EPISODES).outcomes
    assert "no hand poses" in outcomes["drawn-retimed-1"].reason
    assert outcomes["drawn-seed-1"].status == "done"


@pytest.mark.parametrize(("word", "reason"), [("dream", "one of"), ("seed=0", "at least one"), ("seed=", "one of"), ("seed=x", "one of")])
def test_unknown_variations_are_refused(word: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"a variation .* {reason}"):
        parsed_kinds([word])


def test_recordings_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        write_episode(tmp_path / folder / "run", moments(0, 3, 0.0 if folder == "x" else 0.01), 16.0)
    takes = takes_of([tmp_path / "x/run", tmp_path / "y/run"], {"seed": 1}, config := SynthesisConfig("tiny", "", ""))
    names = [job.name for job in jobs_of(takes, config)]
    assert len(set(names)) == 2
    shutil.copytree(tmp_path / "x/run", tmp_path / "z")
    assert content_hash(tmp_path / "z") == content_hash(tmp_path / "x/run")


def test_folders_and_datasets_are_taken_apart(tmp_path: Path, model: Path) -> None:
    recorded(tmp_path / "in")
    assert list(sources_at(tmp_path / "in")) == [tmp_path / "in/a", tmp_path / "in/b"]
    assert synthesize(model, tmp_path / "in", "--out", tmp_path / "out", "--no-mcap") == 0
    assert [path.name for path in sources_at(tmp_path / "out")] == ["out:0", "out:1"]
    with pytest.raises(FileNotFoundError, match="is no recording and holds none"):
        list(sources_at(tmp_path / "out" / "meta"))
