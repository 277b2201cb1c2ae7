"""Rows times kernel are what the layer computes."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.layers import GroupedConv2D
from keras_sda.pruning.refit.kernel_rows import count_places, kernel_rows


@pytest.mark.parametrize(
    "layer, shape",
    [
        (layers.Dense(3), (5,)),
        (layers.Dense(3), (4, 5)),
        (layers.Conv1D(3, 4, strides=2, padding="same"), (9, 2)),
        (layers.Conv1D(3, 3, dilation_rate=2, padding="causal"), (9, 2)),
        (layers.Conv2D(3, 3, padding="valid"), (6, 7, 2)),
        (layers.Conv2D(3, (3, 2), strides=(2, 1), padding="same"), (6, 7, 2)),
        (layers.Conv2D(3, 3, strides=2, padding="same"), (8, 8, 2)),
        (layers.Conv2D(3, 3, dilation_rate=(1, 2), padding="same"), (6, 7, 2)),
        (layers.Conv2D(3, 1, strides=2), (7, 6, 2)),
        (layers.Conv3D(2, 2, padding="same"), (3, 4, 3, 2)),
        (GroupedConv2D(3, 3, padding="same"), (5, 5, 2)),
    ],
)
def test_rows_times_kernel_are_the_output(layer, shape):
    layer.use_bias = False
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    expected = keras.ops.convert_to_numpy(layer(x))
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    rows = kernel_rows(layer, x)
    found = rows @ kernel.reshape(-1, kernel.shape[-1])
    np.testing.assert_allclose(found, expected.reshape(-1, kernel.shape[-1]), atol=1e-5)
    count = count_places(layer, x.shape)
    assert count * 2 == len(rows)
    places = np.arange(0, count, 2)
    some = kernel_rows(layer, x, places).reshape(2, len(places), -1)
    np.testing.assert_array_equal(some, rows.reshape(2, count, -1)[:, places])


def test_channels_first_reads_the_same():
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype("float32")
    last = layers.Conv2D(2, 3, padding="same", data_format="channels_last")
    first = layers.Conv2D(2, 3, padding="same", data_format="channels_first")
    last.build(x.shape)
    np.testing.assert_array_equal(
        kernel_rows(first, np.moveaxis(x, -1, 1)), kernel_rows(last, x)
    )
