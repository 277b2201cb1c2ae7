"""A channel graph that remembers the channels of every tensor."""

import dataclasses
import functools
from typing import Any

import keras
import numpy as np

from keras_sda.graph.channels.channel_graph import ChannelGraph
from keras_sda.graph.model.as_functional import graph_of
from keras_sda.graph.model.model_graph import GraphNode
from keras_sda.graph.rules.channel_call import READS
from keras_sda.graph.rules.layer_channels import LayerChannels


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelStep:
    """One call in the order of execution, with channel classes for positions.

    Attributes:
        node: The `GraphNode`.
        record: `LayerChannels` of its layer; None for a nested model.
        inputs: For every input tensor the class of each of its channels.
        outputs: The same for every output tensor.
        sources: Where the inputs come from: step and output position; None for the
            inputs of the model.
    """

    node: GraphNode
    record: LayerChannels | None
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    sources: tuple[tuple[int, int] | None, ...]

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.node.name


class ChannelTrace(ChannelGraph):
    """Assigns channels to classes, as `ChannelGraph`, and keeps the way they take.

    Use it where it matters what happens to a channel between the layer that makes it
    and those that read it. Nested models are one step.

    Args:
        model, input_shape: See `ChannelGraph`.

    Attributes:
        steps: List of `ChannelStep`.
        positions: Index in `steps` by layer name and number of the call.
        inner: Classes that are read inside of one layer, with the index of its step.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelTrace
    >>> x = keras.Input((8,))
    >>> y = keras.layers.ReLU(name="relu")(keras.layers.Dense(4, name="a")(x))
    >>> trace = ChannelTrace(keras.Model(x, keras.layers.Dense(2, name="b")(y)))
    >>> [(step.name, len(step.inputs[0])) for step in trace.steps]
    [('a', 8), ('relu', 4), ('b', 4)]
    >>> bool((trace.steps[0].outputs[0] == trace.steps[2].inputs[0]).all())
    True
    """

    def __init__(self, model: keras.Model, input_shape: Any = None):
        self._calls = []
        self._given = {}  # by name of the layer, units of the inputs of its calls
        self._inside = set()  # layers that read what nested models make of their inputs
        self._handed_in = set()  # ids of tensors that nested models get from outside
        super().__init__(model, input_shape)
        classes = self.units.classes
        where = {call[0].index: number for number, call in enumerate(self._calls)}
        self.steps = [
            ChannelStep(
                node,
                record,
                tuple(classes[c.units] for c in inputs),
                tuple(classes[c.units] for c in outputs),
                tuple(
                    (where[source], position) if source in where else None
                    for source, position in node.inputs
                ),
            )
            for node, record, inputs, outputs in self._calls
        ]
        self.positions = {
            (step.name, step.node.call_index): number
            for number, step in enumerate(self.steps)
        }

    def _call(self, node, inputs, prefix):
        from_outside = not prefix or all(
            id(tensor) in self._handed_in for tensor in node.input_tensors
        )
        nested = graph_of(node.layer)
        if nested is not None:
            inputs_inside = {id(tensor) for tensor in nested.inputs}
            self._handed_in -= inputs_inside  # of another call
            self._handed_in |= inputs_inside if from_outside else set()
        outputs = super()._call(node, inputs, prefix)
        record = self.layers.get(self._names.get(id(node.layer)))
        if not prefix:
            self._calls.append((node, record, inputs, outputs))
        if record is not None:
            if from_outside:
                self._given.setdefault(record.name, []).extend(inputs)
            else:
                self._inside.add(record.name)
        return outputs

    @functools.cached_property
    def inner(self) -> dict[int, int]:
        """Classes that are read inside of a layer or nested model, with its step.

        Nothing between the layers can make these channels zero for their reader: the
        hidden units of squeeze and excitation, or the branches of a layer that weighs
        them by what they hold. The step is -1 where no layer of the model owns them.
        """
        classes = self.units.classes
        outside = [c for step in self.steps for c in (*step.inputs, *step.outputs)]
        is_outside = np.zeros(len(self.units.pinned), bool)
        is_outside[np.concatenate([np.zeros(0, int), *outside])] = True
        owner = {}
        for number, step in enumerate(self.steps):
            name = step.name if step.record is None else step.record.name
            owner.setdefault(name, number)
        found = {}
        for record in self.layers.values():
            # Layers of nested models have the names of these before theirs.
            number = owner.get(record.name, owner.get(record.name.split("/")[0], -1))
            given = [channels.units for channels in self._given.get(record.name, ())]
            given = np.concatenate([np.zeros(0, int), *given])
            for axis in record.axes:
                own = classes[axis.units]
                is_inner = ~is_outside[own]
                if axis.role == READS:
                    is_inside = record.name in self._inside
                    is_inner |= is_inside | ~np.isin(axis.units, given)
                for label in np.unique(own[is_inner]):
                    found.setdefault(int(label), number)
        return found
