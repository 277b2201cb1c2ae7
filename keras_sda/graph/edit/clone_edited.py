"""The copier of models: whoever makes a model of another one asks it."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras

from keras_sda.graph.model.as_functional import (
    as_functional,
    distributed_model,
    graph_of,
)
from keras_sda.graph.model.keras_internals import (
    all_layers,
    input_structure,
    output_structure,
)
from keras_sda.graph.model.model_scope import model_scope
from keras_sda.graph.model.unwrapped import unwrapped
from keras_sda.utils import InvalidInputError

Edit = Callable[[keras.layers.Layer, dict], dict | keras.layers.Layer]


def clone_edited(
    model: keras.Model,
    edit: Edit | None = None,
    *,
    weights_of: Callable[[keras.layers.Layer], list] | None = None,
    call: Callable[[Any, Any, tuple, dict], Any] | None = None,
    skip: Collection[str] = (),
    input_shapes: Sequence[tuple] | None = None,
    name: str | None = None,
    nested: Callable[[keras.Model], Mapping[str, Any]] | None = None,
    once: bool = True,
) -> keras.Model:
    """Copies a model with other settings or weights, or without some layers.

    Use it wherever a model is made of another one and the graph keeps its shape. The
    result shares no variable with `model`, belongs to the same distribution strategy,
    trains what `model` trains and is not compiled. What a model may be made of is
    answered here alone:

    * A layer or model that occurs in several places stays one.
    * Nested functional and sequential models, and those that `TimeDistributed` runs at
      every step, are copied in the same way, with `edit` and `weights_of`.
    * Other nested models (subclassed, or with a `call` of their own) are copied by
      their config and not edited.
    * Operations and `Lambda` layers, which have no variables, are used again.
    * What the class of `model` does around its graph: see `unwrapped`.

    Args:
        model: A functional or built sequential model. It is not changed.
        edit: Gets a layer and its config, returns the config of the new layer or a
            new layer of another class with weights of the same shapes. Defaults to
            `None`: the config as it is.
        weights_of: Gets a layer and returns the weights of the new one, in the order
            of `layer.weights`. Defaults to the weights of the layer.
        call: Gets the old and the new layer (or the operation twice) in the order of
            execution with args and kwargs, and returns what the readers of its outputs
            shall get. Defaults to calling the new layer. Not for nested models.
        skip: Names of layers to leave out: each passes its one input on. Defaults to
            none. Not for nested models.
        input_shapes: Shapes of the new inputs with the batch axis, in order. Defaults
            to those of the model. Not for nested models.
        name: Name of the new model. Defaults to that of `model`.
        nested: Gets a nested model and returns arguments (by name, as above) for its
            copy that differ, and for those nested in it; under `"graph"` a model that
            is copied in its place. Defaults to none.
        once: Whether a layer or model that occurs in several nested models stays one.
            Defaults to `True`; where the new one depends on its place, it cannot.

    Returns:
        The new functional `keras.Model`, with the layer names of the old one.

    Raises:
        InvalidInputError: The model has no readable graph or does more than that, or a
            layer does not come back from its config with weights of the same shapes
            and of its own.

    Example:

    >>> import keras
    >>> from keras_sda.graph import clone_edited
    >>> x = keras.Input((4,))
    >>> model = keras.Model(x, keras.layers.Dense(2, name="dense")(x))
    >>> copy = clone_edited(
    ...     model, lambda layer, config: {**config, "activation": "relu"})
    >>> copy.get_layer("dense").activation.__name__, copy.count_params()
    ('relu', 10)
    """
    model = unwrapped(model)
    settings = _Settings(edit, weights_of, call, skip, input_shapes, name, nested)
    copier = _Copier(once)
    with model_scope(model):
        new_model = copier.model(model, settings)
        copier.copy_trainable()
    check_own_variables(model, new_model)
    return new_model


def check_own_variables(model: keras.Model, copy: keras.Model) -> None:
    """Raises `InvalidInputError` where a copy shares a variable with its model.

    Use it on every model that is made from another one: what shares a variable changes
    when the other is trained.

    Args:
        model: The model that was copied.
        copy: What was made of it.

    Raises:
        InvalidInputError: A layer of `copy` holds a variable of `model`.

    Example:

    >>> import keras
    >>> from keras_sda.graph import check_own_variables, clone_edited
    >>> x = keras.Input((4,))
    >>> model = keras.Model(x, keras.layers.Dense(2)(x))
    >>> check_own_variables(model, clone_edited(model))
    """
    known = {id(variable) for variable in model.variables}
    shared = [variable for variable in copy.variables if id(variable) in known]
    if not shared:
        return
    holders = [
        layer
        for layer in copy.layers
        if any(variable is shared[0] for variable in layer.variables)
    ]
    where = f"{holders[0].name!r} ({type(holders[0]).__name__})" if holders else "?"
    raise InvalidInputError(
        f"`model` '{model.name}' cannot be copied: layer {where} comes back from its "
        f"config with the variable {shared[0].path!r} of the model itself. Let its "
        "get_config() describe what it holds (keras.saving.serialize_keras_object) "
        "and its from_config() build that anew."
    )


def uncompiled(model: keras.Model) -> keras.Model:
    """Returns a functional model over the same layers, without optimizer and loss.

    Args:
        model: A functional or built sequential model; what its class does around the
            graph is lost.
    """
    with model_scope(model):
        return _plain(model)


def _plain(model, name=None):
    graph = as_functional(model)
    inputs, outputs = input_structure(graph), output_structure(graph)
    return keras.Model(inputs, outputs, name=name or model.name)


@dataclasses.dataclass(frozen=True)
class _Settings:
    """The arguments of `clone_edited` for one graph."""

    edit: Edit | None
    weights_of: Callable | None
    call: Callable | None
    skip: Collection[str]
    input_shapes: Sequence[tuple] | None
    name: str | None
    nested: Callable | None
    graph: keras.Model | None = None

    def inside(self, model):
        own = {} if self.nested is None else self.nested(model)
        start = _Settings(self.edit, self.weights_of, None, (), None, None, self.nested)
        return dataclasses.replace(start, **own)


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A layer or model, its copy, and whether that shall train.

    A wrapper is opened where the model in it is copied by itself, weights and all.
    """

    old: keras.layers.Layer
    new: keras.layers.Layer
    trainable: bool
    is_opened: bool = False


