"""Disjoint groups of all layers of a model at once."""

import collections
import math
from collections.abc import Mapping

import keras
import numpy as np

from keras_sda.graph import ChannelGraph
from keras_sda.grouping.clusters.balanced_groups import choose_num_groups
from keras_sda.grouping.clusters.importance_vectors import importance_vectors
from keras_sda.grouping.clusters.joint_blocks import BlockLayer, joint_blocks
from keras_sda.grouping.clusters.layer_groups import LayerGroups
from keras_sda.utils import InvalidInputError

# Runs of neighbours are cheap to move if they are this long.
_RUN = 8


def disjoint_groups(
    model: keras.Model, rates: Mapping[int, float], seed: int = 0
) -> dict[int, LayerGroups | str]:
    """Divides the filters and channels of layers into groups that share nothing.

    Use it through `self_group(balance="disjoint")`. Layers on the same residual stream
    get the same division of its channels, and so do a convolution and the 1x1
    convolution that reads it: with divisions of their own, all but one would have to
    move their channels, which costs more than the groups save. Before larger windows
    the divisions cross, so that groups exchange what they know: otherwise a stage would
    be as many networks side by side. Each group reads an equal part of each group
    before, which is a channel shuffle; where the numbers do not divide, the divisions
    are free if that leaves runs of at least 8 neighbours.

    Args:
        model: A functional model without masks.
        rates: By `id` of a layer the share of its connections to cut.
        seed: Seed of the starts. Defaults to `0`.

    Returns:
        By `id` of the layer its `LayerGroups`, or why it cannot have any.

    Example:

    >>> from keras_sda.applications import CIFARResNet20
    >>> from keras_sda.grouping.clusters.disjoint_groups import disjoint_groups
    >>> model = CIFARResNet20()
    >>> layer = model.get_layer("stage1_block1_conv1")
    >>> groups = disjoint_groups(model, {id(layer): 0.5})[id(layer)]
    >>> int(groups.mask.sum()), groups.mask.size
    (128, 256)

    Source: an extension of arXiv 2009.13803 of our own.
    """
    graph = ChannelGraph(model)
    records = {id(record.layer): record for record in graph.layers.values()}
    found: dict[int, LayerGroups | str] = {}
    counts: dict[int, int] = {}
    for key, rate in rates.items():
        channels, filters = records[key].layer.kernel.shape[-2:]
        try:
            counts[key] = choose_num_groups(filters, channels, rate, "disjoint")
        except InvalidInputError as error:
            found[key] = str(error)
    for count in sorted(set(counts.values())):
        keys = [key for key in counts if counts[key] == count]
        layers, crossed = _block_layers(graph, [records[key] for key in keys], count)
        blocks = joint_blocks(layers, count, seed, crossed=crossed)
        for key, layer, (made, read) in zip(keys, layers, blocks, strict=True):
            found[key] = _groups(layer.vectors, made, read)
    return found


def _block_layers(graph, records, count):
    """What `joint_blocks` gets: the layers, and the keys that cross."""
    sides, windows = [], {}
    makers, readers = collections.Counter(), collections.Counter()
    for record in records:
        kernel = record.layer.kernel
        made, read = (_place(graph, record.axis_units(kernel, a)) for a in (-1, -2))
        sides.append((made, read))
        makers[made[0]] += 1
        readers[read[0]] += 1
        windows[read[0]] = math.prod(kernel.shape[:-2]), len(read[1])
    kinds = {None: "own"}
    for key, (window, channels) in windows.items():
        if key is not None and window > 1 and makers[key] == readers[key] == 1:
            if channels % count**2 == 0:
                kinds[key] = "crossed"
            elif channels >= _RUN * count**2:
                kinds[key] = "own"
    layers = []
    for number, (record, places) in enumerate(zip(records, sides, strict=True)):
        keys = []
        for side, (key, _) in enumerate(places):
            kind = kinds.get(key, "shared")
            keys.append(
                {
                    "own": ("own", number, side),
                    "crossed": ("crossed", key, side),
                    "shared": ("shared", key),
                }[kind]
            )
        vectors = importance_vectors(keras.ops.convert_to_numpy(record.layer.kernel))
        layers.append(BlockLayer(vectors, *keys, *[slots for _, slots in places]))
    crossed = [
        (("crossed", key, 0), ("crossed", key, 1))
        for key, kind in kinds.items()
        if kind == "crossed"
    ]
    return layers, crossed


def _place(graph, units):
    """Which channel group an axis is as a whole, and the channel at each place."""
    labels = graph.units.classes[units]
    for group in graph.groups:
        if len(labels) == group.num_channels and np.isin(labels, group.classes).all():
            slots = np.searchsorted(np.sort(group.classes), labels)
            if len(set(slots.tolist())) == len(slots):
                return group.index, slots
    return None, np.arange(len(labels))


def _groups(vectors, made, read):
    # Blocks of one number read each other throughout the model: `pack` uses that.
    mask = made[:, None] == read[None, :]
    total = vectors.sum()
    kept = float(vectors[mask].sum() / total) if total else 1.0
    return LayerGroups(mask, made.astype("int32"), None, kept)
