"""Training from pixels to a model that a session runs, stage by stage."""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from h2w_ros.commands import train as train_command
from h2w_ros.condition import Camera, Condition
from h2w_ros.generator.checkpoint import load_generator
from h2w_ros.generator.folded_codec import FoldedCodec
from h2w_ros.generator.presets import preset
from h2w_ros.geometry import transform
from h2w_ros.hands.render import HandRenderer
from h2w_ros.provenance import code_version
from h2w_ros.session import Session
from h2w_ros.training import stages as stages_module
from h2w_ros.training.cache import VALIDATION_EVERY, encode_pixels, episode_pixels, latent_files, load_clips, pixel_files
from h2w_ros.training.run import Budget, RunFolder
from h2w_ros.training.stages import Stages
from h2w_ros.training.weights import read_refiner
from h2w_ros.training.whole import train_all

MODEL = preset("debug")
CAMERA = Camera(MODEL.width_px, MODEL.height_px, 40.0, 40.0, MODEL.width_px / 2, MODEL.height_px / 2)
NUM_FRAMES = 6
AMPLE_MINUTES = 10.0


def steps(count: int) -> Budget:
    return Budget(AMPLE_MINUTES, count)


def moments(seed: int, count: int = NUM_FRAMES) -> list[Condition]:
    """A head that moves to the right before a picture of stripes."""
    rng = np.random.default_rng(seed)
    stripes = np.repeat(rng.integers(0, 256, (1, MODEL.width_px + count, 3), dtype=np.uint8), MODEL.height_px, axis=0)
    views = [np.ascontiguousarray(stripes[:, i : i + MODEL.width_px]) for i in range(count)]
    poses = [transform(np.eye(3), np.array([0.01 * i, 0.0, 0.0])) for i in range(count)]
    return [Condition(round(i * 62.5e6), CAMERA, poses[i], image=views[i], static_render=views[i]) for i in range(count)]


def write_pixels(folder: Path, seeds: Sequence[int] = (0, 1, VALIDATION_EVERY - 1)) -> None:
    (folder / "pixels").mkdir(parents=True)
    masks = np.zeros((NUM_FRAMES, MODEL.height_px, MODEL.width_px), bool)
    masks[:, 8:16, 8:16] = True
    for seed in seeds:
        arrays = episode_pixels(moments(seed), masks, ~masks, HandRenderer(style=MODEL.hand_style), MODEL.codec.spatial_stride)
        np.savez(folder / "pixels" / f"{seed}.npz", **arrays)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """A whole run of the debug recipe: two steps of every stage."""
    folder = tmp_path_factory.mktemp("run")
    write_pixels(folder)
    stages = Stages(folder, "debug")
    stages.codec(steps(2))
    stages.encode()
    stages.refiner(steps(2))
    stages.teacher(steps(2))
    stages.causal(steps(2))
    stages.stream(steps(2))
    stages.distill(steps(2))
    return stages


def test_latents_are_written_once_for_every_episode(trained: Stages) -> None:
    clips = load_clips(trained.folder)
    assert clips.image.shape == (2, NUM_FRAMES, MODEL.codec.latent_channels, *MODEL.latent_size)  # the third is kept back
    assert clips.camera(1) == CAMERA
    assert clips.hand_share[0, 0].max() == 1.0  # one latent cell is all hand
    assert clips.hand_share[0, 0].mean() == pytest.approx(64 / (MODEL.height_px * MODEL.width_px), rel=1e-3)
    written = {path: path.stat().st_mtime_ns for path in (trained.folder / "latents").iterdir()}
    trained.encode()
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_an_episode_still_being_written_is_no_pixel_file(trained: Stages) -> None:
    (trained.folder / "pixels" / "7.part.npz").touch()
    assert [path.stem for path in pixel_files(trained.folder)] == ["0", "1", str(VALIDATION_EVERY - 1)]


