"""`round_to` says where widths are no multiples of it."""

import keras
import numpy as np
import pytest
from absl import logging
from keras import layers
from pruning.surgery_checks import randomize

from keras_sda.layers import SqueezeExcite2D
from keras_sda.pruning import prune
from keras_sda.search import add_channel_gates, channel_gates, derive


@pytest.fixture
def warned(monkeypatch):
    lines = []
    monkeypatch.setattr(
        logging, "warning", lambda text, *values: lines.append(text % values)
    )
    return lines


def several_groups(pieces=2):
    """The channels of one convolution go several ways, with others to add to."""
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(12 * pieces, 3, padding="same", name="wide")(x)
    parts = keras.ops.split(y, pieces, axis=-1)
    parts[0] = layers.Add()([parts[0], layers.Conv2D(12, 1, name="side")(x)])
    y = layers.Concatenate()(parts)
    y = layers.Conv2D(16, 1, name="last")(y)
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))
    randomize(model)
    return model


def test_prune_names_layers_whose_channels_fall_into_several_groups(warned):
    report = prune(several_groups(3), macs=0.7, round_to=8, exclude=["side"]).report
    widths = {row.name: row.channels_after for row in report.layers}
    assert widths["wide"] in (20, 28) and widths["side"] == 12
    (text,) = [line for line in report.warnings if "round_to" in line]
    assert "`round_to`=8" in text and "several groups" in text
    assert f"'wide' ({widths['wide']})" in text
    assert "'side'" not in text and "'last'" not in text
    assert f"warning: {text}" in report.to_text()
    assert any(text in line for line in warned)


def test_nothing_is_said_where_all_are_multiples(warned):
    x = keras.Input((6, 6, 3))
    y = layers.ReLU()(layers.Conv2D(16, 3, name="a")(x))
    y = layers.Conv2D(16, 3, name="b")(layers.BatchNormalization()(y))
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))
    randomize(model)
    for step in (8, 1):
        result = prune(model, macs=0.5, importance="l1", round_to=step)
        assert not result.report.warnings
    assert not warned


def test_derive_names_them_too(warned):
    x = keras.Input((6, 6, 3))
    first = layers.BatchNormalization(name="a_bn")(layers.Conv2D(12, 3, name="a")(x))
    other = layers.BatchNormalization(name="b_bn")(layers.Conv2D(12, 3, name="b")(x))
    y = layers.ReLU()(layers.Add()([first, other]))
    y = layers.Conv2D(4, 1)(SqueezeExcite2D(3, name="scaled")(y))
    y = layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, layers.Dense(2)(y))
    randomize(model)
    gated = add_channel_gates(model, where=["a_bn", "b_bn"])
    for gate, start in zip(channel_gates(gated), (0, 2), strict=True):
        is_open = (np.arange(12) >= start) & (np.arange(12) < start + 8)
        gate.s.assign(np.where(is_open, 1.0, -1.0))
        gate.beta.assign(1e4)
    report = derive(gated, round_to=8).report
    (text,) = [line for line in report.warnings if "round_to" in line]
    assert "'scaled' (10)" in text and "'a'" not in text and "'b'" not in text
    assert any(text in line for line in warned)
