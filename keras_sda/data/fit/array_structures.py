"""Tuples, lists and dicts of arrays, as data of several inputs come."""

import numbers
from collections.abc import Mapping

import keras
import numpy as np


def is_number(value):
    """Whether a value is a single number; True and False are none."""
    return isinstance(value, (numbers.Real, np.bool_)) and not isinstance(value, bool)


def is_numbers(value):
    """Whether a value is a list of numbers, of any depth."""
    if not isinstance(value, (list, tuple)):
        return False
    while isinstance(value, (list, tuple)) and len(value):
        value = value[0]
    return isinstance(value, (numbers.Number, np.generic))


def map_arrays(function, value):
    """Applies a function to the arrays of a structure; lists become tuples."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {key: map_arrays(function, entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)) and not is_numbers(value):
        return tuple(map_arrays(function, entry) for entry in value)
    return function(value)


def leaves(value):
    """The arrays of a structure; those of a dict by sorted name, as Keras has them."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value)]
    elif not isinstance(value, (list, tuple)) or is_numbers(value):
        return [value]
    return [leaf for entry in value for leaf in leaves(entry)]


def class_labels(targets):
    """Integer classes, one per sample, of class numbers or of one-hot vectors."""
    if targets.ndim > 1 and targets.shape[-1] > 1:
        targets = targets.argmax(-1)
    return np.rint(targets.reshape(len(targets), -1)[:, 0]).astype(int)


def shape_of(value):
    """Shape of an array or a list of numbers; None where nobody knows it."""
    if is_numbers(value):
        found = []
        while isinstance(value, (list, tuple)):
            found.append(len(value))
            value = value[0] if value else None
        return tuple(found)
    shape = getattr(value, "shape", ())
    return None if getattr(shape, "rank", 0) is None else tuple(shape)


def suits(shape, wanted):
    """Whether Keras takes a shape for an input; it adds or drops a last axis of 1."""
    if shape is None:
        return True  # of a stream whose shapes are known when it is read
    if len(shape) == len(wanted) - 1 and wanted[-1] == 1:
        shape = (*shape, 1)
    elif len(shape) == len(wanted) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    return len(shape) == len(wanted) and all(
        size in (None, got) or got is None
        for got, size in zip(shape, wanted, strict=True)
    )


def to_array(value):
    """A NumPy array of a tensor, array or list of numbers, else TypeError."""
    if not isinstance(value, np.ndarray):
        if keras.ops.is_tensor(value):
            value = keras.ops.convert_to_numpy(value)
        elif is_numbers(value) or hasattr(value, "__array__"):
            value = np.asarray(value)
        else:
            raise TypeError(f"received {type(value).__name__}")
    if value.dtype.kind not in "biufV" or not value.ndim:
        raise TypeError(f"received an array of {value.dtype}, {value.ndim} axes")
    return value
