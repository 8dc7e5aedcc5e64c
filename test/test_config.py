"""Configs say what is wrong with them and survive JSON."""

import dataclasses
import json

import pytest

from h2w_ros.generator.config import GeneratorConfig, RolloutConfig, TransformerConfig, from_dict, from_json, to_json
from h2w_ros.generator.presets import PRESETS, preset


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_survives_json(name):
    assert from_json(GeneratorConfig, to_json(preset(name))) == preset(name)


def test_an_unknown_key_is_named():
    data = json.loads(to_json(preset("tiny"))) | {"speed": 3}
    with pytest.raises(ValueError, match=r"model\.json does not fit GeneratorConfig: unknown keys \['speed'\]"):
        from_dict(GeneratorConfig, data, "model.json")


def test_a_missing_nested_key_is_named_with_its_place():
    data = json.loads(to_json(preset("tiny")))
    del data["transformer"]["dim"]
    with pytest.raises(ValueError, match=r"config\.transformer .*missing keys \['dim'\]"):
        from_dict(GeneratorConfig, data)


@pytest.mark.parametrize(("key", "value"), [("height_px", "96"), ("static_scene", 1), ("name", None), ("height_px", True)])
def test_a_value_of_the_wrong_type_is_named(key, value):
    data = json.loads(to_json(preset("tiny"))) | {key: value}
    with pytest.raises(ValueError, match=f"config.{key} must be"):
        from_dict(GeneratorConfig, data)


def test_a_picture_that_does_not_divide_into_patches_is_refused():
    with pytest.raises(ValueError, match="height_px must be a multiple of 16"):
        dataclasses.replace(preset("tiny"), height_px=100)


def test_channels_that_do_not_match_the_codec_are_refused():
    with pytest.raises(ValueError, match="in_dim must equal 3 groups"):
        dataclasses.replace(preset("tiny"), static_scene=False)


def test_a_patch_that_spans_frames_is_refused():
    with pytest.raises(ValueError, match="never split in time"):
        TransformerConfig(in_dim=4, dim=8, ffn_dim=8, out_dim=4, num_heads=2, num_layers=1, patch_size=(2, 2, 2))


@pytest.mark.parametrize("timesteps", [(), (500.0, 1000.0), (1000.0, 0.0), (1200.0,), (500.0, 500.0)])
def test_timesteps_that_do_not_fall_are_refused(timesteps):
    with pytest.raises(ValueError, match="must fall strictly"):
        RolloutConfig(window=3, timesteps=timesteps)
