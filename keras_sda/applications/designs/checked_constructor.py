"""The arguments of all constructors, checked in one place."""

import functools
import inspect
import numbers
import os
from collections.abc import Callable

import keras

from keras_sda.utils import InvalidInputError
from keras_sda.utils.check_arguments import check_arguments

_KINDS = {
    "counts": (
        "stackwise_num_blocks",
        "stackwise_num_filters",
        "stackwise_strides",
        "kernel_sizes",
        "expansions",
    ),
    "count": (
        "classes",
        "groups",
        "base_width",
        "stem_width",
        "stage_width",
        "min_width",
        "default_size",
        "stem_filters",
        "stem_strides",
        "first_filters",
        "head_filters",
        "scale",
    ),
    "number": ("reduction",),
    "flag": ("include_top", "depth_attention", "synchronized", "pyramid_outputs"),
    "text": ("name", "stem", "block_type"),
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}


def checked_constructor(constructor: Callable) -> Callable[..., keras.Model]:
    """Makes a constructor of networks refuse arguments of a wrong type.

    Use it as the decorator of every constructor of `keras_sda.applications`. What a
    value means, such as whether widths fit together, is up to the constructor.

    Args:
        constructor: A function with arguments as in `keras.applications`.

    Returns:
        The function. It raises `InvalidInputError` with the name of the argument, what
        was received and what is expected.

    Example:

    >>> from keras_sda.applications.designs.checked_constructor import (
    ...     checked_constructor
    ... )
    >>> checked_constructor(lambda classes=10: classes)(classes=3)
    3
    """
    signature = inspect.signature(constructor)

    @functools.wraps(constructor)
    def checked(*args, **kwargs):
        given = dict(signature.bind(*args, **kwargs).arguments)
        for name, parameter in signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                given |= given.pop(name, {})
        for name, value in given.items():
            if name in _KIND_OF:
                check_arguments(_KIND_OF[name], **{name: value})
            elif name in _OTHERS:
                _OTHERS[name](value)
        return constructor(*args, **kwargs)

    return checked


def _check_input_shape(value):
    """Three entries, each an integer or None; how large they may be is seen later."""
    if value is None:
        return
    try:
        entries = () if isinstance(value, (str, bytes)) else tuple(value)
    except TypeError:
        entries = ()
    if len(entries) != 3 or not all(x is None or _is_integer(x) for x in entries):
        first = keras.config.image_data_format() == "channels_first"
        order = "channels, height, width" if first else "height, width, channels"
        example = (3, 224, 224) if first else (224, 224, 3)
        raise InvalidInputError(
            f"`input_shape` must be three numbers ({order}), such as {example}, "
            f"without the batch axis. Received: input_shape={value!r:.80}."
        )


def _is_integer(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _check_pooling(value):
    if value is not None and value not in ("avg", "max"):
        raise InvalidInputError(
            f"`pooling` must be None, 'avg' or 'max'. Received: pooling={value!r:.80}."
        )


def _check_activation(value):
    try:
        keras.activations.get(value)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InvalidInputError(
            "`classifier_activation` must be None, the name of a Keras activation such "
            "as 'softmax', or a function. Received: "
            f"classifier_activation={value!r:.80}."
        ) from error


def _check_weights(value):
    if value is not None and not (isinstance(value, (str, os.PathLike)) and str(value)):
        raise InvalidInputError(
            "`weights` must be None, the name of published weights or the path of a "
            f"file. Received: weights={value!r:.80}."
        )


def _check_input_tensor(value):
    if value is not None and not keras.backend.is_keras_tensor(value):
        raise InvalidInputError(
            "`input_tensor` must be a Keras tensor, such as the result of "
            f"`keras.Input(...)`. Received: {type(value).__name__}."
        )


_OTHERS = {
    "input_shape": _check_input_shape,
    "pooling": _check_pooling,
    "classifier_activation": _check_activation,
    "weights": _check_weights,
    "input_tensor": _check_input_tensor,
}
