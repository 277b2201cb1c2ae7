"""How important a channel is: criteria as small functions over a group."""

from collections.abc import Callable, Mapping

import keras
import numpy as np

from keras_sda.graph import ChannelGroup


def l1(group: ChannelGroup, statistics: Mapping) -> np.ndarray:
    """Mean absolute value of the weights that make the channel.

    Source: Li et al., arXiv 1608.08710, section 3.1.
    """
    return _mean_over_makers(group, np.abs)


def l2(group: ChannelGroup, statistics: Mapping) -> np.ndarray:
    """Root mean square of the weights that make the channel."""
    return np.sqrt(_mean_over_makers(group, np.square))


def bn_scale(group: ChannelGroup, statistics: Mapping) -> np.ndarray:
    """Absolute scale of the batch normalisation of the channel, else `l1`.

    Source: Liu et al., arXiv 1708.06519, section 3.
    """
    scales = [
        group.reduce(part, np.abs(_value(part))) / _multiplicity(group, part)
        for part in group.parts
        if part.variable.name == "gamma" and len(part.variable.shape) == 1
    ]
    return np.mean(scales, axis=0) if scales else l1(group, statistics)


def taylor(group: ChannelGroup, statistics: Mapping) -> np.ndarray:
    """First-order change of the loss when the channel goes: |sum of weight x gradient|.

    Needs `data` and `loss`. Averaged over batches.

    Source: Molchanov et al., arXiv 1906.10771, equation 8, on whole filters.
    """
    return statistics["loss_changes"][group.index]


def geometric_median(group: ChannelGroup, statistics: Mapping) -> np.ndarray:
    """Sum of the distances to the other filters: the replaceable ones are near all.

    Source: He et al., arXiv 1811.00250, section 3.3.
    """
    result = np.zeros(group.num_channels)
    for part in _makers(group):
        filters = np.stack([v.ravel() for v in group.values(part)]).astype("float64")
        squares = (filters**2).sum(-1)
        distances = squares[:, None] + squares[None] - 2 * filters @ filters.T
        result += np.sqrt(np.maximum(distances, 0)).sum(-1)
    return result


def activation(group: ChannelGroup, statistics: Mapping) -> np.ndarray:
    """Mean absolute activation of the channel, after the layers that pass it on.

    Needs `data`. Source: Hu et al., arXiv 1607.03250 (there: the share of non-zeros).
    """
    means = statistics["activations"]
    return np.array(
        [np.mean(means[label]) if label in means else 0.0 for label in group.classes]
    )


def random(group: ChannelGroup, statistics: Mapping) -> np.ndarray:
    """Uniform random numbers: what every criterion has to beat."""
    return statistics["generator"].uniform(size=group.num_channels)


CRITERIA: dict[str, Callable[[ChannelGroup, Mapping], np.ndarray]] = {
    "l1": l1,
    "l2": l2,
    "bn_scale": bn_scale,
    "taylor": taylor,
    "geometric_median": geometric_median,
    "activation": activation,
    "random": random,
}
"""Criteria by name. Each returns one number per channel; low ones go first."""

NEEDS_DATA = ("taylor", "activation")


def _value(part):
    return keras.ops.convert_to_numpy(part.variable)


def _makers(group):
    """The kernels that make the channels; statistics and scales are left out."""
    return [
        part
        for part in group.parts
        if part.role == "writes" and len(part.variable.shape) > 1
    ]


def _multiplicity(group, part):
    return np.maximum(group.reduce(part, np.ones(tuple(part.variable.shape))), 1)


def _mean_over_makers(group, function):
    """Mean of a function of the weights, over all kernels that make the channel."""
    means = [
        group.reduce(part, function(_value(part))) / _multiplicity(group, part)
        for part in _makers(group)
    ]
    return np.mean(means, axis=0) if means else np.zeros(group.num_channels)
