"""Rebuild a model whose layers the channel graph knows, with other weights."""

import collections
from collections.abc import Callable

import keras
import numpy as np

from keras_sda.graph.channels.channel_graph import ChannelGraph
from keras_sda.graph.edit.clone_edited import clone_edited, uncompiled
from keras_sda.graph.rules.layer_channels import WeightAxis
from keras_sda.graph.rules.unit_table import Kept
from keras_sda.graph.rules.wrapped_call import distributed_model
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
    return _Rebuilder(graph, change, kept).model(graph.model)


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
        self._layers = {}  # id of the old layer: (old, new)
        self._models = {}  # the same for nested models
        self._old_of = {}

    def model(self, model):
        self._models[id(model)] = model, self._clone(model)
        # Outer models first: setting the flag of a model sets those of its layers.
        for old, new in [*reversed(self._models.values()), *self._layers.values()]:
            if new.trainable != old.trainable:
                new.trainable = old.trainable
        for old, new in self._layers.values():
            for before, after in zip(old.weights, new.weights, strict=True):
                if after.trainable != before.trainable:
                    after.trainable = before.trainable
        return self._models[id(model)][1]

    def _nested(self, model):
        if id(model) not in self._models:
            self._models[id(model)] = model, self._clone(model)
        return self._models[id(model)][1]

    def _clone(self, model):
        num_calls = collections.Counter()

        def call(layer, args, kwargs):
            key = self._old_of.get(id(layer), id(layer))
            number = num_calls[key]
            num_calls[key] += 1
            rewrite = self._graph.rewrites.get((key, number))
            if rewrite is not None and self._kept is not None:
                return rewrite(self._kept, layer, args, kwargs)
            try:
                return layer(*args, **kwargs)
            except Exception as error:  # Layers raise many kinds of errors.
                if self._kept is None:
                    raise
                raise InvalidInputError(
                    f"Layer {layer.name!r} ({type(layer).__name__}) cannot be made "
                    "with the channels that stay. Keep those that it works on with "
                    f"`exclude`. It says: {str(error)[:300]}"
                ) from error

        return clone_edited(
            uncompiled(model),
            self._edit,
            self._nested,
            weights_of=self._weights,
            call=call,
            input_shapes=self._input_shapes(model),
        )

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

    def _edit(self, layer, config):
        if id(layer) not in self._layers:
            record = self._records.get(id(layer))
            if record is not None and self._kept is not None:
                for key, value in record.config.items():
                    config = {**config, key: value(self._kept)}
            inner = distributed_model(layer)
            if inner is not None:
                config = {**config, "layer": self._nested(inner)}
                new = type(layer)(**config)
            else:
                new = from_config(layer, config)
            self._layers[id(layer)] = layer, new
            self._old_of[id(new)] = id(layer)
        return self._layers[id(layer)][1]

    def _weights(self, layer):
        values = []
        for variable in layer.weights:
            value = keras.ops.convert_to_numpy(variable)
            for axis in self._axes.get(id(variable), ()):
                value = self._change(value, axis)
            values.append(value)
        return values


def from_config(layer: keras.layers.Layer, config: dict) -> keras.layers.Layer:
    """A new layer of the class of another, or one line that says why it fails.

    Args:
        layer: The old layer.
        config: The config of the new one.

    Raises:
        InvalidInputError: The layer does not come back from its config.
    """
    try:
        return type(layer).from_config(config)
    except Exception as error:  # Layers raise many kinds of errors.
        raise InvalidInputError(
            f"Layer {layer.name!r} ({type(layer).__name__}) does not come back from "
            "its config. Register what it holds with "
            "keras.saving.register_keras_serializable, and name functions instead of "
            f"giving lambdas. Keras says: {str(error)[:300]}"
        ) from error
