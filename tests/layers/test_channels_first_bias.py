"""A bias goes to the channels also where a map is as wide as there are channels."""

import keras
import numpy as np
import pytest
from absl import logging
from keras import layers

from keras_sda.export import fold_batch_normalization
from keras_sda.graph import swapped_bias_note, swaps_bias
from keras_sda.grouping import pack, self_group
from keras_sda.layers import (
    GroupedConv2D,
    PackedConv2D,
    PackedDense,
    SelfGroupedConv2D,
)
from keras_sda.layers.convolution.add_bias import add_bias
from keras_sda.pruning import prune
from keras_sda.search import add_channel_gates, channel_gates, derive

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the fault is in TensorFlow's part"
)
FIRST = {"data_format": "channels_first"}


def is_affected():
    layer = layers.Conv2D(2, 1, **FIRST)
    return swaps_bias(layer, (2, 1, 2))


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_add_bias(axis):
    x, bias = np.ones((2, 3, 3, 3), "float32"), np.arange(3.0)
    shape = [1] * 4
    shape[axis] = 3
    added = keras.ops.convert_to_numpy(add_bias(x, bias, axis))
    np.testing.assert_array_equal(added, x + bias.reshape(shape))


LAYERS = {
    "grouped": lambda: GroupedConv2D(6, 1, groups=3, **FIRST),
    "split": lambda: GroupedConv2D(6, 1, groups=3, implementation="split", **FIRST),
    "one_group": lambda: GroupedConv2D(6, 1, **FIRST),
    "self_grouped": lambda: SelfGroupedConv2D(6, 1, **FIRST),
    "packed": lambda: PackedConv2D([[0, 1, 2], [3]], [4, 2], 1, **FIRST),
    "packed_wide": lambda: PackedConv2D([[0, 1, 2], []], [6, 3], 1, **FIRST),
    "packed_order": lambda: PackedConv2D(
        [[0], [2]], [3, 3], 1, order=[5, 0, 1, 2, 3, 4], **FIRST
    ),
}


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_our_layers(kind, in_graph):
    layer = LAYERS[kind]()
    x = np.random.default_rng(0).normal(size=(2, 9, 6, 6)).astype("float32")
    if kind == "packed":
        x = np.concatenate([x] * 2, -1)[..., :4]  # as wide as one of the groups
    layer.build(x.shape)

    def call():
        if in_graph:
            import tensorflow as tf

            return tf.function(layer)(x).numpy()
        return keras.ops.convert_to_numpy(layer(x))

    before = call()
    bias = np.arange(layer.bias.shape[0], dtype="float32")
    layer.bias.assign(bias)
    added = np.broadcast_to(bias[:, None, None], before.shape[1:])
    np.testing.assert_allclose(call() - before, [added] * 2, atol=1e-5)


def test_dense_layers_have_their_bias_last():
    layer = PackedDense([[0, 1], [2]], [4, 2])
    x = np.zeros((2, 6, 6), "float32")
    layer.build(x.shape)
    layer.bias.assign(np.arange(6.0))
    expected = np.broadcast_to(np.arange(6.0), (2, 6, 6))
    np.testing.assert_array_equal(layer(x), expected)


STOCK = {
    "conv": lambda: layers.Conv2D(6, 1, **FIRST),
    "depthwise": lambda: layers.DepthwiseConv2D(1, depth_multiplier=2, **FIRST),
    "separable": lambda: layers.SeparableConv2D(6, 1, **FIRST),
    "transposed": lambda: layers.Conv2DTranspose(6, 1, **FIRST),
    "one_dimension": lambda: layers.Conv1D(6, 1, **FIRST),
    "einsum": lambda: layers.EinsumDense("abc,bd->adc", (6, None), bias_axes="d"),
}


