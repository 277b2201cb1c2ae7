"""What a kernel reads: one row per position, one column per tap and channel."""

import itertools
import math
from typing import Any

import keras
import numpy as np


def kernel_rows(
    layer: keras.Layer, inputs: Any, places: np.ndarray | None = None
) -> np.ndarray:
    """The rows that a convolution or dense layer multiplies by its kernel.

    Args:
        layer: A convolution without transposition, or a dense layer.
        inputs: What it reads, `(batch, ..., channels)` or channels first as it says.
        places: Which of the positions of its output, as numbers in their order.
            Defaults to all.

    Returns:
        float32 array `(batch * positions, taps * channels)`; the taps in the order of
        the kernel.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.pruning.refit.kernel_rows import kernel_rows
    >>> layer = keras.layers.Conv1D(1, 3, padding="same")
    >>> _ = layer.build((None, 3, 1))
    >>> kernel_rows(layer, np.array([[[1.0], [2.0], [3.0]]])).tolist()
    [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 0.0]]
    """
    values = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(inputs, "float32")))
    if not hasattr(layer, "kernel_size"):
        values = values.reshape(len(values), -1, values.shape[-1])
        chosen = values if places is None else values[:, places]
        return chosen.reshape(-1, values.shape[-1])
    if layer.data_format == "channels_first":
        values = np.moveaxis(values, 1, -1)
    sizes = values.shape[1:-1]
    padding, counts = _geometry(layer, sizes)
    if any(before or after for before, after in padding):
        values = np.pad(values, [(0, 0), *padding, (0, 0)])
    padded = values.shape[1:-1]
    places = np.arange(math.prod(counts)) if places is None else places
    corner = np.stack(np.unravel_index(places, counts), -1) * np.array(layer.strides)
    flat = values.reshape(len(values), -1, values.shape[-1])
    taps = itertools.product(*map(range, layer.kernel_size))
    rows = [
        flat[:, np.ravel_multi_index(tuple((corner + step).T), padded)]
        for step in (np.array(tap) * np.array(layer.dilation_rate) for tap in taps)
    ]
    return np.concatenate(rows, -1).reshape(-1, len(rows) * values.shape[-1])


def count_places(layer: keras.Layer, shape: tuple) -> int:
    """How many positions the output of a layer has.

    Args:
        layer: See `kernel_rows`.
        shape: Shape of what it reads, with the batch axis.
    """
    if not hasattr(layer, "kernel_size"):
        return math.prod(shape[1:-1])
    is_first = layer.data_format == "channels_first"
    return math.prod(_geometry(layer, shape[2:] if is_first else shape[1:-1])[1])


def _geometry(layer, sizes):
    """Zeros before and after every axis, and positions along it."""
    padding, counts = [], []
    for size, kernel, stride, dilation in zip(
        sizes, layer.kernel_size, layer.strides, layer.dilation_rate, strict=True
    ):
        reach = (kernel - 1) * dilation + 1
        before = after = 0
        if layer.padding == "same":
            missing = max((math.ceil(size / stride) - 1) * stride + reach - size, 0)
            before, after = missing // 2, missing - missing // 2
        elif layer.padding == "causal":
            before = reach - 1
        padding.append((before, after))
        counts.append((size + before + after - reach) // stride + 1)
    return padding, tuple(counts)
