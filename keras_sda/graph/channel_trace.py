"""A channel graph that remembers the channels of every tensor."""

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_sda.graph.channel_graph import ChannelGraph
from keras_sda.graph.layer_channels import LayerChannels
from keras_sda.graph.model_graph import GraphNode


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
        outputs = super()._call(node, inputs, prefix)
        if not prefix:
            record = self.layers.get(self._names.get(id(node.layer)))
            self._calls.append((node, record, inputs, outputs))
        return outputs