def test_the_codec_never_sees_what_is_kept_back(trained: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(stages_module, "PictureSource", lambda files, *_: read.extend(path.stem for path in files) or iter(()))
    trained.codec(steps(2))  # it has had its two
    assert read == ["0", "1"]


def test_a_run_folder_says_what_made_it(trained: Stages, tmp_path: Path) -> None:
    given = trained.folder / "refiner" / "average.safetensors"
    (tmp_path / "run").mkdir()
    shutil.copytree(trained.folder / "latents", tmp_path / "run" / "latents")
    again = replace(trained, folder=tmp_path / "run", seed=5)
    again.refiner(steps(1), given)
    again.refiner(steps(2))
    first, second = RunFolder(again.folder / "refiner").sessions()
    assert first["start_from"] == str(given)
    assert first["start_from_sha256"] == hashlib.sha256(given.read_bytes()).hexdigest()
    assert "start_from" not in second
    assert [said["from_step"] for said in (first, second)] == [0, 1]
    assert first["code"] == code_version()
    assert (first["recipe"], first["seed"], first["device"]) == ("debug", 5, "cpu")
    assert first["config"]["stream"]["streams"] == trained.recipe.refiner.stream.streams
    assert first["model"]["name"] == "debug"


def test_one_seed_in_many_is_kept_back_and_validates(trained: Stages) -> None:
    assert [path.stem for path in latent_files(trained.folder, validation=True)] == [f"{VALIDATION_EVERY - 1}"]
    lines = (trained.folder / "stream" / "validation.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["2"]


@pytest.mark.parametrize("stage", ["teacher", "causal", "consistency", "matching"])
def test_two_steps_are_logged_and_resumed_to_four(trained: Stages, stage: str) -> None:
    folder, go_on = RunFolder(trained.folder / stage), getattr(trained, stage)
    earlier, saved = folder.progress(), load_file(folder.path / "weights.safetensors")
    assert earlier.step == 2
    go_on(steps(2))
    assert all(torch.equal(saved[name], tensor) for name, tensor in load_file(folder.path / "weights.safetensors").items())
    go_on(steps(4))
    assert folder.progress().step == 4
    assert folder.progress().seconds > earlier.seconds
    logged = (folder.path / "loss.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in logged] == ["1", "2", "3", "4"]
    moved = load_file(folder.path / "weights.safetensors")
    assert 0 < max((moved[name] - saved[name]).abs().max().item() for name in saved) < 0.5


def test_a_stage_begins_with_the_weights_of_the_one_before(trained: Stages) -> None:
    refined = load_file(trained.folder / "refiner" / "average.safetensors")
    begun = trained._begin(None, "refiner")
    assert all(torch.equal(begun.refiner.state_dict()[name], tensor) for name, tensor in refined.items())
    given = trained.folder / "causal" / "average.safetensors"
    begun = trained._begin(given, "nothing")
    assert all(torch.equal(begun.state_dict()[name], tensor) for name, tensor in load_file(given).items())


def test_the_causal_network_begins_with_the_teachers_body_and_a_head_of_its_own(trained: Stages) -> None:
    taught = load_file(trained.folder / "teacher" / "average.safetensors")
    begun = trained._begin(None, "refiner")
    trained._take_body(begun)
    state = begun.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in taught.items() if not name.startswith("head."))
    assert state["head.head.weight"].shape[0] > taught["head.head.weight"].shape[0]
    assert not state["head.head.weight"].any()


def test_matching_needs_a_teacher_and_keeps_its_critic(trained: Stages, tmp_path: Path) -> None:
    critic = load_file(trained.folder / "matching" / "critic.safetensors")
    taught = load_file(trained.folder / "teacher" / "average.safetensors")
    assert set(critic) == set(taught)
    assert any(not torch.equal(tensor, taught[name]) for name, tensor in critic.items())
    with pytest.raises(FileNotFoundError, match="h2w train teacher"):
        replace(trained, folder=tmp_path).matching(steps(1))


def test_a_stage_that_has_begun_refuses_other_weights(trained: Stages) -> None:
    with pytest.raises(ValueError, match="--start-from is for a new run"):
        trained.causal(steps(9), trained.folder / "stream" / "average.safetensors")
    with pytest.raises(ValueError, match="--start-from is for a new run"):
        trained.refiner(steps(9), trained.folder / "refiner" / "average.safetensors")


def test_weights_to_start_from_that_are_not_there_are_an_error(trained: Stages, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        trained._begin(tmp_path / "none.safetensors", "refiner")


def test_weights_of_another_model_are_named_with_what_was_expected(trained: Stages, tmp_path: Path) -> None:
    path = trained.folder / "codec" / "average.safetensors"
    state = load_file(path)
    name = next(iter(state))
    narrower = tmp_path / "narrower"
    (narrower / "codec").mkdir(parents=True)
    save_file(state | {name: state[name][:1].contiguous()}, narrower / "codec" / "average.safetensors")
    with pytest.raises(ValueError, match=rf"average\.safetensors: tensor {re.escape(name)} must have shape .* got .* choose another --run"):
        replace(trained, folder=narrower).frozen_codec()


@pytest.mark.parametrize("given", ["model", "model/refiner.safetensors"])
def test_a_refiner_goes_on_from_a_shipped_model(trained: Stages, tmp_path: Path, given: str) -> None:
    trained.ship(tmp_path / "model")
    (tmp_path / "run").mkdir()
    shutil.copytree(trained.folder / "latents", tmp_path / "run" / "latents")
    again = replace(trained, folder=tmp_path / "run", seed=5)
    again.refiner(steps(1), tmp_path / given)
    shipped, trained_on = read_refiner(tmp_path / given), load_file(again.folder / "refiner" / "weights.safetensors")
    assert shipped.keys() == trained_on.keys()
    assert max(float((trained_on[name] - tensor).abs().max()) for name, tensor in shipped.items()) < 0.01


def test_later_stages_begin_with_a_shipped_refiner_too(trained: Stages, tmp_path: Path) -> None:
    trained.ship(tmp_path / "model")
    begun = replace(trained, folder=tmp_path, seed=5)._begin(tmp_path / "model" / "refiner.safetensors")
    assert begun.refiner is not None
    shipped = read_refiner(tmp_path / "model")
    assert all(torch.equal(tensor, shipped[name]) for name, tensor in begun.refiner.state_dict().items())
    with pytest.raises(ValueError, match=r"transformer\.safetensors must hold a refiner"):
        read_refiner(tmp_path / "model" / "transformer.safetensors")


def test_what_is_shipped_answers_conditions(trained: Stages, tmp_path: Path) -> None:
    trained.ship(tmp_path / "model")
    generator = load_generator(tmp_path / "model", torch.float32)
    assert generator.config == trained.recipe.shipped(MODEL)
    session = Session(generator)
    frames = [frame for condition in moments(0, 4) for frame in session.push(condition)]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert frames[3].image.shape == (MODEL.height_px, MODEL.width_px, 3)
    card = json.loads((tmp_path / "model" / "training.json").read_text())
    assert card["recipe"] == "debug"
    assert card["episodes"] == 3
    assert [card[stage]["step"] for stage in ("codec", "refiner", "stream")] == [2, 2, 2]
    assert card["stream"]["sessions"][0]["code"] == code_version()
    assert (tmp_path / "model" / "curves.png").read_bytes().startswith(b"\x89PNG")
    shipped, last = (
        load_file(path) for path in (tmp_path / "model" / "transformer.safetensors", trained.folder / "matching" / "average.safetensors")
    )
    assert all(torch.equal(tensor, last[name].to(tensor.dtype)) for name, tensor in shipped.items())


def test_the_teacher_is_shipped_by_itself(trained: Stages, tmp_path: Path) -> None:
    trained.ship_teacher(tmp_path / "teacher")
    teacher = load_generator(tmp_path / "teacher", torch.float32)
    assert teacher.config == trained.teacher_model
    last = load_file(trained.folder / "teacher" / "average.safetensors")
    shipped = load_file(tmp_path / "teacher" / "transformer.safetensors")
    assert all(torch.equal(tensor, last[name].to(tensor.dtype)) for name, tensor in shipped.items())
    card = json.loads((tmp_path / "teacher" / "training.json").read_text())
    assert card["teacher"]["step"] == RunFolder(trained.folder / "teacher").progress().step


@pytest.mark.parametrize(
    ("stage", "remedy"),
    [
        ("codec", "simulate"),
        ("encode", "train codec"),
        ("refiner", "train encode"),
        ("causal", "train encode"),
        ("ship", "train refiner"),
        ("ship_teacher", "train teacher"),
    ],
)
def test_a_stage_too_early_names_the_one_before_it(stage: str, remedy: str, tmp_path: Path) -> None:
    stages = Stages(tmp_path, "debug")
    with pytest.raises(FileNotFoundError, match=remedy):
        {
            "codec": lambda: stages.codec(steps(1)),
            "encode": stages.encode,
            "refiner": lambda: stages.refiner(steps(1)),
            "causal": lambda: stages.causal(steps(1)),
            "ship": lambda: stages.ship(tmp_path / "model"),
            "ship_teacher": lambda: stages.ship_teacher(tmp_path / "model"),
        }[stage]()


def test_an_unknown_recipe_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of \['debug', 'tiny', 'tiny-gpu'\], got 'huge'"):
        Stages(tmp_path, "huge").ship(tmp_path)


def test_the_stages_of_the_command_line_are_those_there_are() -> None:
    assert all(hasattr(Stages, stage) for stage in train_command.STAGES if stage not in ("recipe", "recorded", "things", "choices", "estimators"))


@pytest.mark.slow
def test_a_recipe_makes_a_model_from_nothing_within_its_time(tmp_path: Path) -> None:
    """The debug model, in the few seconds that a machine has to spare; simulation needs OpenGL."""
    pytest.importorskip("mujoco")
    try:
        train_all(Stages(tmp_path / "run", "debug"), 0.15, 0, tmp_path / "model")
    except OSError as error:
        pytest.skip(f"no OpenGL: {error}")
    generator = load_generator(tmp_path / "model")
    assert generator.config.name == "debug"
    told = json.loads((tmp_path / "model" / "training.json").read_text())
    assert told["episodes"] >= 1
    assert min(told[stage]["step"] for stage in ("codec", "refiner", "stream")) >= 1


def test_latents_are_made_anew_for_a_model_that_is_shown_other_things(tmp_path: Path) -> None:
    write_pixels(tmp_path, (0,))
    files, codec = pixel_files(tmp_path), FoldedCodec(MODEL.codec)
    bare = replace(MODEL, forearms=False)
    (written,) = encode_pixels(codec, bare, files, tmp_path)
    made = written.stat().st_mtime_ns
    list(encode_pixels(codec, bare, files, tmp_path))
    assert written.stat().st_mtime_ns == made
    list(encode_pixels(codec, MODEL, files, tmp_path))
    assert written.stat().st_mtime_ns > made


def test_pixels_that_do_not_say_which_way_hands_face_are_refused_with_the_remedy(tmp_path: Path) -> None:
    write_pixels(tmp_path, (0,))
    (file,) = pixel_files(tmp_path)
    arrays = dict(np.load(file))
    del arrays["hand_normals"]
    np.savez(file, **arrays)
    with pytest.raises(ValueError, match=r"got no hand_normals in .*0\.npz: .*simulate again"):
        list(encode_pixels(FoldedCodec(MODEL.codec), MODEL, [file], tmp_path))


def test_pixels_of_another_size_are_refused_with_the_remedy(tmp_path: Path) -> None:
    write_pixels(tmp_path, (0,))
    larger = replace(MODEL, height_px=2 * MODEL.height_px)
    with pytest.raises(ValueError, match=r"pixels must be of the model's 48x64, got 48x32 in .*0\.npz.*choose another --run"):
        list(encode_pixels(FoldedCodec(MODEL.codec), larger, pixel_files(tmp_path), tmp_path))


def test_latents_of_two_kinds_of_models_are_refused(tmp_path: Path) -> None:
    write_pixels(tmp_path, (0, 1))
    first, second = encode_pixels(FoldedCodec(MODEL.codec), MODEL, pixel_files(tmp_path), tmp_path)
    record = load_file(second)
    for left in (first, second):
        save_file({name: tensor for name, tensor in record.items() if name != "dressed"}, left)
        with pytest.raises(ValueError, match=r"must all have what .* has, .*'dressed'.*encode"):
            load_clips(tmp_path)
        save_file(record, left)
    assert load_clips(tmp_path).dressed is not None
