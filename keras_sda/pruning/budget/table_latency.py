"""The latency of a pruned model on another device, from a table of its layers."""

import math

import numpy as np
from absl import logging

from keras_sda.analysis import LatencyTable, count_macs
from keras_sda.analysis.latency.layer_timer import timeable_calls
from keras_sda.analysis.latency.layer_widths import ShareTimes, kernel_axes
from keras_sda.graph import ChannelGraph, Kept, layer_calls


class TableLatency:
    """The latency of a model as a function of its channels, from a `LatencyTable`.

    It is a `Cost`, in the unit of the table. `make_plan(latency=, latency_table=)`
    makes one. Nothing is measured: what it says is the sum of the layers of the table,
    and `fixed_ms`. Layers with several inputs, such as attention, are in no table;
    those that have multiply-accumulates are named in the log.

    Args:
        graph: The channels of the model, with an `input_shape` where it is open.
        table: The times of its layers.

    Attributes:
        unit: That of the table.
        layers: For every layer its times, and the units along the axes of its kernel.

    Raises:
        InvalidInputError: The table lacks layers of the model; the message names the
            nearest entry.

    Example:

    >>> import keras, tempfile
    >>> from keras_sda.analysis import LatencyTable
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning.budget.table_latency import TableLatency
    >>> from keras_sda.utils.files.csv_rows import read_rows
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4, name="hidden")(x)
    >>> model = keras.Model(x, keras.layers.Dense(2)(y))
    >>> path = LatencyTable.requests(model, tempfile.mkdtemp() + "/phone")
    >>> rows = [{**row, "ms": 2 * float(row["share"])} for row in read_rows(path)]
    >>> graph = ChannelGraph(model)
    >>> TableLatency(graph, LatencyTable(rows)).count(graph.kept())
    4.0
    """

    name = "latency"

    def __init__(self, graph: ChannelGraph, table: LatencyTable):
        calls = timeable_calls(graph.model, graph.input_shape)
        table.check(graph.model, calls)
        self.unit = table.unit
        self._fixed = table.fixed_ms
        self.layers: list[tuple[ShareTimes, list[np.ndarray]]] = [
            (table.times(call), [axis.units for axis in kernel_axes(graph, call.layer)])
            for call in calls
        ]
        timed = {id(call.layer) for call in calls}
        left_out = [
            call.name
            for call in layer_calls(graph.model, graph.input_shape)
            if id(call.layer) not in timed and count_macs(call)
        ]
        if left_out:
            logging.warning(
                "Layers of %s with multiply-accumulates that no latency table knows, "
                "because they cannot be timed alone: %s.",
                graph.model.name,
                ", ".join(left_out[:8] + ["..."] * (len(left_out) > 8)),
            )

    def count(self, kept: Kept) -> float:
        """Milliseconds per batch without the channels that go."""
        return self._fixed + sum(
            times.at(math.prod(kept.share(units) for units in axes))
            for times, axes in self.layers
        )
