import argparse
import dataclasses

import pytest
from absl import flags

from keras_sda.training import TrainOptions, add_arguments, build, define_flags
from keras_sda.utils import InvalidInputError


def parse_argparse(words):
    parser = argparse.ArgumentParser()
    add_arguments(parser, TrainOptions)
    return build(TrainOptions, parser.parse_args(words))


def parse_absl(words):
    values = flags.FlagValues()
    define_flags(TrainOptions, values)
    values(["program", *words])
    return build(TrainOptions, values)


@pytest.mark.parametrize("parse", [parse_argparse, parse_absl])
def test_defaults_and_every_kind_of_option(parse):
    assert parse([]) == TrainOptions()
    options = parse(
        ["--epochs=3", "--learning_rate=0.5", "--model=X", "--download", "--ema"]
    )
    assert options == TrainOptions(
        epochs=3, learning_rate=0.5, model="X", download=True, ema=True
    )


def test_booleans_can_be_switched_off():
    assert not parse_argparse(["--no-depth_attention"]).depth_attention
    assert not parse_absl(["--nodepth_attention"]).depth_attention
    assert parse_argparse(["--no-ema"]).ema is False


def test_help_names_every_field():
    parser = argparse.ArgumentParser()
    add_arguments(parser, TrainOptions)
    text = parser.format_help()
    for field in dataclasses.fields(TrainOptions):
        assert f"--{field.name}" in text
        assert field.metadata["help"]
    assert "sda_imagenet" in text


def test_mapping_with_unknown_name():
    assert build(TrainOptions, {"epochs": 4}).epochs == 4
    with pytest.raises(InvalidInputError, match="epoch_count"):
        build(TrainOptions, {"epoch_count": 4})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "`epochs` must be greater than 0. Received: epochs=0"),
        ({"batch_size": -1}, "`batch_size` must be greater"),
        ({"learning_rate": 0.0}, "`learning_rate` must be greater"),
        ({"max_train_examples": 0}, "`max_train_examples`"),
        ({"recipe": "cifr"}, "Did you mean 'cifar'"),
        ({"strategy": "mirored"}, "Did you mean 'mirrored'"),
        ({"augmentation": "kerascv"}, "Did you mean 'keras_cv'"),
        ({"mixed_precision": "bf16"}, "`mixed_precision` must be one of"),
        ({"seed": -1}, "`seed` must be from 0"),
        ({"virtual_devices": 2}, "needs `strategy` mirrored"),
        ({"virtual_devices": -2}, "`virtual_devices` must be 0"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
        ({"output": ""}, "`output` must not be empty"),
        ({"dataset": " "}, "`dataset` must not be empty. Received.*Give digits"),
    ],
)
def test_bad_values(options, message):
    with pytest.raises(InvalidInputError, match=message):
        TrainOptions(**options)
