"""The released network's numbers, where the golden folder is at hand; a copy with one thing changed must fail."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from golden import GOLDEN, needs_golden
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from h2w_ros.cli import main
from h2w_ros.generator.parity import compare, relative_error


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))


def _change(path, change):
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    save_file(change(state), path, metadata)


def _errors(folder):
    return {result.name: result.error for result in compare(folder)}


@needs_golden
def test_every_tensor_agrees_with_the_release():
    assert max(_errors(GOLDEN).values()) < 1e-5


@needs_golden
def test_the_command_prints_every_tensor_and_succeeds(capsys):
    assert main(["parity", str(GOLDEN)]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("plucker_latent", "adapter_base", "bidirectional_teacher", "ar_latents_2step"))


@needs_golden
@pytest.mark.parametrize(
    ("file", "tensor"),
    [
        ("transformer.safetensors", "blocks.1.ffn.0.weight"),
        ("lora_bidirectional.safetensors", "blocks.0.self_attn.q.lora_B.weight"),
        ("lora_student.safetensors", "blocks.1.self_attn.v.lora_B.weight"),
        ("inputs.safetensors", "ar_noise_2step"),
        ("outputs.safetensors", "schedule_t_4"),
    ],
)
def test_a_corrupted_copy_fails(copy, file, tensor, capsys):
    _change(copy / file, lambda state: state | {tensor: 1.5 * state[tensor]})
    assert main(["parity", str(copy)]) == 1
    assert "FAIL" in capsys.readouterr().out


@needs_golden
def test_another_camera_fails_on_the_rays_alone(copy):
    meta = json.loads((copy / "meta.json").read_text())
    meta["camera"]["frames"][3]["intrinsics"]["fx"] *= 1.1
    (copy / "meta.json").write_text(json.dumps(meta))
    assert {name for name, error in _errors(copy).items() if error > 1e-3} == {"plucker", "plucker_latent"}


@needs_golden
def test_the_other_naming_of_loras_gives_the_same_numbers(copy):
    def kohya(state):
        renamed = {}
        for key, tensor in state.items():
            layer, _, factor = key.rpartition(".lora_")
            name = f"lora_unet__{layer.replace('.', '_')}.lora_{'down' if factor.startswith('A') else 'up'}.weight"
            renamed[name if layer else key] = tensor
        return renamed

    for file in ("lora_bidirectional.safetensors", "lora_student.safetensors"):
        _change(copy / file, kohya)
    assert max(_errors(copy).values()) < 1e-5


@needs_golden
def test_a_missing_input_and_an_unknown_output_are_named(copy):
    _change(copy / "outputs.safetensors", lambda state: state | {"surprise": torch.zeros(2)})
    with pytest.raises(ValueError, match="a tensor named surprise"):
        _errors(copy)
    _change(copy / "inputs.safetensors", lambda state: {name: tensor for name, tensor in state.items() if name != "noisy"})
    with pytest.raises(ValueError, match="must hold a tensor noisy"):
        _errors(copy)


def test_a_folder_without_golden_values_is_a_mistake_of_the_user(tmp_path, capsys):
    assert main(["parity", str(tmp_path)]) == 2
    assert "No golden values at" in capsys.readouterr().err


def test_an_error_that_is_not_a_number_does_not_pass():
    assert not relative_error(torch.full((2,), float("nan")), torch.ones(2), "test") <= 1e-3
    with pytest.raises(ValueError, match=r"theirs has shape \(2,\), ours \(3,\)"):
        relative_error(torch.zeros(3), torch.zeros(2), "test")
