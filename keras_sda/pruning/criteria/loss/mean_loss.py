"""The loss of a model on some samples."""

from collections.abc import Iterable
from typing import Any

import keras

from keras_sda.data.fit.array_structures import leaves
from keras_sda.pruning.criteria.loss.model_loss import ModelLoss


def mean_loss(model: keras.Model, loss: ModelLoss, batches: Iterable[Any]) -> float:
    """The mean of a loss over samples, at inference.

    Args:
        model: The model.
        loss: Its loss.
        batches: `(inputs, targets, sample_weight)` each, not all of them empty.

    Raises:
        InvalidInputError: Targets do not fit.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.pruning.criteria.loss.mean_loss import mean_loss
    >>> from keras_sda.pruning.criteria.loss.model_loss import ModelLoss
    >>> x = keras.Input((2,))
    >>> model = keras.Model(x, keras.layers.Dense(1, kernel_initializer="ones")(x))
    >>> batches = [(np.ones((3, 2)), np.zeros((3, 1)), None)]
    >>> mean_loss(model, ModelLoss(model, "mse"), batches)
    4.0
    """
    total = count = 0
    for inputs, targets, weights in batches:
        size = len(leaves(inputs)[0])
        outputs = model(inputs, training=False)
        value = loss(outputs, loss.targets(targets, weights))
        total += size * float(keras.ops.convert_to_numpy(value))
        count += size
    return total / count
