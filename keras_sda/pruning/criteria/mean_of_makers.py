"""Means over the weights that make a channel."""

from collections.abc import Callable

import keras
import numpy as np

from keras_sda.graph import ChannelGroup, GroupPart


def makers(group: ChannelGroup) -> list[GroupPart]:
    """The kernels that make the channels; statistics and scales are left out."""
    return [
        part
        for part in group.parts
        if part.role == "writes" and len(part.variable.shape) > 1
    ]


def mean_of_part(
    group: ChannelGroup, part: GroupPart, function: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Mean of a function of one weight over what belongs to each channel."""
    value = function(keras.ops.convert_to_numpy(part.variable))
    count = group.reduce(part, np.ones(tuple(part.variable.shape)))
    return group.reduce(part, value) / np.maximum(count, 1)


def mean_of_makers(
    group: ChannelGroup, function: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Mean of a function of the weights, over all kernels that make the channel.

    Use it in criteria that look at the size of weights: a channel that is made by
    several layers is worth their mean.

    Args:
        group: The group.
        function: Of the array of a weight, entry by entry.

    Returns:
        One number per channel; zeros where no kernel makes them.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning.criteria.mean_of_makers import mean_of_makers
    >>> x = keras.Input((2,))
    >>> y = keras.layers.Dense(3, kernel_initializer="ones")(x)
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(1)(y)))
    >>> mean_of_makers(graph.groups[0], np.abs).tolist()
    [1.0, 1.0, 1.0]
    """
    means = [mean_of_part(group, part, function) for part in makers(group)]
    return np.mean(means, axis=0) if means else np.zeros(group.num_channels)
