"""Rebuild a functional model with edited layers and the same weights."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras

from keras_sda.graph.as_functional import as_functional
from keras_sda.utils import InvalidInputError


def clone_edited(
    model: keras.Model,
    edit: Callable[[keras.layers.Layer, dict], dict | keras.layers.Layer],
    clone_nested: Callable[[keras.Model], keras.Model],
    skip: Collection[str] = (),
    weights_of: Callable[[keras.layers.Layer], list] | None = None,
    call: Callable[[Any, tuple, dict], Any] | None = None,
    input_shapes: Sequence[tuple] | None = None,
) -> keras.Model:
    """Clones a functional model with other settings or weights, or without some layers.

    Use it where the graph keeps its shape. The result shares no variable with `model`
    and is not compiled.

    Args:
        model: A functional model, as `uncompiled` returns it.
        edit: Gets a layer and its config, returns the config of the new layer or a
            new layer of another class with weights of the same shapes.
        clone_nested: Gets a nested functional or sequential model, returns its clone.
        skip: Names of layers to leave out: each passes its one input on. Defaults to
            none.
        weights_of: Gets a layer and returns the weights of the new one, in the order
            of `layer.weights`. Defaults to the weights of the layer.
        call: Gets every (new) layer or operation in the order of execution with its
            args and kwargs, and returns what the readers of its outputs shall get.
            Defaults to calling the layer.
        input_shapes: Shapes of the new inputs with the batch axis, in order. Defaults
            to those of the model.

    Returns:
        The new functional `keras.Model`, with the layer names of the old one.

    Raises:
        InvalidInputError: A layer does not come back from its config with weights of
            the same shapes.

    Example:

    >>> import keras
    >>> from keras_sda.graph import clone_edited
    >>> x = keras.Input((4,))
    >>> model = keras.Model(x, keras.layers.Dense(2)(x))
    >>> copy = clone_edited(model, lambda layer, config: config, clone_nested=None)
    >>> copy.count_params()
    10
    """
    pairs = []

    def clone(layer):
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation without state
        if _is_graph(layer):
            return clone_nested(layer)
        if isinstance(layer, (keras.Model, keras.layers.Lambda)):
            return layer  # code that a config does not hold
        new = edit(layer, layer.get_config())
        if not isinstance(new, keras.layers.Layer):
            new = type(layer).from_config(new)
        pairs.append((layer, new))
        return new

    def run(layer, *args, **kwargs):
        if layer.name in skip:
            return args[0]
        return layer(*args, **kwargs) if call is None else call(layer, args, kwargs)

    new_model = keras.models.clone_model(
        model, _new_inputs(model, input_shapes), clone_function=clone, call_function=run
    )
    for old, new in pairs:
        if old.name not in skip:
            _set_weights(new, weights_of(old) if weights_of else old.weights)
    return new_model


def uncompiled(model: keras.Model) -> keras.Model:
    """Returns a functional model over the same layers, without optimizer and loss."""
    graph = as_functional(model)
    return keras.Model(graph.input, graph.output, name=model.name)


def _is_graph(layer):
    try:
        as_functional(layer)
    except InvalidInputError:
        return False
    return isinstance(layer, keras.Model)


def _new_inputs(model, shapes):
    """Inputs like those of the model; Keras would name them after their tensors."""
    names = {
        id(layer.output): layer.name
        for layer in model.layers
        if isinstance(layer, keras.layers.InputLayer)
    }
    flat = keras.tree.flatten(model.input)
    shapes = shapes or [x.shape for x in flat]
    inputs = [
        keras.Input(
            batch_shape=shape, dtype=x.dtype, sparse=x.sparse, name=names[id(x)]
        )
        for x, shape in zip(flat, shapes, strict=True)
    ]
    return keras.tree.pack_sequence_as(model.input, inputs)


def _set_weights(layer, values):
    expected = [tuple(v.shape) for v in layer.weights]
    received = [tuple(v.shape) for v in values]
    if expected != received:
        raise InvalidInputError(
            f"Layer {layer.name!r} ({type(layer).__name__}) does not come back from "
            f"its config: it has weights of shapes {expected}, the model has "
            f"{received}. Give the layer a complete get_config()."
        )
    for variable, value in zip(layer.weights, values, strict=True):
        variable.assign(keras.ops.convert_to_numpy(value))
    for inner in layer._flatten_layers():
        # Normalization computes what it applies from its weights, once.
        if hasattr(inner, "finalize_state"):
            inner.finalize_state()
