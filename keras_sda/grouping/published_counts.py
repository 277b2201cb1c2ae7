"""Parameters and multiply-accumulates as the paper counts them."""

import dataclasses
import math
from collections.abc import Collection, Sequence
from typing import Any

import keras
import numpy as np

from keras_sda.analysis import count_macs
from keras_sda.graph import all_layers, layer_calls
from keras_sda.grouping.find_groupable_layers import find_groupable_layers
from keras_sda.layers.compression.self_grouped import SelfGrouped


@dataclasses.dataclass(frozen=True)
class PublishedCounts:
    """Counts by the convention of the paper.

    Attributes:
        params: Parameters.
        macs: What the tables call FLOPs: multiply-accumulates of one sample.
        layers: By name of a layer, its parameters and multiply-accumulates.
    """

    params: int
    macs: int
    layers: dict[str, tuple[int, int]]


def published_counts(
    model: keras.Model,
    layers: str | Sequence[str] = "auto",
    exclude: Collection[str] = (),
    input_shape: Any = None,
) -> PublishedCounts:
    """Counts a model the way the tables of the paper do.

    Use it to compare with these tables only; `GroupingReport` has the true counts
    beside. A masked convolution counts its kept weights, and 2 parameters for each
    filter that still reads something (its batch normalisation, wherever that is) and
    its bias; its MACs are those of the kept weights plus 1 per such filter, and 1 for
    its bias. A masked dense layer counts its kept weights and 1 per unit that reads
    something, for both. Other convolutions and dense layers count weights and biases;
    for MACs the bias once. Whatever has no MACs counts nothing, batch normalisations
    included.

    Args:
        model: A functional or built sequential model.
        layers: For a model without masked layers: which ones count as masked, with
            nothing cut, see `find_groupable_layers`. Defaults to `"auto"`.
        exclude: For such a model: names of layers that do not. Defaults to none.
        input_shape: Shape of one image, where the model leaves it open. Defaults to
            what the model was built for.

    Returns:
        A `PublishedCounts`.

    Example:

    >>> from keras_sda.applications import LeNet
    >>> from keras_sda.grouping import published_counts
    >>> counts = published_counts(LeNet())
    >>> counts.params, counts.macs
    (431180, 2293630)

    Source: arXiv 2009.13803 and the counting of the authors' code.
    """
    masked = {
        id(layer) for layer in all_layers(model) if isinstance(layer, SelfGrouped)
    }
    if not masked:
        masked = {
            id(entry.layer)
            for entry in find_groupable_layers(model, layers, exclude)
            if not entry.reason
        }
    found: dict[str, tuple[int, int]] = {}
    names: dict[int, str] = {}
    for call in layer_calls(model, input_shape):
        dense_macs = count_macs(call)
        if not dense_macs:
            continue
        layer = call.layer
        counts = _masked if id(layer) in masked else _plain
        params, macs = counts(layer, dense_macs)
        if id(layer) in names:  # a shared layer: its parameters count once
            before = found[names[id(layer)]]
            found[names[id(layer)]] = before[0], before[1] + macs
        else:
            names[id(layer)] = call.name
            found[call.name] = params, macs
    return PublishedCounts(
        params=sum(params for params, _ in found.values()),
        macs=sum(macs for _, macs in found.values()),
        layers=found,
    )


def _masked(layer, dense_macs):
    channels, filters = layer.kernel.shape[-2:]
    connections, alive = channels * filters, filters
    if isinstance(layer, SelfGrouped):
        mask = keras.ops.convert_to_numpy(layer.mask)
        connections = int(np.count_nonzero(mask))
        alive = int(np.count_nonzero(mask.any(axis=0)))
    macs = dense_macs * connections // (channels * filters)
    if isinstance(layer, keras.layers.Dense):
        return connections + alive, macs + alive
    window = math.prod(layer.kernel.shape[:-2])
    biases = alive if layer.use_bias else 0
    return window * connections + 2 * alive + biases, macs + alive + biases


def _plain(layer, dense_macs):
    weights = getattr(layer, "weights", ())
    params = sum(math.prod(weight.shape) for weight in weights)
    biases = sum(math.prod(weight.shape) for weight in weights if weight.name == "bias")
    return params, dense_macs + biases
