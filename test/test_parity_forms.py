"""`h2w parity` on a folder of another form than the release's: other sizes, layers, window, rays, and kohya's names of LoRAs."""

import json
from pathlib import Path

import pytest
import torch
from golden import GOLDEN, needs_golden
from safetensors.torch import load_file, save_file
from torch import Tensor

from h2w_ros.cli import main
from h2w_ros.generator.config import TransformerConfig, from_dict
from h2w_ros.generator.parity import SCALAR_T, GoldenFolder, compare
from h2w_ros.generator.transformer import Transformer

BATCH, LATENT_FRAMES, HEIGHT, WIDTH, STRIDE, Z = 1, 5, 96, 64, 4, 6
FORM = {
    "dim": 96,
    "num_heads": 3,
    "num_layers": 3,
    "ffn_dim": 160,
    "text_dim": 48,
    "text_len": 9,
    "in_dim": 3 * Z,
    "out_dim": Z,
    "freq_dim": 64,
    "downscale_factor_control_adapter": STRIDE,
}
TEACHER, STUDENT = ("blocks.0.self_attn.q", "blocks.2.ffn.0"), ("blocks.1.self_attn.v",)
MULTIPLIER, RANK, ALPHA = 0.25, 8, 4.0
OUTPUTS = ("bidirectional_teacher", "bidirectional_per_token_t", "ar_latents_1step", "ar_latents_3step", "ar_latents_4step")


def _kohya(state: dict[str, Tensor], layers: tuple[str, ...], random: torch.Generator) -> dict[str, Tensor]:
    lora = {}
    for layer in layers:
        rows, columns = state[f"{layer}.weight"].shape
        name = "lora_unet__" + layer.replace(".", "_")
        lora[f"{name}.lora_down.weight"] = 0.1 * torch.randn(RANK, columns, generator=random)
        lora[f"{name}.lora_up.weight"] = 0.1 * torch.randn(rows, RANK, generator=random)
        lora[f"{name}.alpha"] = torch.tensor(ALPHA)
    return lora


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights, LoRAs and inputs of another form, with our own values as the golden ones."""
    meta, random = json.loads((GOLDEN / "meta.json").read_text()), torch.Generator().manual_seed(0)
    meta["config"] |= FORM
    meta |= {"height": HEIGHT, "width": WIDTH, "latent_frames": LATENT_FRAMES, "kv_cache_window": 2, "lora_multiplier": MULTIPLIER}
    meta["riflex"] = {"k": 4, "L_test": 50, "L_test_scale": 4.886}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    state = {name: 0.1 * torch.randn(value.shape, generator=random) for name, value in _transformer(tmp_path).state_dict().items()}
    save_file(state, tmp_path / "transformer.safetensors")
    save_file(_kohya(state, TEACHER, random), tmp_path / "lora_bidirectional.safetensors")
    save_file(_kohya(state, STUDENT, random), tmp_path / "lora_student.safetensors", {"train_F_lat": "2"})
    h, w = HEIGHT // STRIDE, WIDTH // STRIDE
    frames = (BATCH, Z, LATENT_FRAMES, h, w)
    inputs = {name: torch.randn(frames, generator=random) for name in ("control_latents", "noisy")}
    inputs["ref_latent"] = torch.randn(BATCH, Z, 1, h, w, generator=random)
    inputs["context"] = torch.randn(FORM["text_len"], FORM["text_dim"], generator=random)
    inputs["t_per_token"] = 1000 * torch.rand(BATCH, LATENT_FRAMES * h * w // 4, generator=random)
    inputs["plucker_latent"] = torch.zeros(BATCH, 24, LATENT_FRAMES, HEIGHT, WIDTH)
    inputs |= {f"ar_noise_{steps}step": torch.randn(LATENT_FRAMES, 4, BATCH, Z, 1, h, w, generator=random) for steps in (1, 3, 4)}
    save_file(inputs, tmp_path / "inputs.safetensors")
    save_file({"nothing": torch.zeros(1)}, tmp_path / "outputs.safetensors")
    inputs["plucker_latent"] = GoldenFolder(tmp_path).compute("plucker_latent").float().contiguous()
    save_file(inputs, tmp_path / "inputs.safetensors")
    ours = GoldenFolder(tmp_path)
    with torch.no_grad():
        save_file({name: ours.compute(name).contiguous() for name in OUTPUTS}, tmp_path / "outputs.safetensors")
    return tmp_path


def _transformer(folder: Path) -> Transformer:
    config = json.loads((folder / "meta.json").read_text())["config"]
    known = {name: value for name, value in config.items() if name not in ("add_ref_conv", "in_dim_ref_conv")}
    return Transformer(from_dict(TransformerConfig, known, "meta.json"))


@needs_golden
def test_another_form_is_computed_and_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {result.name for result in compare(folder)} == {*OUTPUTS, "plucker_latent"}
    assert main(["parity", str(folder)]) == 0
    values = load_file(folder / "outputs.safetensors")
    assert values["ar_latents_4step"].shape == (BATCH, Z, LATENT_FRAMES, HEIGHT // STRIDE, WIDTH // STRIDE)
    assert all(value.isfinite().all() for value in values.values())
    assert "ar_latents_3step" in capsys.readouterr().out


@needs_golden
def test_its_teacher_is_the_network_with_the_loras_added_by_hand(folder: Path) -> None:
    """By meta's multiplier, which is alpha over rank: an alpha in the file is not applied on top."""
    state, lora = load_file(folder / "transformer.safetensors"), load_file(folder / "lora_bidirectional.safetensors")
    for layer in TEACHER:
        name = "lora_unet__" + layer.replace(".", "_")
        state[f"{layer}.weight"] += MULTIPLIER * lora[f"{name}.lora_up.weight"] @ lora[f"{name}.lora_down.weight"]
    teacher, inputs = _transformer(folder).eval(), load_file(folder / "inputs.safetensors")
    teacher.load_state_dict(state)
    reference = torch.zeros_like(inputs["noisy"])
    reference[:, :, :1] = inputs["ref_latent"]
    latents = torch.cat([inputs["noisy"], inputs["control_latents"], reference], dim=1)
    context = inputs["context"].expand(BATCH, -1, -1)
    with torch.no_grad():
        rays = teacher.embed_rays(inputs["plucker_latent"])
        expected, elsewhere = (teacher(latents, torch.full((BATCH, 1), t), rays, context=context) for t in (SCALAR_T, 1.0))
    theirs = load_file(folder / "outputs.safetensors")["bidirectional_teacher"]
    torch.testing.assert_close(expected, theirs, rtol=1e-4, atol=1e-4)
    assert (elsewhere - theirs).abs().max() > 1e-2


@needs_golden
@pytest.mark.parametrize("key", ["kv_cache_window", "lora_multiplier"])
def test_what_meta_says_makes_the_difference(folder: Path, key: str) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    meta[key] = {"kv_cache_window": 3, "lora_multiplier": 1.0}[key]
    (folder / "meta.json").write_text(json.dumps(meta))
    failed = {result.name for result in compare(folder) if not result.passed}
    assert "ar_latents_4step" in failed
    assert "bidirectional_per_token_t" not in failed
