"""One layer of a model at several widths, as it is once channels are gone."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_sda.graph import ChannelGraph, Kept, LayerCall
from keras_sda.graph.rules.layer_channels import LayerChannels, WeightAxis

WIDTHS = (1.0, 0.75, 0.5, 0.25)


@dataclasses.dataclass(frozen=True)
class LayerWidth:
    """One layer, narrower.

    Attributes:
        share: Share of the multiply-accumulates that it has left.
        config: What `from_config` of its class takes.
        batch_input_shape: Shape of its input for one sample, batch axis first.
    """

    share: float
    config: dict[str, Any]
    batch_input_shape: tuple[int, ...]


def layer_widths(
    graph: ChannelGraph,
    record: LayerChannels,
    call: LayerCall,
    widths: Sequence[float] = WIDTHS,
) -> list[LayerWidth]:
    """A layer at several widths, its inputs and outputs narrowed alike.

    Use it for tables of times. What cannot be removed stays at every width.

    Args:
        graph: The channels of the model.
        record: What the graph knows of the layer.
        call: The call that is meant.
        widths: Shares of the channels that stay. Defaults to `(1, 0.75, 0.5, 0.25)`.

    Returns:
        One `LayerWidth` for every width.

    Example:

    >>> import keras
    >>> from keras_sda.analysis.latency.layer_widths import layer_widths
    >>> from keras_sda.graph import ChannelGraph, layer_calls
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4, name="hidden")(x)
    >>> model = keras.Model(x, keras.layers.Dense(2)(y))
    >>> graph = ChannelGraph(model)
    >>> found = layer_widths(graph, graph.layers["hidden"], layer_calls(model)[0])
    >>> [(width.share, width.config["units"]) for width in found]
    [(1.0, 4), (0.75, 3), (0.5, 2), (0.25, 1)]
    """
    axes = kernel_axes(graph, call.layer)
    found = []
    for width in widths:
        kept = graph.kept(_narrowed(graph, axes, width))
        found.append(
            LayerWidth(
                float(math.prod(kept.mask(axis.units).mean() for axis in axes)),
                {
                    **call.layer.get_config(),
                    **{key: value(kept) for key, value in record.config.items()},
                },
                _narrow_input(call, axes, kept),
            )
        )
    return found


def kernel_axes(graph: ChannelGraph, layer: keras.Operation) -> list[WeightAxis]:
    """The axes of the largest kernel of a layer that follow channels.

    Args:
        graph: The channels of the model.
        layer: A layer of it, or one that such a layer wraps.
    """
    own = {id(weight) for weight in getattr(layer, "weights", ())}
    by_variable: dict[int, list[WeightAxis]] = {}
    for record in graph.layers.values():
        for axis in record.axes:
            if id(axis.variable) in own and len(axis.variable.shape) > 1:
                by_variable.setdefault(id(axis.variable), []).append(axis)
    if not by_variable:
        return []
    return max(by_variable.values(), key=lambda axes: math.prod(axes[0].variable.shape))


def one_layer_model(
    layer_class: Any,
    config: dict[str, Any],
    batch_shape: tuple[int | None, ...],
    name: str | None = None,
) -> keras.Model:
    """A model of one layer, with random weights.

    Args:
        layer_class: The class of the layer.
        config: What its `from_config` takes.
        batch_shape: Shape of the input, batch axis first.
        name: Name of the model. Defaults to `None`, any.
    """
    new = layer_class.from_config({**config, "name": "timed"})
    x = keras.Input(batch_shape=batch_shape, dtype=new.compute_dtype)
    return keras.Model(x, new(x), name=name)


class ShareTimes:
    """Times of one layer by the share of its multiply-accumulates.

    In between, times are interpolated; they never rise as the share falls.

    Args:
        shares: Shares, in any order.
        times: A time for each.

    Example:

    >>> from keras_sda.analysis.latency.layer_widths import ShareTimes
    >>> times = ShareTimes([1.0, 0.5], [4.0, 3.0])
    >>> times.at(1.0), times.at(0.75), times.at(0.1)
    (4.0, 3.5, 3.0)
    """

    def __init__(self, shares: Sequence[float], times: Sequence[float]):
        order = np.argsort(shares)
        self.shares = np.asarray(shares, float)[order]
        self.times = np.maximum.accumulate(np.asarray(times, float)[order])

    @property
    def whole(self) -> float:
        """The time of the whole layer."""
        return float(self.times[-1])

    def at(self, share: float) -> float:
        """The time at a share; that of the smallest known one below it.

        Args:
            share: What is left of the multiply-accumulates.
        """
        return float(np.interp(share, self.shares, self.times))


def _narrowed(graph, axes, width):
    """Classes to remove so that about `width` is left of every axis of a kernel."""
    removed = np.zeros(len(graph.units.pinned), bool)
    for axis in axes:
        labels = np.unique(graph.units.classes[axis.units])
        stays = max(round(width * len(labels)), 1)
        # What cannot be removed never is: it stays at every width.
        free = labels[~graph.units.pinned[labels]]
        removed[free[max(stays - (len(labels) - len(free)), 0) :]] = True
        if removed[labels].all():
            removed[labels[0]] = False
    return removed


def _narrow_input(call: LayerCall, axes: list[WeightAxis], kept: Kept):
    shape = list(call.batch_input_shapes[0])
    reads = [axis for axis in axes if axis.role == "reads"] or [
        axis for axis in axes if axis.role == "writes"
    ]  # a depthwise kernel has one axis, which it writes
    units = reads[0].units
    first = getattr(call.layer, "data_format", None) == "channels_first"
    position = 1 if first else -1
    shape[position] = round(shape[position] * kept.count(units) / len(units))
    return tuple(shape)
