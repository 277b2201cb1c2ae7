"""Multiply-accumulates of a gated model as a function of its gates."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_sda.analysis import LatencyTable
from keras_sda.graph import ChannelTrace
from keras_sda.pruning.budget.mac_cost import MacCost
from keras_sda.pruning.budget.parameter_cost import ParameterCost
from keras_sda.pruning.budget.table_latency import TableLatency
from keras_sda.search.gates.add_channel_gates import channel_gates
from keras_sda.search.surgery.lost_branches import LostBranches
from keras_sda.search.surgery.prepared_model import prepared_model
from keras_sda.search.surgery.surgery_layers import AlignedAdd, FixedGate
from keras_sda.search.surgery.zero_flow import ZeroFlow
from keras_sda.utils import InvalidInputError


class GateCost(MacCost):
    """Counts what gates leave of a model, be they open, closed or in between.

    Use it to steer a search and to weigh gates. With gates of 0 and 1 the count is that
    of the model which `derive` returns; with gates in between it is the expected one,
    were each open with that probability. Branches that gates close altogether, such
    as operations of a supernet, count as gone. The count for gates of 0 and 1 is off
    only where `derive` has to look at the weights: a branch of constants that differ at
    the borders stays, and constants that happen to be zero are not added.

    Args:
        gated: A model with gates.
        input_shape: Shape of one sample; needed where the model leaves it open.
            Defaults to `None`.

    Attributes:
        gates: The gates, in the order of the layers.
        macs: Multiply-accumulates of one sample with all gates open.
        params: Parameters with all gates open.

    Example:

    >>> import keras
    >>> from keras_sda.search import add_channel_gates
    >>> from keras_sda.search.gates.gate_cost import GateCost
    >>> from keras_sda.applications import CIFARResNet20
    >>> model = CIFARResNet20()
    >>> cost = GateCost(add_channel_gates(model))
    >>> half = {gate.name: np.full(gate.channels, 0.5) for gate in cost.gates}
    >>> 0.2 < cost.macs_at(half) / cost.macs < 0.5
    True
    """

    def __init__(self, gated: keras.Model, input_shape: Any = None):
        self.gates = channel_gates(gated)
        trace = self._trace = ChannelTrace(prepared_model(gated), input_shape)
        super().__init__(trace)
        self.macs = self.count(trace.kept())
        self.params = ParameterCost(trace).count(trace.kept())
        of_unit = trace.units.classes
        everything = {
            number: np.ones(len(step.outputs[0]), bool)
            for number, step in enumerate(trace.steps)
            if type(step.node.layer) is FixedGate
        }
        is_fixed = ZeroFlow(trace).read(everything)
        self._gated, self._sums = [], []
        for step in trace.steps:
            if type(step.node.layer) is FixedGate:
                free = ~is_fixed[step.outputs[0]]
                self._gated.append((step.name, step.outputs[0][free], free))
            elif type(step.node.layer) is AlignedAdd:
                if not np.isin(step.outputs[0], np.concatenate(step.inputs)).any():
                    self._sums.append((step.name, step.inputs, step.outputs[0]))
        self._lost = LostBranches(trace)
        self._kernel_axes = [
            (share, [of_unit[units] for units in axes]) for share, axes in self._kernels
        ]
        self._num_classes = len(trace.units.pinned)
        axes = [
            of_unit[units]
            for layer in trace.layers.values()
            for units in [axis.units for axis in layer.axes] + layer.pieces
        ]
        axes = {axis.tobytes(): axis for axis in axes if len(axis)}
        free = [classes for _, classes, _ in self._gated]
        free = np.concatenate([*free, *(made for _, _, made in self._sums)])
        self._may_close = [axis for axis in axes.values() if np.isin(axis, free).all()]

    def macs_at(self, gates: Mapping[str, np.ndarray]) -> float:
        """Multiply-accumulates of one sample.

        Args:
            gates: For every gate, by name, a number from 0 to 1 per channel.
        """
        values = self._open(gates)
        kernels = sum(
            share * math.prod(values[classes].mean() for classes in axes)
            for share, axes in self._kernel_axes
        )
        return float(self._fixed + kernels)

    def _open(self, gates):
        """For every class of channels how far it is open."""
        values = np.ones(self._num_classes)
        for _, classes, _ in self._gated:
            values[classes] = 0
        for name, classes, free in self._gated:
            np.maximum.at(values, classes, np.asarray(gates[name], float)[free])
        is_open = {
            name: float(1 - np.prod(1 - np.asarray(gates[name], float)))
            for name, _, _ in self._gated
        }
        wanted, alone = self._lost.at(is_open)
        for _, inputs, made in self._sums:
            # Of lost terms too: their constants are added where the last gate is open.
            values[made] = 1 - math.prod(1 - values[classes] for classes in inputs)
        values *= wanted
        for name, inputs, made in reversed(self._sums if alone else []):
            for classes, share in zip(inputs, alone[name], strict=True):
                if share:  # the constants are added to this term, in its place
                    values[classes] = np.maximum(values[classes], share * values[made])
        for classes in self._may_close:
            # Layers that stay keep one channel, be it one of zeros.
            nothing = wanted[classes[0]] * np.prod(1 - values[classes])
            values[classes[0]] = max(values[classes[0]], nothing)
        return values

    def weights(
        self, latency_table: LatencyTable | None = None
    ) -> dict[str, np.ndarray]:
        """What closing one channel of each gate frees, over the mean of all gates.

        Args:
            latency_table: Times of the layers, for what it frees of the time. Defaults
                to `None`: of the multiply-accumulates.

        Returns:
            float32 arrays by the name of the gate, for the regularisers `"macs"` and
            `"latency"`.

        Raises:
            InvalidInputError: The table is of another model, or closing gates frees
                nothing by it.
        """
        counted = self.macs_at
        if latency_table is not None:
            counted = self._time_by(latency_table)
        opened = {gate.name: np.ones(gate.channels) for gate in self.gates}
        whole = counted(opened)
        freed = {}
        for gate in self.gates:
            part = {**opened, gate.name: np.arange(gate.channels) > 0}
            freed[gate.name] = np.full(gate.channels, whole - counted(part))
        mean = np.concatenate(list(freed.values())).mean()
        if latency_table is not None and not mean > 0:
            raise InvalidInputError(
                "`latency_table` says that no layer gets faster when a gate closes. "
                "Time narrower layers as well, or take regularizer='macs'."
            )
        return {name: (v / mean).astype("float32") for name, v in freed.items()}

    def _time_by(self, table):
        """A function of gates that gives the time by a table."""
        of_unit = self._trace.units.classes
        layers = [
            (times, [of_unit[units] for units in axes])
            for times, axes in TableLatency(self._trace, table).layers
        ]

        def time_at(gates):
            values = self._open(gates)
            shares = (
                math.prod(values[classes].mean() for classes in axes)
                for _, axes in layers
            )
            # A layer that is gone takes no time, whatever a thin one takes.
            return sum(
                times.at(share) if share > 0 else 0.0
                for (times, _), share in zip(layers, shares, strict=True)
            )

        return time_at

    def floor(self) -> float:
        """Multiply-accumulates with one channel per gate."""
        return self.macs_at({g.name: np.arange(g.channels) < 1 for g in self.gates})
