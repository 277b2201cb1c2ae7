"""Batches of inputs and targets from whatever a user has."""

from collections.abc import Iterator
from typing import Any

import keras

from keras_sda.data.fit.fit_data import FitData
from keras_sda.utils import InvalidInputError


def data_batches(
    data: Any, model: keras.Model, needs_targets: bool = True, batch_size: int = 32
) -> Iterator[tuple[Any, Any, Any]]:
    """Yields `(inputs, targets, sample_weight)` as NumPy arrays that fit a model.

    Args:
        data: Anything that `model.fit` takes: `(inputs, targets)` or `(inputs, targets,
            sample_weight)` arrays, or a finite stream of batches of them, such as a
            `tf.data.Dataset`, a `PyDataset` or a generator. See `FitData`.
        model: The functional model that takes the inputs.
        needs_targets: Whether batches without targets are an error. Defaults to
            `True`.
        batch_size: Samples per batch where `data` holds arrays. Defaults to `32`.

    Yields:
        Inputs, targets and weights in the structure of `data`, lists as tuples; None
        where there are no targets or weights.

    Raises:
        InvalidInputError: There is no data, it holds no targets, or it does not fit.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.data.fit.data_batches import data_batches
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> data = np.zeros((40, 3)), np.zeros(40)
    >>> [len(targets) for _, targets, _ in data_batches(data, model)]
    [32, 8]
    """
    if data is None:
        raise InvalidInputError(
            "`data` is missing: this `importance` is measured on samples. Pass "
            "data=(inputs, targets) or an iterable of batches, or choose one that "
            "needs none, such as importance='l1'."
        )
    yield from FitData(data, model, needs_targets=needs_targets).batches(batch_size)