class _Copier:
    """Copies a model and those nested in it."""

    def __init__(self, once):
        self._once = once
        self._copies = {}  # new layers and models by the id of the old ones
        self._models: list[_Pair] = []  # and wrappers of them, inner ones first
        self._layers: list[_Pair] = []

    def model(self, model, settings):
        graph = model if settings.graph is None else settings.graph
        plain = _plain(graph, settings.name or model.name)
        copies = self._copies if self._once else {}
        originals, made = {}, []

        def clone(layer):
            if isinstance(layer, keras.layers.Lambda):
                return layer  # code that a config does not hold
            if id(layer) not in copies:
                if graph_of(layer) is not None:
                    new = self.model(layer, settings.inside(layer))
                elif isinstance(layer, keras.layers.Layer):
                    pair = _new_layer(layer, settings.edit, clone)
                    (self._models if pair.is_opened else made).append(pair)
                    new = pair.new
                else:
                    return layer  # an operation without state
                copies[id(layer)] = layer, new
            new = copies[id(layer)][1]
            originals[id(new)] = layer
            return new

        def run(new, *args, **kwargs):
            old = originals.get(id(new), new)
            if old.name in settings.skip:
                return args[0]
            if settings.call is None:
                return new(*args, **kwargs)
            return settings.call(old, new, args, kwargs)

        new_model = keras.models.clone_model(
            plain,
            new_inputs(plain, settings.input_shapes),
            clone_function=clone,
            call_function=run,
        )
        made = [pair for pair in made if pair.old.name not in settings.skip]
        for old, new in ((pair.old, pair.new) for pair in made):
            is_edited = settings.weights_of and not isinstance(old, keras.Model)
            _set_weights(new, settings.weights_of(old) if is_edited else old.weights)
        self._layers += made
        # What `call` has put in trains, even in a frozen model.
        trains = any(
            layer.trainable_weights
            for layer in new_model.layers
            if id(layer) not in originals
        )
        trains = trains or getattr(model, "trainable", True)
        self._models.append(_Pair(model, new_model, trains))
        return new_model

    def copy_trainable(self):
        # Outer models first: setting the flag of a model sets those of its layers.
        for pair in [*reversed(self._models), *self._layers]:
            _set_trainable(pair.new, pair.trainable)
        for pair in self._layers:
            if pair.trainable != pair.old.trainable:
                continue  # so it is with all that it holds
            old, new = (all_layers(x, itself=False) for x in (pair.old, pair.new))
            if len(old) == len(new):
                for before, after in zip(old, new, strict=True):
                    _set_trainable(after, before.trainable)
            # Layers of another class may have more weights behind these.
            for before, after in zip(pair.old.weights, pair.new.weights, strict=False):
                if before.name == after.name:
                    _set_trainable(after, before.trainable)


def _set_trainable(thing, trainable):
    if thing.trainable != trainable:
        thing.trainable = trainable


def _new_layer(layer, edit, clone):
    """A layer and its copy, which has no weights yet."""
    if isinstance(layer, keras.Model):
        new = _subclassed(layer)
        new.name = layer.name
        return _Pair(layer, new, layer.trainable)
    config = _config(layer)
    edited = config if edit is None else edit(layer, config)
    if isinstance(edited, keras.layers.Layer):
        return _Pair(layer, edited, edited.trainable)
    # Not every layer takes these, or hands them on.
    name = edited.get("name", layer.name)
    trainable = edited.get("trainable", layer.trainable)
    taken = {
        key: value
        for key, value in edited.items()
        if key in config or key not in ("name", "trainable")
    }
    inner = distributed_model(layer)
    new = from_config(layer, taken, None if inner is None else clone(inner))
    if new.name != name:
        new.name = name
    return _Pair(layer, new, trainable, is_opened=inner is not None)


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


def from_config(
    layer: keras.layers.Layer, config: dict, inner: keras.Model | None = None
) -> keras.layers.Layer:
    """A new layer of the class of another, or one line that says why it fails.

    Args:
        layer: The old layer.
        config: The config of the new one.
        inner: For a wrapper of a model, the model of the new one. Defaults to `None`:
            as the config has it.

    Raises:
        InvalidInputError: The layer does not come back from its config.
    """
    try:
        if inner is not None:
            return type(layer)(**{**config, "layer": inner})
        return type(layer).from_config(config)
    except Exception as error:  # Layers raise many kinds of errors.
        raise InvalidInputError(
            f"Layer {layer.name!r} ({type(layer).__name__}) does not come back from "
            "its config. Register what it holds with "
            "keras.saving.register_keras_serializable, and name functions instead of "
            f"giving lambdas. Keras says: {str(error)[:300]}"
        ) from error


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
