"""Find the functional graph behind a Keras model, or say why there is none."""

from typing import Any

import keras

# The graph is not part of the public interface of Keras; nothing outside this folder
# may depend on it.
from keras.src.models.functional import Functional

from keras_sda.utils import InvalidInputError

_GRAPH_CALLS = (keras.Function.call, Functional.call, keras.Sequential.call)


def as_functional(model: keras.Model | keras.Function) -> keras.Function:
    """Returns the graph that a functional or built sequential model runs.

    Use it before reading the graph of a model that somebody else made.

    Args:
        model: A functional `keras.Model`, a built `keras.Sequential` or a
            `keras.Function`.

    Returns:
        The model itself, or the functional model that a `keras.Sequential` holds.

    Raises:
        InvalidInputError: The model is subclassed, overrides `call`, or is not built.

    Example:

    >>> import keras
    >>> from keras_sda.graph import as_functional
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    >>> as_functional(model).inputs[0].shape
    (None, 8)
    """
    if not isinstance(model, (keras.Model, keras.Function)):
        raise InvalidInputError(
            "`model` must be a functional Keras model. Received: "
            f"model={model!r} of type {type(model).__name__}. Build one with "
            "`keras.Model(inputs, outputs)`."
        )
    if isinstance(model, keras.Sequential):
        graph = model._functional
        if graph is None:
            raise InvalidInputError(
                f"`model` '{model.name}' is a Sequential model that is not built, so "
                "its shapes are unknown. Start it with `keras.Input(shape)` or call "
                "`model.build((None, ...))` first."
            )
    elif isinstance(model, keras.Function):
        graph = model
    else:
        raise InvalidInputError(
            f"`model` '{model.name}' of type {type(model).__name__} is subclassed: it "
            "has no graph of layers to read. Build it with "
            "`keras.Model(inputs, outputs)` instead."
        )
    if type(model).call not in _GRAPH_CALLS:
        raise InvalidInputError(
            f"`model` '{model.name}' of type {type(model).__name__} overrides "
            "`call()`, so its graph may not be what it computes. Pass the functional "
            "model without the override, for example "
            "`keras.Model(model.inputs, model.outputs)`."
        )
    return graph


def graph_of(layer: Any) -> keras.Function | None:
    """The graph that a model or nested model runs, if it runs nothing else.

    Use it wherever layers are looked at one by one: this is the one answer to which of
    them are models that can be entered.

    Args:
        layer: Any layer, model or operation.

    Returns:
        See `as_functional`; None for a layer, for what is subclassed or overrides
        `call`, and for a sequential model that is not built.

    Example:

    >>> import keras
    >>> from keras_sda.graph import graph_of
    >>> graph_of(keras.layers.Dense(2)) is None
    True
    """
    if not isinstance(layer, (keras.Function, keras.Sequential)):
        return None
    try:
        return as_functional(layer)
    except InvalidInputError:
        return None


def distributed_model(layer: Any) -> keras.Model | None:
    """The model that a `TimeDistributed` layer runs at every step, if it has a graph.

    Args:
        layer: Any layer.

    Returns:
        The functional or sequential model of one input and one output, or None.
    """
    if type(layer) is not keras.layers.TimeDistributed:
        return None
    graph = graph_of(layer.layer)
    if graph is None or not isinstance(layer.layer, keras.Model):
        return None
    single = len(graph.inputs) == len(graph.outputs) == 1
    return layer.layer if single else None
