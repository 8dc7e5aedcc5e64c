"""Short runs that settle what `tiny` is made of: each is the network it says, and all are measured alike."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from h2w_ros.generator.folded_codec import LATENT_SCALE
from h2w_ros.generator.transformer import Transformer
from h2w_ros.training.cache import ClipSource, load_clips
from h2w_ros.training.choices import CHOICES, refolded, stream_psnr_db, tiny_with, try_choices
from h2w_ros.training.run import Budget
from h2w_ros.training.whole import LEAST_MINUTES

NUM_FRAMES = 10


def write_latents(folder: Path, seeds: tuple[int, ...]) -> None:
    """Episodes of coloured noise before a camera that turns, with a hand in the left half."""
    (folder / "latents").mkdir(parents=True)
    for seed in seeds:
        random = torch.Generator().manual_seed(seed)
        pictures = {
            name: (torch.rand(NUM_FRAMES, 48, 16, 16, generator=random) * 2 - 1).to(torch.bfloat16)
            for name in ("image", "static", "hand", "photo", "dressed")
        }
        hand = torch.zeros(NUM_FRAMES, 16, 16, dtype=torch.float16)
        hand[:, :, :8] = 1.0
        thing = torch.zeros_like(hand)
        thing[:, 4:8, 6:12] = 1.0
        tensors = {
            **pictures,
            "hand_share": hand,
            "object_share": thing,
            "T_world_camera": torch.eye(4, dtype=torch.float64).repeat(NUM_FRAMES, 1, 1),
            "T_world_grips": torch.full((NUM_FRAMES, 2, 4, 4), torch.nan),
            "camera": torch.tensor([128.0, 128, 120, 120, 64, 64], dtype=torch.float64),
            "knows_scene": torch.tensor(True),
            "num_carried": torch.tensor(0),
        }
        save_file(tensors, folder / "latents" / f"{seed}.safetensors")


@pytest.fixture
def source(tmp_path: Path) -> ClipSource:
    """Two episodes in memory."""
    write_latents(tmp_path, (0, 1))
    return load_clips(tmp_path)


def test_episodes_that_an_earlier_version_drew_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_latents(tmp_path, (0, 1, 2))
    load_clips(tmp_path)
    assert not caplog.records
    path = tmp_path / "latents" / "1.safetensors"
    save_file(load_file(path), path, {"shown": json.dumps({"forearms": "at table"})})
    load_clips(tmp_path)
    assert "1 of 3 episodes are drawn otherwise than the rest (forearms: at table and not None)" in caplog.text


def small_pictures(latents: torch.Tensor, fold: int) -> torch.Tensor:
    """Folded latents (N, T, Z, h, w) as the pictures that they are."""
    return F.pixel_shuffle(latents.flatten(0, 1).float(), fold)


@pytest.mark.parametrize(("channels", "fold"), [(12, 2), (192, 8)])
def test_latents_of_other_sizes_hold_the_same_pictures(source: ClipSource, channels: int, fold: int) -> None:
    other = refolded(source, channels)
    assert other.image.shape[2:] == (channels, 64 // fold, 64 // fold)
    assert torch.equal(small_pictures(other.image, fold), small_pictures(source.image, 4))
    assert torch.equal(refolded(other, 48).photo, source.photo)
    assert other.hand_share.float().mean() == source.hand_share.float().mean()
    assert other.object_share.shape == other.hand_share.shape == (2, NUM_FRAMES, 64 // fold, 64 // fold)


def test_every_choice_is_a_network_that_can_be_made() -> None:
    assert {name: Transformer(choice.model.transformer).refiner is not None for name, choice in CHOICES.items()} == {
        name: choice.stage == "refiner" for name, choice in CHOICES.items()
    }
    assert CHOICES["all"].model == CHOICES["own_past"].model == tiny_with()


@pytest.mark.parametrize("stride_px", [4, 8, 16])
@pytest.mark.parametrize("things_move", [True, False])
def test_a_network_that_adds_nothing_is_as_good_as_the_photo_whatever_its_latents_hold(source: ClipSource, stride_px: int, things_move: bool) -> None:
    source = replace(source, dressed=None, object_share=source.object_share * things_move)
    num_blocks = 3
    wrong = small_pictures(((source.photo - source.image) / (2 * LATENT_SCALE))[:, 1 : num_blocks + 1], 4).square().mean(1)
    hand, thing = (share[:, 1 : num_blocks + 1].float().flatten(0, 1) for share in (source.hand_share, source.object_share))
    regions = (F.interpolate(region[:, None], wrong.shape[1:])[:, 0] for region in (hand, thing * (1 - hand), 1 - hand - thing * (1 - hand)))
    photo_db = np.mean([-10 * np.log10(float((wrong * region).sum() / region.sum())) for region in regions if region.any()])
    model = tiny_with("residual", stride_px)
    transformer = Transformer(replace(model.transformer, num_layers=0, add_control_adapter=False))
    told = refolded(source, model.codec.latent_channels)
    shares = source.hand_share.float(), source.object_share.float()
    assert stream_psnr_db(transformer, model, told, shares, num_blocks) == pytest.approx(photo_db, abs=0.01)


def test_a_choice_that_has_had_its_minutes_gets_no_more(tmp_path: Path) -> None:
    write_latents(tmp_path, (0, 63))
    budgets = Budget(5.0, 1), Budget(LEAST_MINUTES / 2)
    steps = [try_choices(tmp_path, ["few_tokens"], budget)["How does a transformer alone learn?"]["few_tokens"]["steps"] for budget in budgets]
    assert steps == [1, 1]


def test_runs_are_told_together_with_those_of_before(tmp_path: Path) -> None:
    write_latents(tmp_path, (0, 1, 63))  # of 64, the last is kept back
    try_choices(tmp_path, ["residual"], Budget(5.0, 1))
    shown = try_choices(tmp_path, ["few_tokens"], Budget(5.0, 1))
    assert [list(answers) for answers in shown.values() if answers] == [["residual"], ["few_tokens"]]
    told = shown["What does the network answer?"]["residual"]
    assert told["steps"] == 1
    assert told["curve"][-1][1] == told["psnr_db"]
    assert 0 < told["psnr_db"] < 30
    assert (tmp_path / "choices" / "choices.png").stat().st_size > 10_000


def test_an_unknown_choice_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of velocity, x0, .*got 'magic'"):
        try_choices(tmp_path, ["residual", "magic"], Budget(5.0, 1))
    assert not list(tmp_path.iterdir())


def test_without_episodes_that_are_kept_back_nothing_is_trained(tmp_path: Path) -> None:
    write_latents(tmp_path, (0, 1))
    with pytest.raises(FileNotFoundError, match=r"kept back, one in 64, .*simulate and encode"):
        try_choices(tmp_path, ["residual"], Budget(5.0, 1))
    assert not (tmp_path / "choices").exists()
