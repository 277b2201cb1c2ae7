"""Predict the latency of a pruned model from tables of its layers."""

import dataclasses
import math

import numpy as np
from absl import logging

from keras_sda.analysis import count_macs
from keras_sda.analysis.latency.layer_timer import LayerTimer, timeable_calls
from keras_sda.analysis.latency.layer_widths import (
    ShareTimes,
    kernel_axes,
    layer_widths,
)
from keras_sda.graph import ChannelGraph, Kept, layer_calls


@dataclasses.dataclass(frozen=True, eq=False)
class _Table:
    """Times of one layer by the share of its multiply-accumulates."""

    axes: list[np.ndarray]  # units of the axes of its kernel
    times: ShareTimes
    made: np.ndarray
    elements: int


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
            axes = kernel_axes(graph, call.layer) if record else []
            if axes:
                table = self._measure(graph, record, call, timer)
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
            elements = sum(math.prod(s) for s in call.batch_output_shapes)
            self._tables.append(
                _Table(
                    [axis.units for axis in axes],
                    ShareTimes(shares, times),
                    record.made,
                    elements,
                )
            )
        self._rest = max(total_ms - sum(t.times.whole for t in self._tables), 0.0)
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
            share = math.prod(kept.share(units) for units in table.axes)
            layers += table.times.at(share)
            fewer += table.elements * (1 - kept.share(table.made))
        return float(layers + self._rest * (1 - fewer / max(self._elements, 1)))

    def _measure(self, graph, record, call, timer):
        """Shares of multiply-accumulates and times at several widths, or None."""
        shares, times = [], []
        for width in layer_widths(graph, record, call):
            value = timer.time_ms(call.layer, width.config, width.batch_input_shape)
            if value is None:
                return [], None
            shares.append(width.share)
            times.append(value)
        return shares, times
