"""Channels of a tensor in another order."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

# From this mean length on, runs are faster as slices than channel by channel.
_RUN = 8


def take_channels(inputs, indices: Sequence[int], axis: int):
    """Channels at `indices`: a shuffle, runs of neighbours as slices, or a gather.

    A shuffle, as between grouped convolutions, is one transposition. TensorFlow gathers
    single numbers slowly on CPU, and rows fast: there the channels of maps are put in
    front, gathered and put back.

    Args:
        inputs: A tensor.
        indices: Places along the axis.
        axis: The axis, counted from 0 on.
    """
    runs = _runs(indices)
    if axis == len(inputs.shape) - 1 and len(indices) == inputs.shape[axis]:
        cells = shuffled_cells(indices)
        if cells is not None:
            return _shuffled(inputs, cells)
    if len(indices) < _RUN * len(runs):
        places, rank = np.array(indices, "int32"), len(inputs.shape)
        if rank < 4 or axis == 1 or keras.backend.backend() != "tensorflow":
            return ops.take(inputs, places, axis=axis)
        front = [axis, *[k for k in range(rank) if k != axis]]
        rows = ops.take(ops.transpose(inputs, front), places, axis=0)
        return ops.transpose(rows, np.argsort(front).tolist())
    parts = []
    for run in runs:
        place = [slice(None)] * len(inputs.shape)
        place[axis] = slice(int(run[0]), int(run[-1]) + 1)
        parts.append(inputs[tuple(place)])
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=axis)


def shuffled_cells(indices: Sequence[int]) -> tuple[int, int, int] | None:
    """Sizes (a, b, n), where a x b cells of n indices are transposed; or None.

    Example:

    >>> from keras_sda.layers.compression.take_channels import shuffled_cells
    >>> shuffled_cells([0, 1, 4, 5, 2, 3, 6, 7])
    (2, 2, 2)
    """
    runs = _runs(indices)
    if len(runs) < 3:
        return None
    size, second = len(runs[0]), int(runs[1][0])
    columns = second // size
    if columns < 2 or len(indices) % (columns * size):
        return None
    cells = len(indices) // (columns * size), columns, size
    order = np.arange(len(indices)).reshape(cells).transpose(1, 0, 2)
    return cells if np.array_equal(order.ravel(), indices) else None


def _runs(indices):
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    return np.split(np.asarray(indices), breaks)


def _shuffled(inputs, cells):
    shape = list(inputs.shape)
    if None in shape[1:]:
        shape = list(ops.shape(inputs))
    else:
        shape[0] = -1
    rows = ops.transpose(ops.reshape(inputs, (-1, *cells)), (0, 2, 1, 3))
    return ops.reshape(rows, shape)
