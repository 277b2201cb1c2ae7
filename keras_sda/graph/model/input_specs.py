"""Symbolic inputs of a model at one batch size and one image size."""

from typing import Any

import keras

from keras_sda.graph.model.as_functional import as_functional
from keras_sda.graph.model.keras_internals import input_structure
from keras_sda.utils import InvalidInputError


def input_specs(
    model: keras.Model | keras.Function,
    input_shape: Any = None,
    batch_size: int = 1,
) -> Any:
    """Returns fully known symbolic inputs for `model`, in the structure it takes.

    Use it wherever a model is looked at or fed at a size of its own.

    Args:
        model: A functional or built sequential model.
        input_shape: Shape of one sample, with or without the batch axis (whose value
            is ignored). Several inputs: a list in the order of `model.inputs`, or a
            dict from input name to shape. `None` (default) takes the shapes that
            the model was built with.
        batch_size: Value of the batch axis. Defaults to 1.

    Returns:
        `keras.KerasTensor`s in the structure of the inputs of the model, no axis
        unknown.

    Raises:
        InvalidInputError: `input_shape` does not fit the inputs, or is missing for a
            model with unknown axes.

    Example:

    >>> import keras
    >>> from keras_sda.graph import input_specs
    >>> x = keras.Input((None, None, 3))
    >>> model = keras.Model(x, keras.layers.Conv2D(4, 3)(x))
    >>> input_specs(model, (32, 32, 3), batch_size=8).shape
    (8, 32, 32, 3)
    """
    graph = as_functional(model)
    names = [tensor.name for tensor in graph.inputs]
    given = _per_input(input_shape, names)
    specs = []
    for tensor, name in zip(graph.inputs, names, strict=True):
        shape = tuple(tensor.shape)
        if given is not None:
            shape = _full_shape(given[name], shape, name)
        unknown = [axis for axis, size in enumerate(shape) if axis and size is None]
        if unknown:
            raise InvalidInputError(
                f"`input_shape` is needed: input '{name}' of model '{model.name}' has "
                f"shape {shape}, where axes {unknown} are unknown. Pass it without "
                "unknown axes, for example `input_shape=(224, 224, 3)`."
            )
        specs.append(
            keras.KerasTensor(
                (batch_size, *shape[1:]), dtype=tensor.dtype, sparse=tensor.sparse
            )
        )
    return keras.tree.pack_sequence_as(input_structure(graph), specs)


def _per_input(input_shape: Any, names: list[str]) -> dict[str, Any] | None:
    """Maps each input name to the shape that the caller gave for it."""
    if input_shape is None:
        return None
    if isinstance(input_shape, dict):
        if set(input_shape) != set(names):
            raise InvalidInputError(
                f"`input_shape` must have one shape per input, {names}. Received the "
                f"keys {list(input_shape)}."
            )
        return dict(input_shape)
    if not isinstance(input_shape, (list, tuple)):
        raise InvalidInputError(
            "`input_shape` must be a tuple of integers, a list of such tuples, or a "
            f"dict. Received: input_shape={input_shape!r}."
        )
    if not any(isinstance(item, (list, tuple)) for item in input_shape):
        input_shape = [input_shape]
    if len(input_shape) != len(names):
        raise InvalidInputError(
            f"`input_shape` must have one shape per input, {names}. Received "
            f"{len(input_shape)} shape(s): {input_shape!r}."
        )
    return dict(zip(names, input_shape, strict=True))


def _full_shape(given: Any, reference: tuple, name: str) -> tuple:
    """Adds the batch axis to `given` when it is not there, and checks it."""
    valid = isinstance(given, (list, tuple)) and all(
        size is None or (isinstance(size, int) and size > 0) for size in given
    )
    if valid and len(given) == len(reference) - 1:
        return (None, *given)
    if valid and len(given) == len(reference):
        return tuple(given)
    raise InvalidInputError(
        f"`input_shape` for input '{name}' must be {len(reference) - 1} positive "
        f"integers (or {len(reference)} with the batch axis), like {reference[1:]}. "
        f"Received: {given!r}."
    )
