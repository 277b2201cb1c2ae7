"""The layers inside the blocks of the further families."""

import numpy as np
import pytest
from test_case import run_layer_test

from keras_sda.layers import (
    ConvolutionalBlockAttention2D,
    PyramidalConv2D,
    PyramidSplitAttention2D,
    SqueezeExcite2D,
)
from keras_sda.utils import InvalidInputError

CASES = [
    (SqueezeExcite2D, {"bottleneck_filters": 3}, (4, 9, 8, 16), 4),
    (
        PyramidalConv2D,
        {"filters": [4, 4], "kernel_sizes": [3, 5], "groups": [1, 4], "strides": 2},
        (4, 5, 4, 8),
        2,
    ),
    (PyramidSplitAttention2D, {"filters": 64}, (4, 9, 8, 64), 20),
    (ConvolutionalBlockAttention2D, {"reduction": 4}, (4, 9, 8, 16), 3),
]


@pytest.mark.parametrize("layer, kwargs, shape, num_weights", CASES)
def test_layer(layer, kwargs, shape, num_weights, tmp_path):
    run_layer_test(
        layer,
        kwargs,
        np.random.normal(size=(4, 9, 8, 16)).astype("f"),
        expected_shape=shape,
        num_weights=num_weights,
        tmp_path=tmp_path,
    )


def test_squeeze_excite_by_hand():
    x = np.random.normal(size=(2, 5, 4, 6)).astype("f")
    layer = SqueezeExcite2D(3)
    y = layer(x)
    w1, b1, w2, b2 = layer.get_weights()
    hidden = np.maximum(x.mean((1, 2)) @ w1 + b1, 0)
    gate = 1 / (1 + np.exp(-(hidden @ w2 + b2)))
    np.testing.assert_allclose(y, x * gate[:, None, None], atol=1e-5)


def test_convolutional_block_attention_by_hand():
    x = np.random.normal(size=(2, 7, 7, 8)).astype("f")
    layer = ConvolutionalBlockAttention2D(reduction=2, kernel_size=1)
    y = layer(x)
    w1, w2, spatial = layer.get_weights()

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    def perceptron(v):
        return np.maximum(v @ w1, 0) @ w2

    gate = sigmoid(perceptron(x.mean((1, 2))) + perceptron(x.max((1, 2))))
    expected = x * gate[:, None, None]
    maps = np.stack([expected.max(-1), expected.mean(-1)], -1)
    expected = expected * sigmoid(maps @ spatial[0, 0])
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_pyramid_split_attention_weights_sum_to_one():
    """With equal branches the layer returns a quarter of each, reversed."""
    layer = PyramidSplitAttention2D(64)
    x = np.random.normal(size=(1, 6, 6, 64)).astype("f")
    layer.build(x.shape)
    for squeeze, excite in layer.gates:
        squeeze.kernel.assign(np.zeros(squeeze.kernel.shape))
        excite.kernel.assign(np.zeros(excite.kernel.shape))
    branches = np.split(np.asarray(layer.pyramid(x)), 4, axis=-1)
    expected = np.concatenate(branches[::-1], -1) / 4
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: SqueezeExcite2D(0), "`bottleneck_filters`"),
        (lambda: PyramidalConv2D([4], [3, 5]), "one entry per level"),
        (lambda: PyramidalConv2D([4], [4]), "must be odd"),
        (lambda: PyramidSplitAttention2D(30), "`filters`"),
        (lambda: ConvolutionalBlockAttention2D(0), "`reduction`"),
    ],
)
def test_bad_arguments(make, text):
    with pytest.raises(InvalidInputError, match=text):
        make()
