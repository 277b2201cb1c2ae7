"""Rebuild a model with its channels in another order."""

import keras
import numpy as np

from keras_sda.graph.channels.channel_graph import ChannelGraph
from keras_sda.graph.edit.rebuild import rebuild


def permute_channels(graph: ChannelGraph, source: np.ndarray) -> keras.Model:
    """Returns a model of the same function with the channels of its groups reordered.

    Use it to bring channels that one layer reads together next to each other: the
    order is folded into the weights of all layers that write, carry or read them.

    Args:
        graph: The channels of a model.
        source: For every class of `graph.units` the class whose content takes its
            place: a permutation that maps every `ChannelGroup` onto itself and leaves
            all other classes where they are.

    Returns:
        A functional model with its own weights, not compiled, with the layer names of
        the old one.

    Raises:
        ValueError: `source` is no such permutation.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.graph.edit.permute_channels import permute_channels
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(2, name="a")(x)
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(2, name="b")(y)))
    >>> source = np.arange(len(graph.units.pinned))
    >>> source[graph.groups[0].classes] = graph.groups[0].classes[::-1]
    >>> swapped = permute_channels(graph, source)
    >>> old, new = (m.get_layer("a").kernel for m in (graph.model, swapped))
    >>> bool(keras.ops.all(old[:, ::-1] == new))
    True
    """
    source = np.asarray(source)
    _check(graph, source)

    def move(value, axis):
        labels = graph.units.classes[axis.units]
        if (source[labels] == labels).all():
            return value
        return np.take(value, _positions(labels, source), axis.axis)

    return rebuild(graph, move)


def _positions(labels, source):
    """Where along an axis with these labels the new content comes from."""
    # A class may lie there more than once: its n-th place takes from the n-th.
    order = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[order], labels)
    occurrence = np.empty(len(labels), int)
    occurrence[order] = np.arange(len(labels)) - first[order]
    return order[np.searchsorted(labels[order], source[labels]) + occurrence]


def _check(graph, source):
    fixed = np.ones(len(graph.units.pinned), bool)
    fits = source.shape == fixed.shape
    for group in graph.groups if fits else ():
        fixed[group.classes] = False
        fits &= set(source[group.classes]) == set(group.classes)
    if not fits or (source[fixed] != np.flatnonzero(fixed)).any():
        raise ValueError(
            "`source` must permute the classes of every channel group and keep the "
            "other classes."
        )
