"""Tells one trained model from another."""

import hashlib

import keras


def model_digest(model: keras.Model) -> str:
    """A hash of the weights of a model.

    Use it where a call with a folder may be repeated, to see that it is given the same
    model again.

    Args:
        model: A built model.

    Returns:
        64 hexadecimal digits.

    Example:

    >>> from keras_sda.utils import model_digest
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> len(model_digest(model))
    64
    """
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(keras.ops.convert_to_numpy(weight).tobytes())
    return digest.hexdigest()
