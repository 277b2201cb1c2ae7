"""Rebuild a model whose layers the channel graph knows, with other weights."""

import collections
from collections.abc import Callable

import keras
import numpy as np

from keras_sda.graph.channels.channel_graph import ChannelGraph
from keras_sda.graph.edit.clone_edited import clone_edited
from keras_sda.graph.rules.layer_channels import WeightAxis
from keras_sda.graph.rules.unit_table import Kept
from keras_sda.utils import InvalidInputError


def rebuild(
    graph: ChannelGraph,
    change: Callable[[np.ndarray, WeightAxis], np.ndarray],
    kept: Kept | None = None,
) -> keras.Model:
    """Returns a copy of a model with changed weights, and fewer channels if asked.

    Use it through `keras_sda.pruning.mask` and `remove_channels`. A layer or nested
    model that occurs in several places stays one.

    Args:
        graph: The channels of the model.
        change: Gets the value of a weight and one of its axes that follow channels,
            returns the new value. Called once per such axis.
        kept: The channels for which the layers are configured. Defaults to all.

    Returns:
        A functional model with its own weights, not compiled.

    Raises:
        InvalidInputError: A layer or nested subclassed model does not come back from
            its config.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.graph.edit.rebuild import rebuild
    >>> x = keras.Input((8,))
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(4, name="a")(x)))
    >>> copy = rebuild(graph, lambda value, axis: np.zeros_like(value))
    >>> float(keras.ops.sum(copy.get_layer("a").kernel))
    0.0
    """
    rebuilder = _Rebuilder(graph, change, kept)
    return clone_edited(
        graph.model,
        rebuilder.edit,
        weights_of=rebuilder.weights,
        nested=rebuilder.settings,
        **rebuilder.settings(graph.model),
    )


class _Rebuilder:
    def __init__(self, graph, change, kept):
        self._graph = graph
        self._change = change
        self._kept = kept
        self._records = {id(record.layer): record for record in graph.layers.values()}
        self._axes = {}  # by id of the weight: a wrapper lists those of its layer
        for record in graph.layers.values():
            for axis in record.axes:
                self._axes.setdefault(id(axis.variable), []).append(axis)

    def settings(self, model):
        """How one of the graphs is copied."""
        num_calls = collections.Counter()

        def call(layer, new, args, kwargs):
            number = num_calls[id(layer)]
            num_calls[id(layer)] += 1
            rewrite = self._graph.rewrites.get((id(layer), number))
            if rewrite is not None and self._kept is not None:
                return rewrite(self._kept, new, args, kwargs)
            try:
                return new(*args, **kwargs)
            except Exception as error:  # Layers raise many kinds of errors.
                if self._kept is None:
                    raise
                raise InvalidInputError(
                    f"Layer {layer.name!r} ({type(layer).__name__}) cannot be made "
                    "with the channels that stay. Keep those that it works on with "
                    f"`exclude`. It says: {str(error)[:300]}"
                ) from error

        return {"call": call, "input_shapes": self._input_shapes(model)}

    def _input_shapes(self, model):
        inputs = self._graph.nested_inputs.get(id(model))
        if inputs is None or self._kept is None:
            return None
        shapes = []
        for tensor, channels in zip(model.inputs, inputs, strict=True):
            shape = list(tensor.shape)
            if shape[channels.axis] is not None:
                shape[channels.axis] = self._kept.count(channels.units)
            shapes.append(tuple(shape))
        return shapes

    def edit(self, layer, config):
        record = self._records.get(id(layer))
        if record is None or self._kept is None:
            return config
        changed = {key: value(self._kept) for key, value in record.config.items()}
        return {**config, **changed}

    def weights(self, layer):
        values = []
        for variable in layer.weights:
            value = keras.ops.convert_to_numpy(variable)
            for axis in self._axes.get(id(variable), ()):
                value = self._change(value, axis)
            values.append(value)
        return values
