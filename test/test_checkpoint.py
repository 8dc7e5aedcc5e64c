"""Generators on disk: whole or not at all, and errors that name what is wrong."""

import dataclasses
import pickle
import subprocess
import sys

import pytest
import torch
from generators import random_transformer
from safetensors.torch import load_file, save_file

from h2w_ros.generator.checkpoint import build_transformer, load_generator, load_transformer, save_generator, transformer_files, without_mask_channels
from h2w_ros.generator.config import LoraConfig, to_json
from h2w_ros.generator.folded_codec import FoldedCodec
from h2w_ros.generator.model_folder import CONFIG_FILE
from h2w_ros.generator.presets import preset
from h2w_ros.generator.tensors import read_state

SMALL = dataclasses.replace(
    preset("tiny"),
    transformer=dataclasses.replace(preset("tiny").transformer, dim=32, ffn_dim=32, num_heads=2, num_layers=1),
    codec=dataclasses.replace(preset("tiny").codec, width=8, depth=1),
)
WEIGHTS = "transformer.safetensors"


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_generator(tmp_path / "small", SMALL, random_transformer(SMALL.transformer), FoldedCodec(SMALL.codec), torch.float32)
    return tmp_path / "small"


def _change(path, change):
    state = load_file(path)
    change(state)
    save_file(state, path)


def test_a_saved_generator_loads_with_the_same_numbers(folder):
    generator = load_generator(folder, torch.float32)
    assert generator.config == SMALL
    for name, tensor in random_transformer(SMALL.transformer).state_dict().items():
        assert torch.equal(generator.transformer.state_dict()[name], tensor), name


def test_a_shipped_model_is_found_by_its_name(folder, monkeypatch):
    monkeypatch.setenv("H2W_MODELS", str(folder.parent))
    assert load_generator("small").config == SMALL
    with pytest.raises(FileNotFoundError, match=r"No model 'large': neither a folder nor one of \['small'\]"):
        load_generator("large")


def test_weights_load_without_torchs_compiler_whose_import_takes_longer_than_they_do(folder):
    code = "import sys; from h2w_ros.generator.checkpoint import load_generator; load_generator(sys.argv[1]); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_shards_load_as_one_and_a_missing_shard_is_named(folder):
    state = {**load_file(folder / WEIGHTS), **load_file(folder / "refiner.safetensors")}
    (folder / WEIGHTS).unlink()
    (folder / "refiner.safetensors").unlink()
    names = sorted(state)
    for i, part in enumerate((names[::2], names[1::2]), start=1):
        save_file({name: state[name] for name in part}, folder / f"transformer-0000{i}-of-00002.safetensors")
    loaded = load_generator(folder, torch.float32).transformer.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in names)
    (folder / "transformer-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"shards 1 to 2 .* got \[1\]"):
        load_generator(folder)


def test_a_refiner_has_a_file_of_its_own_or_lies_with_the_transformer(folder):
    refiner, rest = load_file(folder / "refiner.safetensors"), load_file(folder / WEIGHTS)
    assert refiner
    assert not any(name.startswith("refiner.") for name in rest)

    (folder / "refiner.safetensors").unlink()
    save_file({**rest, **refiner}, folder / WEIGHTS)

    loaded = load_generator(folder, torch.float32).transformer.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in {**rest, **refiner}.items())


def test_a_truncated_file_is_named(folder):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"transformer\.safetensors is not a whole safetensors file"):
        load_generator(folder)


def test_a_wrong_shape_is_named_with_expected_and_got(folder):
    _change(folder / WEIGHTS, lambda state: state.update({"head.head.bias": torch.zeros(3)}))
    with pytest.raises(ValueError, match=r"transformer\.safetensors: tensor head\.head\.bias must have shape \(576,\) by the config, got \(3,\)"):
        load_generator(folder)


def test_missing_and_unknown_tensors_are_named(folder):
    def rename(state):
        state["head.head.offset"] = state.pop("head.head.bias")

    _change(folder / WEIGHTS, rename)
    with pytest.raises(ValueError, match=r"1 missing tensors \(head\.head\.bias\); 1 unknown tensors \(head\.head\.offset\)"):
        load_generator(folder)


