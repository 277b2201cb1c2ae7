"""How far closed gates reach where a branch became a constant."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.search import (
    GateCost,
    add_channel_gates,
    channel_gates,
    close_gates,
    derive,
    open_channels,
)
from keras_sda.utils import InvalidInputError


def block(x, filters, name, activation="relu"):
    x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=name)(x)
    return layers.Activation(activation)(x) if activation else x


def residual_network(projection=False):
    """A stem and three residual blocks of two convolutions."""
    x = keras.Input((8, 8, 3))
    y = block(x, 8, "stem")
    for k in range(3):
        shortcut = block(y, 8, "shortcut", None) if projection and k == 0 else y
        branch = block(block(y, 6, f"a{k}"), 8, f"b{k}", None)
        y = layers.ReLU()(layers.Add(name=f"add{k}")([shortcut, branch]))
    y = layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, layers.Dense(4, name="top")(y))
    generator = np.random.default_rng(3)
    for variable in model.weights:
        value = generator.normal(0.0, 0.5, variable.shape)
        variable.assign(np.abs(value) + 0.5 if "variance" in variable.path else value)
    return model


def joint(closed=(), projection=False):
    """With a shared gate that keeps four of eight channels of the stream."""
    gated = add_channel_gates(residual_network(projection), residual="joint")
    for gate in channel_gates(gated):
        s = np.where(np.arange(gate.channels) % 2, 1.0, -1.0)
        gate.s.assign(-np.ones(gate.channels) if gate.name in closed else s)
        gate.beta.assign(1e4)
    return gated


@pytest.mark.parametrize("closed", [["a1_gate"], ["a0_gate", "a2_gate"]])
def test_a_constant_leaves_the_stream_narrow(closed):
    gated = joint(closed)
    result = derive(gated)
    assert len(result.constants) == len(closed)
    cost = GateCost(gated).macs_at(open_channels(gated))
    assert round(cost) == result.report.macs_after
    small = result.model
    for name in ("stem_conv", "b2_conv"):
        if name in {layer.name for layer in small.layers}:
            assert small.get_layer(name).filters == 4
    for layer in small.layers[1:-1]:
        assert layer.output.shape[-1] <= 4, layer.name
    assert small.get_layer("top").kernel.shape == (4, 4)
    offsets = [x.offset for x in small.layers if isinstance(x, layers.Rescaling)]
    assert len(offsets) == len(closed) and all(np.all(row) for row in offsets)
    close_gates(gated)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    outputs = gated(images)
    np.testing.assert_allclose(small(images), outputs, rtol=1e-5, atol=1e-5)
    assert np.ptp(outputs, axis=0).max() > 1e-3


def test_constants_open_channels_of_an_ungated_stream():
    """Where the gate of a branch is closed, its constant is zero, too."""
    gated = add_channel_gates(residual_network(), where=["stem", "a1"])
    masks = {"stem_gate": np.arange(8) < 3, "a1_gate": np.zeros(6, bool)}
    for gate in channel_gates(gated):
        gate.s.assign(np.where(masks[gate.name], 1.0, -1.0))
        gate.beta.assign(1e4)
    result = derive(gated)
    close_gates(gated)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(
        result.model(images), gated(images), rtol=1e-5, atol=1e-5
    )
    assert result.model.get_layer("add1_constant").output.shape[-1] == 8


def test_a_shared_gate_is_named_once():
    gated = joint(projection=True)
    shared = [gate for gate in channel_gates(gated) if gate.channels == 8]
    (name,) = [gate.name for gate in shared if gate.name != "stem_gate"]
    gated.get_layer(name).s.assign(-np.ones(8))
    with pytest.raises(InvalidInputError, match="would be a constant") as error:
        derive(gated)
    text = str(error.value)
    assert text.count(name) == 1 and "on the terms of layer 'add0'" in text
