"""Channels of a tensor in another order."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

# From this mean length on, runs are faster as slices than channel by channel.
_RUN = 8


def take_channels(inputs, indices: Sequence[int], axis: int):
    """Channels at `indices`: runs of neighbours as slices, others as a gather.

    TensorFlow gathers single numbers slowly on CPU, and rows fast: there the channels
    of maps are put in front, gathered and put back.

    Args:
        inputs: A tensor.
        indices: Places along the axis.
        axis: The axis, counted from 0 on.
    """
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    runs = np.split(np.asarray(indices), breaks)
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
