"""Batches of inputs and targets from whatever a user has."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_sda.utils import InvalidInputError


def data_batches(
    data: Any, model: keras.Model, needs_targets: bool = True, batch_size: int = 32
) -> Iterator[tuple[Any, Any]]:
    """Yields `(inputs, targets)` as NumPy arrays, checked against a model.

    Args:
        data: `(inputs, targets)` arrays, where inputs may be a list or a dict of
            arrays; or an iterable of batches of them, such as a `tf.data.Dataset`.
            Sample weights are ignored.
        model: The functional model that takes the inputs.
        needs_targets: Whether batches without targets are an error. Defaults to
            `True`.
        batch_size: Samples per batch where `data` holds arrays. Defaults to `32`.

    Yields:
        Inputs in the structure of `data`, and targets or None.

    Raises:
        InvalidInputError: There is no data, it holds no targets, or it does not fit.

    Example:

    >>> import keras
    >>> from keras_sda.pruning.data_batches import data_batches
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> data = np.zeros((40, 3)), np.zeros(40)
    >>> [len(targets) for _, targets in data_batches(data, model)]
    [32, 8]
    """
    count = 0
    for batch in _batches(data, batch_size):
        inputs, targets = batch
        if targets is None and needs_targets:
            raise InvalidInputError(
                "`data` must hold targets as well: give `(inputs, targets)` arrays or "
                "an iterable of such batches. Received inputs alone."
            )
        inputs = keras.tree.map_structure(_to_numpy, inputs)
        _check(inputs, model)
        count += 1
        yield inputs, keras.tree.map_structure(_to_numpy, targets)
    if not count:
        raise InvalidInputError(
            "`data` is empty. Give at least one batch; an iterator that was read "
            "before has to be made anew."
        )


def _batches(data, batch_size):
    if data is None:
        raise InvalidInputError(
            "`data` is missing: this `importance` is measured on samples. Pass "
            "data=(inputs, targets) or an iterable of batches, or choose one that "
            "needs none, such as importance='l1'."
        )
    if hasattr(data, "shape"):
        data = (data,)
    if isinstance(data, tuple):
        yield from _slices(data, batch_size)
        return
    cardinality = getattr(data, "cardinality", None)
    if callable(cardinality) and int(cardinality()) == -1:
        raise InvalidInputError(
            "`data` never ends: it repeats itself. Take a part, as in `data.take(32)`."
        )
    if hasattr(data, "num_batches") and hasattr(data, "__getitem__"):
        data = (data[index] for index in range(data.num_batches))  # a PyDataset
    try:
        iterator = iter(data)
    except TypeError as error:
        raise InvalidInputError(
            "`data` must be `(inputs, targets)` arrays or an iterable of batches. "
            f"Received: {type(data).__name__}."
        ) from error
    for batch in iterator:
        if not isinstance(batch, tuple):
            batch = (batch,)
        yield batch[0], (batch[1] if len(batch) > 1 else None)


def _slices(data, batch_size):
    inputs, targets = data[0], (data[1] if len(data) > 1 else None)
    sizes = {len(array) for array in keras.tree.flatten((inputs, targets))
             if array is not None}  # fmt: skip
    if len(sizes) != 1:
        raise InvalidInputError(
            "`data` must hold as many targets as inputs. Received arrays of "
            f"{sorted(sizes)} samples."
        )
    (size,) = sizes
    for start in range(0, size, batch_size):
        yield keras.tree.map_structure(
            lambda array, start=start: (
                None if array is None else array[start : start + batch_size]
            ),
            (inputs, targets),
        )


def _to_numpy(value):
    if value is None or isinstance(value, np.ndarray):
        return value
    return keras.ops.convert_to_numpy(value)


def _check(inputs, model):
    names = [tensor.name for tensor in model.inputs]
    if isinstance(inputs, Mapping) and set(names) <= set(inputs):
        arrays = [inputs[name] for name in names]
    else:
        arrays = keras.tree.flatten(inputs)
    received = [tuple(array.shape) for array in arrays]
    expected = [tuple(tensor.shape) for tensor in model.inputs]
    fits = len(received) == len(expected) and all(
        len(r) == len(e) and all(b in (None, a) for a, b in zip(r, e, strict=True))
        for r, e in zip(received, expected, strict=False)
    )
    if not fits:
        raise InvalidInputError(
            f"`data` does not fit model {model.name!r}: its inputs {names} have the "
            f"shape(s) {expected}. Received: {received}."
        )
