"""Channels in another order, on every way that they are moved."""

import keras
import numpy as np
import pytest

from keras_sda.layers import GatherChannels
from keras_sda.layers.compression.take_channels import take_channels


def shuffle(a, b, n):
    return np.arange(a * b * n).reshape(a, b, n).transpose(1, 0, 2).ravel().tolist()


# Places along 24 channels: shuffles, and what only looks like one.
INDICES = {
    "shuffle 2 x 2": shuffle(2, 2, 6),
    "shuffle 4 x 2": shuffle(4, 2, 3),
    "shuffle of single channels": shuffle(4, 6, 1),
    "turned around": list(range(24))[::-1],
    "two halves": [*range(12, 24), *range(12)],
    "nearly a shuffle": [1, 0, *shuffle(4, 6, 1)[2:]],
    "cells of other sizes": [*range(4), *range(12, 24), *range(4, 12)],
    "fewer": shuffle(2, 2, 3),
    "in order": list(range(24)),
}


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("axis", [1, 3])
def test_maps(name, axis):
    shape = (2, 5, 3, 24) if axis == 3 else (2, 24, 5, 3)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    actual = take_channels(keras.ops.convert_to_tensor(x), INDICES[name], axis)
    np.testing.assert_array_equal(actual, np.take(x, INDICES[name], axis=axis))


@pytest.mark.parametrize("name", INDICES)
def test_vectors(name):
    x = np.random.default_rng(0).normal(size=(3, 24)).astype("float32")
    actual = take_channels(keras.ops.convert_to_tensor(x), INDICES[name], 1)
    np.testing.assert_array_equal(actual, x[:, INDICES[name]])


def test_open_sizes(tmp_path):
    """Height and width may be unknown, in a graph and in a saved model."""
    indices = INDICES["shuffle 4 x 2"]
    inputs = keras.Input((None, None, 24))
    model = keras.Model(inputs, GatherChannels(indices)(inputs))
    assert model.output_shape == (None, None, None, 24)
    model.export(str(tmp_path / "export"), verbose=False)
    import tensorflow as tf

    served = tf.saved_model.load(str(tmp_path / "export")).serve
    for size in (4, 7):
        x = np.random.default_rng(0).normal(size=(2, size, 3, 24)).astype("float32")
        np.testing.assert_array_equal(model.predict(x, verbose=0), x[..., indices])
        np.testing.assert_array_equal(served(x), x[..., indices])
