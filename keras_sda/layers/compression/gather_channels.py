"""Take some of the channels of a tensor."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_sda.layers.compression.scatter_channels import check_places
from keras_sda.layers.compression.take_channels import take_channels
from keras_sda.utils import InvalidInputError


@keras.saving.register_keras_serializable(package="keras_sda")
class GatherChannels(keras.layers.Layer):
    """Returns the channels of its input at `indices`, in that order.

    Use it where a layer reads only a part of a residual stream.

    Args:
        indices: Places of the channels; one may occur more than once.
        axis: Channel axis. Defaults to that of the Keras image data format.
        **kwargs: `name`, `dtype`.

    Input shape:
        Any, with more channels than the highest index.

    Output shape:
        The same with `len(indices)` channels.

    Raises:
        InvalidInputError: The indices are no places from 0 up, or the input has too few
            channels.

    Example:

    >>> import numpy as np
    >>> from keras_sda.layers import GatherChannels
    >>> GatherChannels([0, 2])(np.array([[5.0, 6.0, 7.0]])).numpy().tolist()
    [[5.0, 7.0]]

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022), the columns that the
    published masks leave to the reader of a residual sum.
    """

    keeps_zeros = True

    def __init__(self, indices: Sequence[int], axis: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.indices = check_places(indices, repeats=True)
        if axis is None:
            last = keras.config.image_data_format() == "channels_last"
            axis = -1 if last else 1
        self.axis = int(axis)

    def build(self, input_shape):
        count = input_shape[self.axis]
        if count is None or max(self.indices) >= count:
            raise InvalidInputError(
                f"`indices` goes up to {max(self.indices)}, which layer {self.name!r} "
                f"does not find in an input of shape {tuple(input_shape)}, axis "
                f"{self.axis}."
            )

    def call(self, inputs):
        return take_channels(inputs, self.indices, self.axis % len(inputs.shape))

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        shape[self.axis] = len(self.indices)
        return tuple(shape)

    def compute_macs(self, input_shape: Any, output_shape: Any) -> int:
        """It moves values and computes nothing."""
        return 0

    def follow_channels(self, call: Any) -> Any:
        """Passes the chosen channels; `indices` then counts those that stay."""
        axis = self.axis % len(call.input_shapes[0])
        units = call.units(0, axis)
        call.same_in_every_call(call.channels(axis, units))

        def indices(kept):
            new_places = np.cumsum(kept.mask(units)) - 1
            return [int(new_places[i]) for i in self.indices if kept.mask(units)[i]]

        call.keep_some(units[self.indices])
        call.configure("indices", indices)
        return call.channels(axis, units[self.indices])

    def get_config(self):
        return {
            **super().get_config(),
            "indices": list(self.indices),
            "axis": self.axis,
        }
