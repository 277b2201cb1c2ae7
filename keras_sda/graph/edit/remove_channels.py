"""Rebuild a model without some of its channels."""

import keras
import numpy as np

from keras_sda.graph.channels.channel_graph import ChannelGraph
from keras_sda.graph.edit.rebuild import rebuild


def remove_channels(graph: ChannelGraph, removed: np.ndarray) -> keras.Model:
    """Returns the model without the channels of the classes marked in `removed`.

    Use it through `keras_sda.pruning`, which chooses the classes.

    Args:
        graph: The channels of a model.
        removed: Boolean array over the classes of `graph.units`. Pinned classes must
            not be marked, and something has to be left of every weight.

    Returns:
        A functional model with its own weights, not compiled, with the layer names of
        the old one.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.graph.edit.remove_channels import remove_channels
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4, name="a")(x)
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(2, name="b")(y)))
    >>> removed = np.zeros(graph.units.pinned.shape, bool)
    >>> removed[graph.groups[0].classes[0]] = True
    >>> remove_channels(graph, removed).get_layer("a").units
    3
    """
    kept = graph.kept(removed)

    def cut(value, axis):
        mask = kept.mask(axis.units)
        return value if mask.all() else np.compress(mask, value, axis.axis)

    return rebuild(graph, cut, kept)