@pytest.mark.parametrize("file", [WEIGHTS, "codec.safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder, file, value):
    name = sorted(load_file(folder / file))[0]
    _change(folder / file, lambda state: state[name].view(-1)[:1].fill_(value))
    with pytest.raises(ValueError, match=f"tensor {name} holds NaN or infinite"):
        load_generator(folder)


def test_a_pickle_is_never_opened(folder, tmp_path):
    (folder / WEIGHTS).unlink()
    (folder / "transformer.pt").write_bytes(pickle.dumps({"head": 1}))
    with pytest.raises(ValueError, match=r"transformer\.pt is a pickle"):
        load_generator(folder)
    with pytest.raises(ValueError, match="is a pickle"):
        load_generator(tmp_path / "model.ckpt")


def test_a_folder_without_config_or_weights_says_so(folder):
    (folder / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"expected transformer\.safetensors or diffusion_pytorch_model\.safetensors"):
        load_generator(folder)
    (folder / CONFIG_FILE).unlink()
    with pytest.raises(FileNotFoundError, match="No config at"):
        load_generator(folder)


def test_large_tensors_are_stored_in_half_the_size_and_small_ones_exactly(tmp_path):
    transformer = random_transformer(SMALL.transformer)
    save_generator(tmp_path, SMALL, transformer, FoldedCodec(SMALL.codec))
    stored = load_file(tmp_path / WEIGHTS)
    assert stored["time_projection.1.weight"].dtype == torch.bfloat16
    assert torch.equal(stored["head.head.bias"], transformer.head.head.bias)


def test_the_mask_channels_of_wan_fun_are_dropped():
    weight = torch.arange(148.0).view(1, 148, 1, 1, 1).expand(2, -1, 1, 2, 2)
    kept = without_mask_channels(weight, 144)
    assert kept[0, :, 0, 0, 0].tolist() == [*range(96), *range(100, 148)]
    assert without_mask_channels(weight, 148) is weight


def test_the_reference_convolution_of_wan_fun_is_left_out():
    state = dict(random_transformer(SMALL.transformer).state_dict())
    built = build_transformer(SMALL.transformer, state | {"ref_conv.weight": torch.zeros(2, 2)}, "test")
    assert set(built.state_dict()) == set(state)


def _lora(path, naming, alpha=None, metadata=None, **extra):
    generator = torch.Generator().manual_seed(0)
    down, up = torch.randn(2, 32, generator=generator), torch.randn(32, 2, generator=generator)
    names = {
        "peft": ("blocks.0.self_attn.q.lora_A.weight", "blocks.0.self_attn.q.lora_B.weight", "blocks.0.self_attn.q.alpha"),
        "peft_default": ("blocks.0.self_attn.q.lora_A.default.weight", "blocks.0.self_attn.q.lora_B.default.weight", ""),
        "wrapped": ("diffusion_model.blocks.0.self_attn.q.lora_A.weight", "diffusion_model.blocks.0.self_attn.q.lora_B.weight", ""),
        "kohya": tuple(f"lora_unet__blocks_0_self_attn_q.{part}" for part in ("lora_down.weight", "lora_up.weight", "alpha")),
    }[naming]
    tensors = {names[0]: down, names[1]: up, **extra} | ({} if alpha is None else {names[2]: torch.tensor(alpha)})
    save_file(tensors, path, metadata)
    return up @ down


@pytest.mark.parametrize(
    ("naming", "alpha"), [("peft", None), ("peft", 6.0), ("peft_default", None), ("wrapped", None), ("kohya", None), ("kohya", 6.0)]
)
def test_a_lora_adds_its_weighted_product_in_every_naming_whatever_its_alpha(folder, naming, alpha):
    product = _lora(folder / "lora.safetensors", naming, alpha)
    files = transformer_files(folder)
    before = read_state(files)
    after = load_transformer(SMALL.transformer, files, [(folder / "lora.safetensors", 0.5)]).state_dict()
    name = "blocks.0.self_attn.q.weight"
    torch.testing.assert_close(after[name], before[name] + 0.5 * product, rtol=0, atol=1e-6)
    assert all(torch.equal(after[other], before[other]) for other in before if other != name)


def test_whole_tensors_ride_along_with_a_lora(folder):
    riding = torch.full((32,), 7.0)
    _lora(folder / "lora.safetensors", "peft", **{"control_adapter.conv.bias": riding})
    merged = load_transformer(SMALL.transformer, transformer_files(folder), [(folder / "lora.safetensors", 0.5)])
    assert torch.equal(merged.control_adapter.conv.bias, riding)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"blocks.9.self_attn.q.lora_A.weight": torch.zeros(2, 32)}, "does not have"),
        ({"blocks.0.self_attn.k.lora_A.weight": torch.zeros(2, 32)}, "one is missing"),
        ({"blocks.0.self_attn.k.lora_A.weight": torch.zeros(2, 31), "blocks.0.self_attn.k.lora_B.weight": torch.zeros(32, 2)}, "must multiply to"),
        ({"blocks.0.ffn.0.bias": torch.zeros(32)}, "neither a LoRA factor nor"),
        ({"control_adapter.conv.bias": torch.zeros(3)}, r"must have shape \(32,\)"),
    ],
)
def test_a_lora_that_does_not_fit_is_refused(folder, extra, message):
    _lora(folder / "lora.safetensors", "peft", **extra)
    with pytest.raises(ValueError, match=message):
        load_transformer(SMALL.transformer, transformer_files(folder), [(folder / "lora.safetensors", 0.5)])


def test_a_student_runs_only_with_the_window_it_was_trained_with(folder):
    _lora(folder / "lora.safetensors", "peft", metadata={"train_F_lat": "5"})
    (folder / CONFIG_FILE).write_text(to_json(dataclasses.replace(SMALL, loras=(LoraConfig("lora.safetensors"),))))
    with pytest.raises(ValueError, match=r"trained with a window of 5 latents .* got 8"):
        load_generator(folder)
