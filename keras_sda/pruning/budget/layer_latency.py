"""Predict the latency of a pruned model from tables of its layers."""

import dataclasses
import math

import numpy as np
from absl import logging

from keras_sda.analysis import count_macs
from keras_sda.analysis.latency.layer_timer import LayerTimer, timeable_calls
from keras_sda.graph import ChannelGraph, Kept, layer_calls

_WIDTHS = (1.0, 0.75, 0.5, 0.25)


@dataclasses.dataclass(frozen=True, eq=False)
class _Table:
    """Times of one layer by the share of its multiply-accumulates."""

    axes: list[np.ndarray]  # units of the axes of its kernel
    shares: np.ndarray
    times: np.ndarray
    made: np.ndarray
    elements: int

    def time(self, kept: list[float]) -> float:
        return float(np.interp(math.prod(kept), self.shares, self.times))


class LayerLatency:
    """The latency of a model as a function of its channels, measured on this device.

    Every convolution and dense layer is timed at four widths, its inputs and outputs
    narrowed alike; in between, times are interpolated over the share of
    multiply-accumulates and never rise as it falls. What the whole model takes beyond
    its layers (normalization, activations, sums) shrinks with the number of elements
    that the layers give out. The prediction steers `meet_latency`, which then measures.

    It is a `Cost`, in milliseconds per batch.

    Args:
        graph: The channels of the model.
        total_ms: Measured latency of the whole model.
        batch_size: Samples per run. Defaults to 1.
        seconds: Bound on the time for measuring; layers that come too late are taken
            to cost as much per multiply-accumulate as the others. Defaults to 60.

    Attributes:
        num_measured: Layers with a measured table.
        num_layers: Layers with a table.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning.budget.layer_latency import LayerLatency
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4)(x)
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(2)(y)))
    >>> latency = LayerLatency(graph, total_ms=1.0)
    >>> round(latency.count(graph.kept()), 6) >= 1.0
    True
    """

    name = "latency"

    def __init__(
        self,
        graph: ChannelGraph,
        total_ms: float,
        batch_size: int = 1,
        seconds: float = 60.0,
    ):
        records = {id(record.layer): record for record in graph.layers.values()}
        timer = LayerTimer(batch_size, seconds)
        raw = []
        for call in timeable_calls(graph.model):
            record = records.get(id(call.layer))
            axes = _kernel_axes(record) if record else []
            if axes:
                table = self._measure(graph, record, axes, call, timer)
                raw.append((call, record, axes, *table))
        measured = [
            (count_macs(row[0]) or 0, row[4]) for row in raw if row[4] is not None
        ]
        self.num_measured, self.num_layers = len(measured), len(raw)
        # Milliseconds per multiply-accumulate, for layers without a measurement.
        macs = sum(m for m, _ in measured)
        if macs:
            per_mac = sum(times[0] for _, times in measured) / macs
        else:
            per_mac = total_ms / max(sum(count_macs(row[0]) or 0 for row in raw), 1)
        self._tables = []
        for call, record, axes, shares, times in raw:
            if times is None:
                full = per_mac * (count_macs(call) or 0)
                shares, times = [1.0, 0.0], [full, 0.0]
            order = np.argsort(shares)
            elements = sum(math.prod(s) for s in call.batch_output_shapes)
            self._tables.append(
                _Table(
                    [axis.units for axis in axes],
                    np.asarray(shares)[order],
                    np.maximum.accumulate(np.asarray(times)[order]),
                    record.made,
                    elements,
                )
            )
        self._rest = max(total_ms - sum(t.times[-1] for t in self._tables), 0.0)
        self._elements = sum(
            math.prod(shape)
            for call in layer_calls(graph.model)
            for shape in call.batch_output_shapes
            if any(len(w.shape) > 1 for w in getattr(call.layer, "weights", ()))
        )
        whole = self.count(graph.kept())
        logging.info(
            "Latency tables of %d layers (%d measured) of %s: %.2f of %.2f ms.",
            self.num_layers,
            self.num_measured,
            graph.model.name,
            whole - self._rest,
            total_ms,
        )

    def count(self, kept: Kept) -> float:
        """Predicted milliseconds per batch without the channels that go."""
        layers, fewer = 0.0, 0.0
        for table in self._tables:
            layers += table.time([kept.share(units) for units in table.axes])
            fewer += table.elements * (1 - kept.share(table.made))
        return float(layers + self._rest * (1 - fewer / max(self._elements, 1)))

    def _measure(self, graph, record, axes, call, timer):
        """Shares of multiply-accumulates and times at several widths, or None."""
        shares, times = [], []
        for width in _WIDTHS:
            removed = _narrowed(graph, axes, width)
            kept = graph.kept(removed)
            config = {
                **call.layer.get_config(),
                **{key: value(kept) for key, value in record.config.items()},
            }
            share = math.prod(kept.mask(axis.units).mean() for axis in axes)
            shape = _narrow_input(call, axes, kept)
            value = timer.time_ms(call.layer, config, shape)
            if value is None:
                return [], None
            shares.append(share)
            times.append(value)
        return shares, times


def _kernel_axes(record):
    """The channel axes of the largest kernel of a layer."""
    by_variable = {}
    for axis in record.axes:
        if len(axis.variable.shape) > 1:
            by_variable.setdefault(id(axis.variable), []).append(axis)
    if not by_variable:
        return []
    return max(by_variable.values(), key=lambda axes: math.prod(axes[0].variable.shape))


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


def _narrow_input(call, axes, kept):
    shape = list(call.batch_input_shapes[0])
    reads = [axis for axis in axes if axis.role == "reads"] or [
        axis for axis in axes if axis.role == "writes"
    ]  # a depthwise kernel has one axis, which it writes
    units = reads[0].units
    first = getattr(call.layer, "data_format", None) == "channels_first"
    position = 1 if first else -1
    shape[position] = round(shape[position] * kept.count(units) / len(units))
    return tuple(shape)
