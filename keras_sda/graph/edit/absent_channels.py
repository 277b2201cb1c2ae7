"""Zeros in place of channels that are about to go."""

from typing import Any

import keras
import numpy as np

from keras_sda.graph.channels.channel_graph import ChannelGraph
from keras_sda.graph.rules.channel_call import ChannelCall
from keras_sda.graph.rules.unit_table import Channels


@keras.saving.register_keras_serializable("keras_sda")
class AbsentChannels(keras.layers.Layer):
    """Zeros of the shape of its input, with another number of channels.

    Use it through `keras_sda.pruning`: it stands for a term of a concatenation that a
    block made. `remove_channels` takes its channels from all that reads them, and the
    layer with them.

    Args:
        channels: Number of channels.
        axis: Their axis, the batch axis included.
        **kwargs: Arguments of `keras.layers.Layer`.

    Example:

    >>> import keras
    >>> from keras_sda.graph.edit.absent_channels import AbsentChannels
    >>> AbsentChannels(3, 2)(keras.ops.ones((1, 4, 5))).shape
    TensorShape([1, 4, 3])
    """

    def __init__(self, channels: int, axis: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.channels, self.axis = channels, axis

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """The shape of its input but for the number of channels."""
        axis = self.axis
        return (*input_shape[:axis], self.channels, *input_shape[axis + 1 :])

    def call(self, inputs: Any) -> Any:
        """Zeros."""
        shape = self.compute_output_shape(keras.ops.shape(inputs))
        return keras.ops.zeros(shape, self.compute_dtype)

    def follow_channels(self, call: ChannelCall) -> Channels:
        """Makes channels. Without any the layer hands on what it gets."""
        units = call.new_units(self.channels)
        call.configure("channels", lambda kept: kept.count(units))
        call.rewrite(
            lambda kept, new, args, kwargs: new(*args) if kept.count(units) else args[0]
        )
        return call.channels(self.axis, units)

    def get_config(self) -> dict:
        """Arguments of the constructor."""
        return {**super().get_config(), "channels": self.channels, "axis": self.axis}


def absent_classes(graph: ChannelGraph) -> tuple[set[str], np.ndarray]:
    """The classes of channels that are absent already.

    Args:
        graph: The channels of a model.

    Returns:
        The names of the layers that stand for them; and a boolean array over the
        classes of `graph.units`.
    """
    gone = np.zeros(len(graph.units.pinned), bool)
    names = set()
    for name, record in graph.layers.items():
        if isinstance(record.layer, AbsentChannels):
            names.add(name)
            gone[graph.units.classes[record.made]] = True
    return names, gone
