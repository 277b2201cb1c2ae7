"""Channels into their places, and out of them."""

import keras
import numpy as np
import pytest
from pruning.surgery_checks import run_surgery_test
from test_case import run_layer_test

from keras_sda.layers import GatherChannels, ScatterChannels
from keras_sda.utils import InvalidInputError


@pytest.mark.parametrize("indices", [[0, 3, 5], [1, 2, 3], [5, 0, 2], [3, 4, 5]])
def test_scatter(indices):
    x = np.random.normal(size=(2, 4, 4, 3)).astype("f")
    options = {"indices": indices, "channels": 6}
    y = keras.ops.convert_to_numpy(ScatterChannels(**options)(x))
    expected = np.zeros((2, 4, 4, 6))
    expected[..., indices] = x
    np.testing.assert_array_equal(y, expected)


def test_layers(tmp_path):
    x = np.random.normal(size=(2, 4, 4, 3)).astype("f")
    for layer, options, shape in (
        (ScatterChannels, {"indices": [0, 3, 5], "channels": 6}, (2, 4, 4, 6)),
        (GatherChannels, {"indices": [2, 0]}, (2, 4, 4, 2)),
    ):
        run_layer_test(layer, options, x, shape, 0, tmp_path, trains=False)
    gathered = GatherChannels([2, 0])(x)
    np.testing.assert_array_equal(gathered, x[..., [2, 0]])


def test_pruning_goes_through():
    x = keras.Input((8, 8, 3))
    y = keras.layers.Conv2D(6, 3, padding="same", name="wide")(x)
    z = keras.layers.Conv2D(4, 3, padding="same", name="narrow")(x)
    z = ScatterChannels([0, 2, 3, 5], channels=6)(z)
    y = GatherChannels([0, 1, 4, 5])(keras.layers.Add()([y, z]))
    y = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(5, 3)(y))
    run_surgery_test(keras.Model(x, keras.layers.Dense(2)(y)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ScatterChannels([0, 0], 4),
        lambda: ScatterChannels([4], 4),
        lambda: ScatterChannels([], 4),
        lambda: GatherChannels([-1]),
        lambda: GatherChannels([3])(np.zeros((1, 3))),
        lambda: ScatterChannels([0, 1], 4)(np.zeros((1, 3))),
    ],
)
def test_bad_arguments(make):
    with pytest.raises(InvalidInputError, match="`indices`"):
        make()
