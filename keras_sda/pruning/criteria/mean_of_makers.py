"""Means over the weights that make a channel, alone or where nothing else is known."""

from collections.abc import Callable, Sequence

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


def seen_or_made(
    group: ChannelGroup,
    seen: Sequence[Sequence[float]],
    combine: Callable[[Sequence[float]], float],
) -> np.ndarray:
    """Scores of what was seen of the channels; of what makes them where nothing was.

    Channels that are read, but where nobody can look, such as the hidden units of
    squeeze and excitation, must not go first: theirs is the score of `l1`.

    Args:
        group: The group.
        seen: What `ChannelStatistics.per_channel` returned.
        combine: Makes one number of those of a channel, at least one.

    Returns:
        One number per channel; zeros where nobody reads them.
    """
    if any(part.role == "reads" for part in group.parts) and not any(seen):
        return mean_of_makers(group, np.abs)
    return np.array([combine(values) if values else 0.0 for values in seen])
