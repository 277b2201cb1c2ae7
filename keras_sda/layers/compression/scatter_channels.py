"""Put the channels of a narrow tensor into their places in a wider one."""

import operator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sda.layers.compression.take_channels import take_channels
from keras_sda.utils import InvalidInputError
from keras_sda.utils.check_arguments import check_arguments


@keras.saving.register_keras_serializable(package="keras_sda")
class ScatterChannels(keras.layers.Layer):
    """Returns `channels` channels: the inputs at `indices`, zeros elsewhere.

    Use it to add a branch that computes only some channels to a residual stream that
    keeps its width.

    Args:
        indices: For every channel of the input its place in the output, all different.
        channels: Number of channels of the output.
        axis: Channel axis. Defaults to that of the Keras image data format.
        **kwargs: `name`, `dtype`.

    Input shape:
        Any, with `len(indices)` channels.

    Output shape:
        The same with `channels` channels.

    Raises:
        InvalidInputError: The indices are not different places below `channels`, or
            the input has another number of channels.

    Example:

    >>> import numpy as np
    >>> from keras_sda.layers import ScatterChannels
    >>> ScatterChannels([0, 3], channels=4)(np.array([[5.0, 6.0]])).numpy().tolist()
    [[5.0, 0.0, 0.0, 6.0]]

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022): a pruned branch is added
    to the kept positions of its shortcut.
    """

    keeps_zeros = True

    def __init__(
        self, indices: Sequence[int], channels: int, axis: int | None = None, **kwargs
    ):
        super().__init__(**kwargs)
        check_arguments("count", channels=channels)
        self.indices = check_places(indices, channels)
        self.channels = int(channels)
        if axis is None:
            last = keras.config.image_data_format() == "channels_last"
            axis = -1 if last else 1
        self.axis = int(axis)

    def build(self, input_shape):
        if input_shape[self.axis] != len(self.indices):
            raise InvalidInputError(
                f"`indices` has {len(self.indices)} places, so layer {self.name!r} "
                f"takes as many channels. Received: input shape {tuple(input_shape)}, "
                f"axis {self.axis}."
            )

    def call(self, inputs):
        rank = len(inputs.shape)
        axis = self.axis % rank
        count, first = len(self.indices), self.indices[0]
        if self.indices == list(range(first, first + count)):
            before, after = first, self.channels - first - count
        else:
            before, after = 0, 1  # one channel of zeros to take the others from
        width = [[0, 0]] * rank
        width[axis] = [before, after]
        padded = ops.pad(inputs, width)
        if padded.shape[axis] == self.channels and (before, after) != (0, 1):
            return padded
        places = np.full(self.channels, count, "int32")
        places[self.indices] = np.arange(count)
        return take_channels(padded, places, axis)

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        shape[self.axis] = self.channels
        return tuple(shape)

    def compute_macs(self, input_shape: Any, output_shape: Any) -> int:
        """It moves values and computes nothing."""
        return 0

    def follow_channels(self, call: Any) -> Any:
        """Passes channels to their places; empty ones count as new, all zeros."""
        axis = self.axis % len(call.input_shapes[0])
        units = call.units(0, axis)
        # Places that nothing is put into hold zeros, whoever else they are added to.
        made = np.full(self.channels, -1)
        made[self.indices] = units
        made[made < 0] = call.new_units(self.channels - len(units))
        call.same_in_every_call(call.channels(axis, made))

        def indices(kept):
            new_places = np.cumsum(kept.mask(made)) - 1
            return [int(new_places[i]) for i in self.indices if kept.mask(made)[i]]

        call.keep_some(units)
        call.configure("indices", indices)
        call.configure("channels", lambda kept: kept.count(made))
        return call.channels(axis, made)

    def get_config(self):
        return {
            **super().get_config(),
            "indices": list(self.indices),
            "channels": self.channels,
            "axis": self.axis,
        }


def check_places(
    indices, channels: int | None = None, repeats: bool = False
) -> list[int]:
    """Places of channels as a list of numbers from 0 up, different if need be."""
    try:
        places = [operator.index(index) for index in indices]
    except TypeError as error:
        raise InvalidInputError(
            "`indices` must be a list of places, counted from 0. Received: "
            f"indices={indices!r:.80}."
        ) from error
    limit = float("inf") if channels is None else channels
    good = repeats or len(set(places)) == len(places)
    if not (places and good and all(0 <= place < limit for place in places)):
        below = "" if channels is None else f" below `channels`={channels!r}"
        different = "" if repeats else " different"
        raise InvalidInputError(
            f"`indices` must be one or more{different} numbers from 0 up{below}. "
            f"Received: indices={list(indices)!r}."
        )
    return places
