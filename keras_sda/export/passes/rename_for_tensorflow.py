"""Layer names that TensorFlow takes."""

import re

import keras

from keras_sda.graph import as_functional, clone_edited, graph_of, unwrapped
from keras_sda.utils import InvalidInputError

# As tensorflow.Graph.name_scope has it for the outermost scope.
_TAKEN = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
_OTHERS = re.compile(r"[^A-Za-z0-9_.\\/>-]")


def rename_for_tensorflow(model: keras.Model) -> keras.Model:
    """Gives layers whose names TensorFlow refuses other names, in a copy.

    Use it before `model.export`; `export_saved_model` does it by itself. Names that
    start with an underline, as those of networks from other frameworks, or hold spaces
    or letters outside of ASCII cannot be scopes of a TensorFlow graph: `_conv_stem`
    becomes `layer_conv_stem`, `my layer` becomes `my_layer`, numbered where that name
    is in use.

    Args:
        model: A functional or sequential model. It is not changed.

    Returns:
        A functional model with its own copy of the weights and the same outputs, be
        there names to change or not.

    Raises:
        InvalidInputError: A Lambda layer or subclassed model has such a name: it cannot
            be copied under another one. Or a layer does not come back from its config.

    Example:

    >>> import keras
    >>> from keras_sda.export import rename_for_tensorflow
    >>> x = keras.Input((4,))
    >>> model = keras.Model(x, keras.layers.Dense(2, name="_head")(x))
    >>> rename_for_tensorflow(model).layers[-1].name
    'layer_head'
    """
    return _renamed(unwrapped(model))


def with_taken_names(model: keras.Model) -> keras.Model:
    """`rename_for_tensorflow` for those who only read the result.

    Args:
        model: A functional or sequential model. It is not changed.

    Returns:
        See `rename_for_tensorflow`; the model itself where TensorFlow takes all names,
        so that layers that do not come back from their config can be exported.
    """
    model = unwrapped(model)
    names = [model.name, *_names(as_functional(model))]
    return model if all(map(_is_taken, names)) else _renamed(model)


def _names(graph):
    for operation in graph.operations:
        if _has_scope(operation):
            yield operation.name
        inner = graph_of(operation)
        if inner is not None:
            yield from _names(inner)


def _has_scope(operation):
    """Whether TensorFlow gets to see the name; inputs keep theirs, callers use it."""
    is_input = isinstance(operation, keras.layers.InputLayer)
    return isinstance(operation, keras.layers.Layer) and not is_input


def _is_taken(name):
    return _TAKEN.fullmatch(name) is not None


def _renamed(model):
    name = model.name if _is_taken(model.name) else _new_name(model.name, set())
    return clone_edited(model, **_renaming(model, name))


def _renaming(model, name):
    """How a model is copied under a name that TensorFlow takes."""
    graph = as_functional(model)
    used = {operation.name for operation in graph.operations}
    new_names = {}
    for operation in graph.operations:
        if _has_scope(operation) and not _is_taken(operation.name):
            new_names[operation.name] = _new_name(operation.name, used)

    def edit(layer, config):
        return {**config, "name": new_names.get(layer.name, layer.name)}

    def nested(inner):
        return _renaming(inner, new_names.get(inner.name, inner.name))

    for operation in graph.operations:
        cannot = isinstance(operation, (keras.Model, keras.layers.Lambda))
        if operation.name in new_names and cannot and graph_of(operation) is None:
            raise InvalidInputError(
                f"TensorFlow refuses the name of layer {operation.name!r} "
                f"({type(operation).__name__}), which cannot be copied under another "
                f"one. Build the model with a name such as "
                f"{new_names[operation.name]!r}."
            )
    return {"edit": edit, "name": name, "nested": nested}


def _new_name(name, used):
    """A name that TensorFlow takes and that no layer has; it is in use from then on."""
    plain = _OTHERS.sub("_", name)
    if not _is_taken(plain):
        plain = f"layer{plain}"
    new, number = plain, 0
    while new in used:
        number += 1
        new = f"{plain}_{number}"
    used.add(new)
    return new
