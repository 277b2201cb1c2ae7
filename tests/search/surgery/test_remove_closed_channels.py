"""Closed channels that have to stay are zero."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.surgery_checks import randomize

import keras_sda
from keras_sda.search import add_channel_gates, derive
from keras_sda.utils import InvalidInputError

COUPLED = {
    # Two outputs of one input, of which one is closed.
    "depthwise": lambda: layers.DepthwiseConv2D(
        3, padding="same", depth_multiplier=2, use_bias=False
    ),
    "depthwise with bias": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
    # Groups of two filters, each of which keeps one.
    "grouped": lambda: keras_sda.layers.GroupedConv2D(8, 3, groups=4, use_bias=False),
    "grouped by Keras": lambda: layers.Conv2D(8, 3, groups=4),
}


def gated_network(convolution, scale=False):
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    normalization = layers.BatchNormalization(scale=scale, name="normalization")
    y = layers.ReLU()(normalization(convolution(y)))
    y = layers.Dense(3)(layers.GlobalAveragePooling2D()(y))
    model = keras.Model(x, y)
    randomize(model)
    gated = add_channel_gates(model, where=["normalization"])
    gate = gated.get_layer("normalization_gate")
    is_open = np.isin(np.arange(8), (1, 2, 6))
    gate.s.assign(np.where(is_open, 9.0, -9.0))
    result = derive(gated)
    gate.mask.assign(is_open.astype("float32"))
    gate.set_mode("binary")
    return gated, result.model


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("kind", COUPLED)
def test_coupled_channels(kind, scale):
    """A normalization without gamma has zeros written into what stands before it."""
    gated, small = gated_network(COUPLED[kind](), scale)
    images = np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype("float32")
    expected = keras.ops.convert_to_numpy(gated(images))
    np.testing.assert_allclose(small(images), expected, atol=1e-5)
    assert small.count_params() < gated.count_params()


def test_layer_that_cannot_be_silenced():
    pyramid = keras_sda.layers.PyramidalConv2D((4, 4), (3, 5), (2, 2))
    with pytest.raises(InvalidInputError, match="no gamma.*scale=True.*exclude="):
        gated_network(pyramid)
