"""Whole recipes: their plans, what is left of a budget, pieces of weights, and the arms of ablations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generators import random_transformer
from safetensors.torch import load_file
from test_training import MODEL, NUM_FRAMES, moments, steps, write_pixels

from h2w_ros.generator.checkpoint import load_generator, save_generator, transformer_files
from h2w_ros.generator.folded_codec import FoldedCodec
from h2w_ros.generator.presets import preset
from h2w_ros.generator.tensors import PIECE_BYTES, read_state, weight_files, write_pieces
from h2w_ros.generator.transformer import Transformer
from h2w_ros.geometry import transform
from h2w_ros.session import Session
from h2w_ros.training.cache import load_clips
from h2w_ros.training.card import TRAINED
from h2w_ros.training.config import RECIPES, Plan
from h2w_ros.training.run import RunFolder, write_json
from h2w_ros.training.stages import Stages
from h2w_ros.training.weights import read_network
from h2w_ros.training.whole import Spent, train_all
from h2w_ros.world.simulate import WorldEpisode


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_plan_names_stages_that_there_are(name: str, tmp_path: Path) -> None:
    stages = Stages(tmp_path, name)
    assert all(hasattr(stages, stage) and stage in TRAINED for stage, _ in stages.recipe.plan.networks)
    longest = max(stages.recipe.causal.clip_frames)
    assert longest <= stages.model.rollout.window
    assert set(stages.recipe.matching.clip_frames) <= {*stages.recipe.teacher.clip_frames}


def test_the_gpus_model_fits_what_may_be_shipped() -> None:
    model = preset("tiny-gpu")
    network = Transformer(model.transformer)
    assert (model.height_px, model.width_px) == (192, 256)
    assert len(model.rollout.timesteps) == 2
    assert 2 * sum(parameter.numel() for parameter in network.parameters()) < 38e6


def test_a_plan_shares_out_everything() -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        Plan(networks=(("refiner", 0.5), ("stream", 0.4)))
    with pytest.raises(ValueError, match="leave something"):
        Plan(simulate=0.9, codec=0.1)


class Noted(Stages):
    """Stages that note how long they may work, and say that they did, but for the last one, which is interrupted the first time."""

    def _work(self, stage: str, minutes: float) -> None:
        path = self.folder / "noted.json"
        noted = json.loads(path.read_text()) if path.exists() else []
        write_json(path, [*noted, [stage, round(minutes, 2)]])
        folder = RunFolder(self.folder / stage)
        is_first = folder.progress().step == 0
        worked_s = 30.0 * minutes if stage == "stream" and is_first else 60.0 * minutes
        write_json(folder.path / "progress.json", {"step": 1, "seconds": folder.progress().seconds + worked_s, "loss": None})
        if stage == "stream" and is_first:
            raise KeyboardInterrupt

    def simulate(self, episodes, workers, minutes=0.0):
        write_json(self.folder / "simulated.json", [minutes])

    def encode(self, workers=1, pixels_kept=None):
        pass

    def codec(self, budget):
        self._work("codec", budget.minutes)

    def refiner(self, budget, start_from=None):
        self._work("refiner", budget.minutes)

    def stream(self, budget, start_from=None):
        self._work("stream", budget.minutes)

    def ship(self, out):
        (self.folder / "shipped").touch()


def test_a_recipe_that_was_stopped_goes_on_with_what_is_left_of_its_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_stages = replace(RECIPES["tiny"], plan=Plan(networks=(("refiner", 0.6), ("stream", 0.4))))
    monkeypatch.setitem(RECIPES, "tiny", two_stages)
    stages = Noted(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train_all(stages, 100.0, 1, tmp_path)
    assert not (stages.folder / "shipped").exists()
    train_all(stages, 100.0, 1, tmp_path)
    worked = json.loads((stages.folder / "noted.json").read_text())
    plan, for_networks = stages.recipe.plan, 100.0 - 8.0
    refiner, stream = (share * for_networks for _, share in plan.networks)
    expected = [["codec", 8.0], ["refiner", refiner], ["stream", stream], ["stream", stream / 2]]
    assert [name for name, _ in worked] == [name for name, _ in expected]
    assert [minutes for _, minutes in worked] == pytest.approx([minutes for _, minutes in expected], abs=0.05)
    assert (stages.folder / "shipped").exists()


def test_time_is_counted_also_when_it_ends_in_an_error(tmp_path: Path) -> None:
    spent = Spent(tmp_path)
    with pytest.raises(KeyboardInterrupt), spent.counted("simulate"):
        raise KeyboardInterrupt
    assert spent.minutes("simulate") > 0.0
    assert spent.minutes("encode") == 0.0


def test_pieces_are_small_whole_and_replace_what_was_there(tmp_path: Path) -> None:
    state = {f"layer{i}": torch.randn(64, 64) for i in range(7)} | {"large": torch.randn(300, 64)}
    limit = 2**16 + 40_000
    write_pieces(tmp_path, "weights", state)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]
    pieces = write_pieces(tmp_path, "weights", state, limit)
    assert sorted(tmp_path.iterdir()) == sorted(pieces) == weight_files(tmp_path, ["weights"])
    assert all(path.stat().st_size <= limit for path in pieces[:-1])
    assert len(pieces) == 5  # two layers each, and the one that is larger than a piece
    joined = read_state(pieces)
    assert all(torch.equal(tensor, joined[name]) for name, tensor in state.items())
    write_pieces(tmp_path, "weights", state)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_a_large_model_is_shipped_in_pieces_that_load_and_train_on(tmp_path: Path) -> None:
    model = preset("tiny")
    model = replace(model, transformer=replace(model.transformer, dim=256, ffn_dim=1024, num_layers=8))
    network = random_transformer(model.transformer)
    save_generator(tmp_path, model, network, FoldedCodec(model.codec))
    files = transformer_files(tmp_path)
    assert len(files) > 2, "pieces of the transformer, and the refiner"
    assert max(path.stat().st_size for path in files) <= PIECE_BYTES
    loaded = load_generator(tmp_path, torch.float32).transformer.state_dict()
    begun = read_network(tmp_path)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, atol=0.02, rtol=0.01)
        assert torch.equal(begun[name], loaded[name])


@pytest.mark.slow
def test_episodes_are_encoded_alike_by_one_process_and_by_two_and_their_pixels_may_go(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_pixels(tmp_path / name, (0, 1, 2))
    one, two = Stages(tmp_path / "one", "debug"), Stages(tmp_path / "two", "debug")
    one.codec(steps(1))
    (tmp_path / "two" / "codec").symlink_to(tmp_path / "one" / "codec")
    one.encode()
    two.encode(workers=2, pixels_kept=1)
    for seed in range(3):
        first, second = (load_file(tmp_path / name / "latents" / f"{seed}.safetensors") for name in ("one", "two"))
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items() if not name.startswith("T_world_grips"))
    assert [path.stem for path in (tmp_path / "two" / "pixels").iterdir()] == ["0"]
    assert all(two._is_made(seed) for seed in range(3))
    assert not two._is_made(3)


@pytest.mark.parametrize("name", ["no_rays", "cut_masks"])
def test_an_arm_trains_ships_and_streams(name: str, tmp_path: Path) -> None:
    stages = Stages(tmp_path / "run", "debug", ablation=name)
    write_pixels(stages.folder, (0, 1))
    stages.codec(steps(1))
    stages.encode()
    for stage in ("refiner", "stream"):
        getattr(stages, stage)(steps(1))
    stages.ship(tmp_path / "model")
    generator = load_generator(tmp_path / "model", torch.float32)
    assert generator.config.name == f"debug-{name}"
    assert json.loads((tmp_path / "model" / "training.json").read_text())["ablation"] == name
    session = Session(generator)
    assert sum(len(session.push(condition)) for condition in moments(0, 3)) == 3


def test_without_rays_nothing_tells_how_the_camera_moves(tmp_path: Path) -> None:
    stages = Stages(tmp_path, "debug", ablation="no_rays")
    write_pixels(tmp_path, (0, 1))
    stages.codec(steps(1))
    stages.encode()
    assert np.ptp(load_clips(tmp_path).T_world_camera, axis=1).max() > 0
    assert np.ptp(stages._clips().T_world_camera, axis=1).max() == 0
    assert np.ptp(Stages(tmp_path, "debug", ablation="no_rays_reference")._clips().T_world_camera, axis=1).max() > 0


def test_as_if_still_leaves_hands_where_the_camera_sees_them(tmp_path: Path) -> None:
    stages = Stages(tmp_path, "debug")
    write_pixels(tmp_path, (0, 1))
    stages.codec(steps(1))
    stages.encode()
    seen = stages._clips()
    one_hand = torch.from_numpy(seen.T_world_camera[:, :, None] @ transform(np.eye(3), np.array([0.1, 0.0, 0.5]))).float()
    seen = replace(seen, T_world_grips=torch.cat([one_hand, torch.full_like(one_hand, torch.nan)], dim=2))
    told = seen.as_if_still()
    for source in (seen, told):
        T_camera_grips = np.linalg.inv(source.T_world_camera)[:, :, None] @ source.T_world_grips.double().numpy()
        np.testing.assert_allclose(T_camera_grips[:, :, 0, :3, 3], np.broadcast_to([0.1, 0.0, 0.5], (*one_hand.shape[:2], 3)), atol=1e-6)
        assert np.isnan(T_camera_grips[:, :, 1]).all()


def test_arms_that_are_compared_differ_in_one_thing(tmp_path: Path) -> None:
    blind, seeing = (Stages(tmp_path, "debug", ablation=name) for name in ("no_rays", "no_rays_reference"))
    assert blind.recipe == seeing.recipe
    assert blind.recipe.causal.scene_shares == (0.0, 0.0, 1.0)
    assert replace(blind.model, name="") == replace(seeing.model, name="") == replace(preset("debug"), name="")
    assert (blind.arm.rays, seeing.arm.rays) == (False, True)
    cut, complete = (Stages(tmp_path, "debug", ablation=name) for name in ("cut_masks", "cut_masks_reference"))
    assert cut.recipe == complete.recipe == RECIPES["debug"]
    assert replace(cut.model, name="", hand_style="solid") == replace(complete.model, name="")
    assert cut.arm.contact_only
    assert complete.arm.contact_only
    assert Stages(tmp_path, "debug", ablation="static_scene").recipe.causal.scene_shares == (0.0, 0.5, 0.5)


def simulated(stages: Stages, monkeypatch: pytest.MonkeyPatch, moves: bool) -> None:
    """Has the stages simulate one episode whose hand is half hidden."""
    hands = np.zeros((NUM_FRAMES, MODEL.height_px, MODEL.width_px), bool)
    hands[:, :, : MODEL.width_px // 2] = True
    episode = WorldEpisode(moments(0), hands, hands & moves, {})
    monkeypatch.setattr("h2w_ros.training.stages.simulate_many", lambda seeds, *_: ((seed, episode) for seed in seeds))
    everywhere = np.full((MODEL.height_px, MODEL.width_px, 3), 200, np.uint8)
    drawn = everywhere, np.zeros(everywhere.shape, np.float32)
    monkeypatch.setattr("h2w_ros.training.cache.HandRenderer.render_with_normals", lambda *_: drawn)
    stages.simulate(1, 0)


def test_cut_masks_show_only_what_is_seen_of_hands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    for name in ("cut_masks", "cut_masks_reference"):
        stages = Stages(tmp_path / name, "debug", ablation=name)
        simulated(stages, monkeypatch, moves=True)
        stages.codec(steps(1))
        stages.encode()
        shown.append(load_file(tmp_path / name / "latents" / "0.safetensors"))
    cut, complete = (latents["hand"] for latents in shown)
    middle = cut.shape[-1] // 2
    assert torch.equal(cut[..., :middle], complete[..., :middle])
    assert (complete[..., middle:] > 0).all()
    assert (cut[..., middle:] < 0).all()  # black
    assert torch.equal(shown[0]["dressed"], shown[1]["dressed"])  # its layer ends where the hand picture does


def test_contact_arms_leave_out_episodes_in_which_nothing_moves_and_do_not_ask_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages(tmp_path, "debug", ablation="cut_masks")
    simulated(stages, monkeypatch, moves=False)
    assert not list((tmp_path / "pixels").glob("*.npz"))
    assert stages._is_made(0)


def test_an_unknown_ablation_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of \['cut_masks', .*'static_scene'\], got 'no_hands'"):
        Stages(tmp_path, "debug", ablation="no_hands").codec(steps(1))


def test_a_gpu_that_is_not_there_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    from h2w_ros.cli import main

    assert main(["train", "teacher", "--run", str(tmp_path), "--device", "cuda"]) == 2
    assert "needs a GPU" in capsys.readouterr().err
    assert main(["train", "teacher", "--run", str(tmp_path), "--device", "abacus"]) == 2
