"""Bring the channels of groups next to each other."""

from collections.abc import Collection

import keras
import numpy as np

from keras_sda.graph import ChannelGraph, permute_channels
from keras_sda.grouping.packing.filter_lists import filter_lists
from keras_sda.layers.compression.self_grouped import SelfGrouped

# What a reader of overlapping lists gains from an order is little.
_OVERLAPPING = 0.1


def order_channels(model: keras.Model, names: Collection[str]) -> keras.Model:
    """Returns a masked model of the same function whose groups are ranges.

    Every tensor has one order, so the layers that write and read it have to agree:
    the largest is served first, the others within what it leaves open.

    Args:
        model: A masked model.
        names: Names of the masked layers that shall gain from the order, with the
            names of nested models before them.

    Example:

    >>> from keras_sda.applications import LeNet
    >>> from keras_sda.grouping import self_group
    >>> from keras_sda.grouping.packing.order_channels import order_channels
    >>> masked = self_group(LeNet(), conv_rate=0.5, dense_rate=0.5).model
    >>> tuple(order_channels(masked, ["fc1"]).get_layer("fc1").labels.shape)
    (500,)
    """
    graph = ChannelGraph(model)
    source = np.arange(len(graph.units.pinned))
    wishes = _wishes(graph, names)
    for group in graph.groups:
        places, keys = _places(group), []
        for part in group.parts:
            for weight, values in wishes.get((part.layer, part.axis.axis), ()):
                if part.variable is graph.layers[part.layer].layer.kernel:
                    keys.append((weight, _keys(part, values, places)))
        if keys:
            keys.sort(key=lambda pair: pair[0])  # lexsort: the last key comes first
            source[places] = places[np.lexsort([key for _, key in keys])]
    if (source == np.arange(len(source))).all():
        return model
    return permute_channels(graph, source)


def _wishes(graph, names):
    """By layer and axis of its kernel: how much an order is worth, and its keys."""
    found = {}
    for name in names:
        layer = graph.layers[name].layer
        if not isinstance(layer, SelfGrouped):
            continue
        mask = keras.ops.convert_to_numpy(layer.mask) > 0
        # By their labels, which may agree from layer to layer.
        labels = keras.ops.convert_to_numpy(layer.labels)
        lists = filter_lists(mask)
        lists.sort(key=lambda own: (not own.channels, labels[own.filters[0]]))
        rank = len(layer.kernel.shape)
        filters = np.zeros(mask.shape[1])
        for number, own in enumerate(lists):
            filters[list(own.filters)] = number
        reads = np.stack([mask[:, own.filters[0]] for own in lists])
        counts = reads.sum(axis=0)
        worth = layer.kernel.shape[0] * mask.size if rank > 2 else mask.size
        found.setdefault((name, rank - 1), []).append((worth, filters))
        if (counts <= 1).all():
            channels = np.where(counts, reads.argmax(axis=0), len(lists))
            found.setdefault((name, rank - 2), []).append((worth, channels))
        else:
            sizes = np.argsort([-own.cost for own in lists], kind="stable")
            bits = ~reads[sizes]
            channels = np.lexsort(bits[::-1])
            ranks = np.empty(len(channels))
            ranks[channels] = np.arange(len(channels))
            wish = (worth * _OVERLAPPING, ranks)
            found.setdefault((name, rank - 2), []).append(wish)
    return found


def _keys(part, values, classes):
    """The key of each class, from where it lies first along an axis."""
    first = {}
    for position, label in enumerate(part.labels):
        first.setdefault(label, values[position])
    return np.array([first[label] for label in classes])


def _places(group):
    """The classes of a group in the order in which they lie in its first weight."""
    part = next((p for p in group.parts if p.role == "writes"), group.parts[0])
    position = {}
    for place, label in enumerate(part.labels):
        position.setdefault(label, place)
    return np.array(sorted(group.classes, key=position.get))
