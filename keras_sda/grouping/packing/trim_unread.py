"""Remove the channels that nobody reads any more."""

import keras
import numpy as np

from keras_sda.graph import ChannelGraph, remove_channels
from keras_sda.layers.compression.self_grouped import SelfGrouped


def trim_unread(model: keras.Model, round_to: int = 1) -> tuple[keras.Model, int]:
    """Returns a masked model without the channels that all of its readers cut.

    What a channel would have read may then be unread too, and goes as well.

    Args:
        model: A masked model.
        round_to: So many unread channels stay that each number of channels is a
            multiple of this, or what it was. Defaults to `1`, none.

    Returns:
        The model, which is `model` itself where every channel is read, and the number
        of channels that went, counted in the weights that make them.

    Example:

    >>> from keras_sda.applications import LeNet
    >>> from keras_sda.grouping import self_group
    >>> from keras_sda.grouping.packing.trim_unread import trim_unread
    >>> masked = self_group(LeNet(), conv_rate=0.5, dense_rate=0.5).model
    >>> trim_unread(masked)[1] >= 0
    True
    """
    total = 0
    while True:
        graph = ChannelGraph(model)
        removed = np.zeros(len(graph.units.pinned), bool)
        count = 0
        for group in graph.groups:
            unread = _unread(graph, group)
            if unread.all():
                unread[0] = False  # a layer cannot be left without channels
            kept = int((~unread).sum())
            spare = min(-kept % round_to, int(unread.sum()))
            unread[np.flatnonzero(unread)[:spare]] = False
            removed[group.classes[unread]] = True
            count += int(unread.sum()) * len(group.writers)
        if not count:
            return model, total
        model = remove_channels(graph, removed)
        total += count


def _unread(graph, group):
    """For every channel of a group whether all weights that read it are zero."""
    readers = [part for part in group.parts if part.role == "reads"]
    mass = np.zeros(group.num_channels)
    for part in readers:
        layer = graph.layers[part.layer].layer
        value = keras.ops.convert_to_numpy(part.variable)
        if isinstance(layer, SelfGrouped) and part.variable is layer.kernel:
            value = layer.masked_kernel()
        mass += group.reduce(part, np.abs(value))
    return (mass == 0) & bool(readers)
