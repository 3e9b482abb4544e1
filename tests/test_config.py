"""The config: what it derives, refuses, keeps and writes."""

import json
import logging
import math
from typing import Any

import pytest
import transformers as hf

from mobilevitv2 import MobileViTV2Config
from mobilevitv2.errors import ConfigError

transformers: Any = hf  # its classes hide their arguments from a type checker
Config: Any = MobileViTV2Config  # so that a test may give it what a type checker refuses


@pytest.mark.parametrize("width", [0.05, 0.3, 0.5, 0.65, 0.8, 1.0, 1.3, 1.9, 2.0, 3.0])
def test_channels_are_transformers_at_every_width(width):
    theirs = transformers.MobileViTV2Model(transformers.MobileViTV2Config(width_multiplier=width))
    ours = MobileViTV2Config(width_multiplier=width)
    stages = theirs.encoder.layer
    assert ours.stem_channels == theirs.conv_stem.convolution.out_channels
    assert ours.stage_channels == (
        stages[0].layer[-1].reduce_1x1.convolution.out_channels,
        stages[1].layer[-1].reduce_1x1.convolution.out_channels,
        *(stage.conv_projection.convolution.out_channels for stage in stages[2:]),
    )
    assert ours.attention_dims == tuple(s.conv_1x1.convolution.out_channels for s in stages[2:])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("width_multiplier", "1.0", "width_multiplier is the str '1.0'; expected a number"),
        ("width_multiplier", math.nan, "must be between"),
        ("width_multiplier", -1.0, "must be between"),
        ("num_channels", 2.5, "num_channels is the float 2.5; expected an integer"),
        ("num_channels", True, "the bool True; expected an integer"),
        ("output_stride", 12, "output_stride is 12; expected one of 8, 16, 32"),
        ("hidden_act", "tanh", "one of 'swish'"),
        ("n_attn_blocks", [2, 4], "expected a list of 3 positive integers"),
        ("n_attn_blocks", [2, 0, 3], "expected a list of 3 positive integers"),
        ("patch_size", [2, 3], "patches must be square"),
        ("conv_kernel_size", 4, "must be odd"),
        ("attn_dropout", 1.5, "must be between 0 and 1"),
        ("num_labels", -1, "must be between"),
        ("id2label", {0: "a", 2: "b"}, "expected all up to 1"),
        ("id2label", 7, "expected a name for each number"),
        ("problem_type", "ranking", "one of None"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused_in_one_sentence(field, value, said):
    with pytest.raises(ConfigError, match=said) as caught:
        Config(**{field: value})
    assert "\n" not in str(caught.value)


def test_labels_and_their_number_agree():
    config = Config(id2label={"0": "ant", "1": "bee", "2": "cat"})
    assert config.num_labels == 3
    assert config.label2id == {"ant": 0, "bee": 1, "cat": 2}
    config.num_labels = 2
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    config.id2label = ["x"]
    assert (config.num_labels, config.label2id) == (1, {"x": 0})
    with pytest.raises(ConfigError, match="num_labels is 4, but id2label names 1"):
        Config(num_labels=4, id2label=["x"])


def test_a_file_goes_to_transformers_and_back(tmp_path):
    ours = Config(
        width_multiplier=0.75, id2label=["ant", "bee"], expand_ratio=2, ffn_multiplier=2.0
    )
    ours.save_pretrained(tmp_path)
    theirs = transformers.MobileViTV2Config.from_pretrained(tmp_path)
    assert theirs.width_multiplier == 0.75
    assert theirs.id2label == {0: "ant", 1: "bee"}
    theirs.save_pretrained(tmp_path / "theirs")
    again = MobileViTV2Config.from_pretrained(tmp_path / "theirs")
    assert again.to_dict() | {"unknown": 0} == {**ours.to_dict(), **again.unknown, "unknown": 0}
    assert MobileViTV2Config.from_pretrained(tmp_path, num_labels=5).num_labels == 5


def test_unknown_fields_are_kept_and_named(caplog, tmp_path):
    with caplog.at_level(logging.WARNING):
        config = MobileViTV2Config.from_dict({"mlp_ratio": 2.0, "transformers_version": "4.30"})
    assert "mlp_ratio" in caplog.text
    assert "transformers_version" not in caplog.text
    config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["mlp_ratio"] == 2.0
    with pytest.raises(TypeError, match="widht_multiplier"):
        Config(widht_multiplier=1.0)


def test_a_config_of_another_model_is_refused():
    with pytest.raises(ConfigError, match="model type is 'mobilevit'; expected 'mobilevitv2'"):
        MobileViTV2Config.from_dict({"model_type": "mobilevit"})


def test_what_was_said_of_each_class_goes_when_their_number_changes():
    said: dict[str, Any] = {"class_colors": [[1, 2, 3]] * 3, "label_thresholds": [0.2, 0.5, 0.8]}
    for change in ({"num_labels": 2}, {"id2label": {0: "one", 1: "two"}}):
        config = MobileViTV2Config(num_labels=3, **said)
        config.id2label = {0: "a", 1: "b", 2: "c"}
        assert config.label_thresholds == said["label_thresholds"]
        for name, value in change.items():
            setattr(config, name, value)
        assert (config.class_colors, config.label_thresholds) == (None, None)
        assert MobileViTV2Config.from_dict(config.to_dict()) == config
