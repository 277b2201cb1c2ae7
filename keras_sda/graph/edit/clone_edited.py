"""Rebuild a functional model with edited layers and the same weights."""

import contextlib
import contextvars
from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras

from keras_sda.graph.model.as_functional import as_functional
from keras_sda.graph.model.check_own_variables import check_own_variables
from keras_sda.graph.model.keras_internals import all_layers
from keras_sda.graph.model.model_scope import model_scope
from keras_sda.utils import InvalidInputError

# New layers and models by the id of the old ones, while a model and those nested in it
# are cloned: what occurs in several of them stays one.
_COPIES = contextvars.ContextVar("keras_sda_copies", default=None)


def clone_edited(
    model: keras.Model,
    edit: Callable[[keras.layers.Layer, dict], dict | keras.layers.Layer],
    clone_nested: Callable[[keras.Model], keras.Model],
    skip: Collection[str] = (),
    weights_of: Callable[[keras.layers.Layer], list] | None = None,
    call: Callable[[Any, tuple, dict], Any] | None = None,
    input_shapes: Sequence[tuple] | None = None,
    once: bool = True,
) -> keras.Model:
    """Clones a functional model with other settings or weights, or without some layers.

    Use it where the graph keeps its shape. The result shares no variable with `model`,
    belongs to the same distribution strategy and is not compiled. Nested subclassed
    models are copied as layers are, by their config.

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
        once: Whether a layer or model that occurs in several nested models stays one.
            Defaults to `True`; where the new one depends on its place, it cannot.

    Returns:
        The new functional `keras.Model`, with the layer names of the old one.

    Raises:
        InvalidInputError: A layer does not come back from its config with weights of
            the same shapes and of its own.

    Example:

    >>> import keras
    >>> from keras_sda.graph import clone_edited
    >>> x = keras.Input((4,))
    >>> model = keras.Model(x, keras.layers.Dense(2)(x))
    >>> copy = clone_edited(model, lambda layer, config: config, clone_nested=None)
    >>> copy.count_params()
    10
    """
    with model_scope(model), _copies(once) as copies:
        new_model = _clone(
            model, edit, clone_nested, skip, weights_of, call, input_shapes, copies
        )
    check_own_variables(model, new_model)
    return new_model


@contextlib.contextmanager
def _copies(once):
    known = _COPIES.get() if once else {}
    if known is not None:
        yield known
        return
    token = _COPIES.set({})
    try:
        yield _COPIES.get()
    finally:
        _COPIES.reset(token)


def _clone(model, edit, clone_nested, skip, weights_of, call, input_shapes, copies):
    pairs = []

    def clone(layer):
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation without state
        if isinstance(layer, keras.layers.Lambda):
            return layer  # code that a config does not hold
        if id(layer) not in copies:
            copies[id(layer)] = layer, make(layer)
        return copies[id(layer)][1]

    def make(layer):
        if _is_graph(layer):
            return clone_nested(layer)
        if isinstance(layer, keras.Model):
            new = _subclassed(layer)
        else:
            new = edit(layer, _config(layer))
        if not isinstance(new, keras.layers.Layer):
            new = type(layer).from_config(new)
        pairs.append((layer, new))
        return new

    def run(layer, *args, **kwargs):
        if layer.name in skip:
            return args[0]
        return layer(*args, **kwargs) if call is None else call(layer, args, kwargs)

    new_model = keras.models.clone_model(
        model, new_inputs(model, input_shapes), clone_function=clone, call_function=run
    )
    for old, new in pairs:
        if old.name in skip:
            continue
        if isinstance(old, keras.Model):
            _set_weights(new, old.weights)
            _copy_trainable(old, new)
        else:
            _set_weights(new, weights_of(old) if weights_of else old.weights)
    return new_model


def _subclassed(model):
    """A copy of a nested model with code of its own, as far as its config says it."""
    try:
        return type(model).from_config(model.get_config())
    except Exception as error:  # Models raise many kinds of errors.
        raise InvalidInputError(
            f"The nested model {model.name!r} ({type(model).__name__}) is subclassed "
            "and does not come back from its config, so that it cannot be copied. "
            "Build it with `keras.Model(inputs, outputs)`, or give it get_config() "
            f"and from_config(). Keras says: {str(error)[:300]}"
        ) from error


def _copy_trainable(old, new):
    new.trainable = old.trainable
    inner = zip(all_layers(old), all_layers(new), strict=True)
    for before, after in inner:
        if after.trainable != before.trainable:
            after.trainable = before.trainable


def uncompiled(model: keras.Model) -> keras.Model:
    """Returns a functional model over the same layers, without optimizer and loss."""
    graph = as_functional(model)
    with model_scope(model):
        return keras.Model(graph.input, graph.output, name=model.name)


def _config(layer):
    try:
        return layer.get_config()
    except Exception as error:  # Layers raise many kinds of errors.
        raise InvalidInputError(
            f"Layer {layer.name!r} ({type(layer).__name__}) cannot be copied: its "
            "get_config() fails. Give the layer a complete get_config(), and settings "
            "that Keras can save. It says: "
            f"{str(error).strip()[:300] or type(error).__name__}"
        ) from error


def _is_graph(layer):
    try:
        as_functional(layer)
    except InvalidInputError:
        return False
    return isinstance(layer, keras.Model)


def new_inputs(model: keras.Model, shapes: Sequence[tuple] | None = None):
    """Inputs like those of the model; Keras would name them after their tensors.

    Args:
        model: A functional model.
        shapes: See `clone_edited`.

    Returns:
        Tensors in the structure of `model.input`.
    """
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
        if getattr(layer, "quantization_mode", None):
            # Keras makes the weights of float8 in another order when it builds.
            raise InvalidInputError(
                f"Layer {layer.name!r} ({type(layer).__name__}) was quantized to "
                f"{layer.quantization_mode} in place and cannot be copied so. "
                "Quantize the result instead of the input, or save the model and load "
                "it again first."
            )
        raise InvalidInputError(
            f"Layer {layer.name!r} ({type(layer).__name__}) does not come back from "
            f"its config: it has weights of shapes {expected}, the model has "
            f"{received}. Give the layer a complete get_config()."
        )
    for variable, value in zip(layer.weights, values, strict=True):
        variable.assign(keras.ops.convert_to_numpy(value))
    for inner in all_layers(layer):
        # Normalization computes what it applies from its weights, once.
        if hasattr(inner, "finalize_state"):
            inner.finalize_state()
