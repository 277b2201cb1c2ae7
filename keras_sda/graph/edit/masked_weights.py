"""Zero and restore the weights of channels in a copy of a model."""

from typing import Any

import keras
import numpy as np

from keras_sda.graph.channels.channel_graph import ChannelGraph
from keras_sda.graph.model.graph_runner import GraphRunner
from keras_sda.graph.model.keras_internals import all_layers


class MaskedWeights:
    """Weights of a copy of a model, zero where channels are written and read.

    Use it to see what a model does without some channels, without building smaller
    ones. See `keras_sda.pruning.mask`.

    Args:
        graph: The channels of the model.
        copy: A model with the same layers and weights, perhaps with others between.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.graph.edit.masked_weights import MaskedWeights
    >>> x = keras.Input((2,))
    >>> y = keras.layers.Dense(3, kernel_initializer="ones")(x)
    >>> model = keras.Model(x, keras.layers.Dense(1, kernel_initializer="ones")(y))
    >>> graph, copy = ChannelGraph(model), keras.models.clone_model(model)
    >>> masked, removed = MaskedWeights(graph, copy), np.zeros(6, bool)
    >>> removed[graph.groups[0].classes[0]] = True
    >>> masked.zero(removed)
    >>> float(copy(np.ones((1, 2)))[0, 0]), float(model(np.ones((1, 2)))[0, 0])
    (4.0, 6.0)
    """

    def __init__(self, graph: ChannelGraph, copy: keras.Model):
        self.twins = _twins(GraphRunner(graph.model), GraphRunner(copy))
        self._axes = [
            (axis.variable, axis.axis, graph.units.classes[axis.units])
            for record in graph.layers.values()
            for axis in record.axes
            if axis.role != "carries"
        ]
        self._finalized = [
            layer for layer in all_layers(copy) if hasattr(layer, "finalize_state")
        ]
        self._masked: dict[int, Any] = {}  # by id what has to be put back

    def zero(self, removed: np.ndarray) -> None:
        """Zeroes what is removed, and puts back all that was before.

        Args:
            removed: Boolean array over the classes of `graph.units`.
        """
        values: dict[int, Any] = {}
        for variable, axis, classes in self._axes:
            gone = removed[classes].astype(bool)
            if not gone.any():
                continue
            value = values.get(id(variable), (None, None))[1]
            if value is None:
                value = keras.ops.convert_to_numpy(variable)
            shape = [1] * value.ndim
            shape[axis] = -1
            value = np.where(gone.reshape(shape), np.zeros_like(value), value)
            values[id(variable)] = variable, value
        for key, variable in self._masked.items():
            if key not in values:
                self.twins[key].assign(keras.ops.convert_to_numpy(variable))
        for key, (_, value) in values.items():
            self.twins[key].assign(value)
        if values or self._masked:
            for layer in self._finalized:
                layer.finalize_state()
        self._masked = {key: variable for key, (variable, _) in values.items()}


def _twins(old, new):
    """The variables of a copy by the ids of those of the model."""
    copies = {call.name: call.layer for call in new.calls}
    return {
        id(variable): twin
        for call in old.calls
        if getattr(call.layer, "weights", ())
        for variable, twin in zip(
            call.layer.weights, copies[call.name].weights, strict=True
        )
    }
