"""Whether the weights of a model are those that it was built with."""

import keras
import numpy as np

from keras_sda.graph import all_layers

_NAMES = "bias", "beta", "gamma", "moving_mean", "moving_variance"
_CONSTANT = (
    keras.initializers.Zeros,
    keras.initializers.Ones,
    keras.initializers.Constant,
)


def looks_untrained(model: keras.Model) -> bool:
    """Whether nothing that starts at a constant has moved.

    Use it before reading importance off the weights. Any training moves the statistics
    of batch normalisations and the biases, and loaded weights bring theirs along, with
    or without an optimizer.

    Args:
        model: A built model.

    Returns:
        True if there are biases, offsets, scales or moving statistics that start at a
        constant, and all of them are what they were.

    Example:

    >>> from keras_sda.applications import LeNet
    >>> from keras_sda.grouping.looks_untrained import looks_untrained
    >>> model = LeNet()
    >>> looks_untrained(model)
    True
    """
    seen = False
    for layer in all_layers(model):
        for name in _NAMES:
            variable = getattr(layer, name, None)
            initializer = getattr(layer, f"{name}_initializer", None)
            if variable is None or not isinstance(initializer, _CONSTANT):
                continue
            seen = True
            start = keras.ops.convert_to_numpy(initializer(variable.shape))
            if np.any(keras.ops.convert_to_numpy(variable) != start):
                return False
    return seen