@pytest.mark.parametrize("width", [5, 6])
@pytest.mark.parametrize("kind", STOCK)
def test_what_is_named_is_what_keras_does(kind, width):
    layer = STOCK[kind]()
    shape = (3, width) if kind in ("one_dimension", "einsum") else (3, 5, width)
    x = keras.Input(shape)
    model = keras.Model(x, layer(x))
    zeros = np.zeros((1, *shape), "float32")
    bias = np.arange(6, dtype="float32")
    layer.bias.assign(bias.reshape(layer.bias.shape))
    outputs = keras.ops.convert_to_numpy(layer(zeros))
    is_wrong = not np.array_equal(outputs.reshape(6, -1)[:, 0], bias)
    note = swapped_bias_note(model)
    assert bool(note) == is_wrong == (width == 6 and is_affected())
    if note:
        assert repr(layer.name) in note and keras.__version__ in note
    if hasattr(layer, "use_bias"):
        layer.use_bias = False
        assert not swapped_bias_note(model)


def test_wide_and_last_are_not_named():
    x = keras.Input((6, 6, 6))
    y = layers.Conv2D(6, 1)(x)
    assert not swapped_bias_note(keras.Model(x, layers.Dense(6)(y)))


@pytest.fixture
def first():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


@pytest.fixture
def warned(monkeypatch):
    lines = []
    monkeypatch.setattr(
        logging, "warning", lambda text, *values: lines.append(text % values)
    )
    return lines


def network():
    """Half of 12 channels are as many as the map is wide."""
    x = keras.Input((3, 6, 6))
    y = layers.Conv2D(12, 3, padding="same", name="a")(x)
    y = layers.ReLU()(layers.BatchNormalization(axis=1, name="a_bn")(y))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(12, 3, name="b")(y))
    return keras.Model(x, layers.Dense(2)(y))


def check(report, warned, name):
    (text,) = [line for line in report.warnings if "along the width" in line]
    assert repr(name) in text and "'b'" not in text
    assert any(text in line for line in warned)
    assert text in report.to_text() and text in report.to_json()


def test_prune_and_derive_warn(first, warned):
    if not is_affected():
        pytest.skip("this Keras adds biases where they belong")
    check(prune(network(), macs=0.4, scope="layer").report, warned, "a")
    assert not prune(network(), macs=0.7, scope="layer").report.warnings
    warned.clear()
    gated = add_channel_gates(network())
    for gate in channel_gates(gated):
        gate.s.assign([-1.0, 1.0] * 6)
        gate.beta.assign(1e4)
    check(derive(gated).report, warned, "a")


def test_pack_warns_of_dense_forms_alone(first, warned):
    if not is_affected():
        pytest.skip("this Keras adds biases where they belong")
    x = keras.Input((3, 12, 12))
    y = layers.ReLU()(layers.Conv2D(8, 1, name="start")(x))
    y = layers.ReLU()(layers.Conv2D(12, 3, padding="same", name="a")(y))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(12, 3, name="b")(y))
    model = keras.Model(x, layers.Dense(2)(y))
    model.get_layer("a").bias.assign(np.arange(12.0))
    # What reads the layer keeps all of its channels.
    masked = self_group(model, 0.5, 0.0, num_groups=3, layers=["a"]).model
    assert not pack(masked, "lists").report.warnings
    images = np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype("float32")
    packed = pack(masked, "lists").model
    np.testing.assert_allclose(packed(images), masked(images), atol=1e-5)
    assert not warned
    check(pack(masked, "dense").report, warned, "a")


def test_folding_makes_no_such_bias(first):
    x = keras.Input((3, 6, 6))
    y = layers.Conv2D(6, 1, use_bias=False, name="wide")(x)
    y = layers.BatchNormalization(axis=1, name="wide_bn")(y)
    y = layers.Conv2D(5, 1, use_bias=False, name="other")(y)
    y = layers.BatchNormalization(axis=1, name="other_bn")(y)
    model = keras.Model(x, y)
    for name in ("wide_bn", "other_bn"):
        size = 6 if name == "wide_bn" else 5
        model.get_layer(name).beta.assign(np.arange(float(size)))
    folded = fold_batch_normalization(model)
    names = [layer.name for layer in folded.layers]
    assert "other_bn" not in names and ("wide_bn" in names) == is_affected()
    images = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype("float32")
    np.testing.assert_allclose(folded(images), model(images), atol=1e-5)
