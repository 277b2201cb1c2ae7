"""The distribution strategy that a model was made under."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_sda.utils import InvalidInputError


@contextlib.contextmanager
def model_scope(model: Any) -> Iterator[None]:
    """Makes what is built inside of it belong to the strategy of a model.

    Use it around everything that makes layers or models from those of a model, so that
    a model made under a `tf.distribute` strategy comes back under it. Without a
    strategy, and on other backends, it does nothing.

    Args:
        model: A Keras model.

    Raises:
        InvalidInputError: It is used inside the scope of another strategy.

    Example:

    >>> import keras
    >>> from keras_sda.graph import model_scope
    >>> x = keras.Input((4,))
    >>> with model_scope(keras.Model(x, keras.layers.Dense(2)(x))):
    ...     copy = keras.layers.Dense(2)
    """
    strategy = _strategy(model)
    if strategy is None:
        yield
        return
    import tensorflow as tf

    if not tf.distribute.has_strategy():
        with strategy.scope():
            yield
        return
    current = tf.distribute.get_strategy()
    if current is not strategy:
        raise InvalidInputError(
            f"`model` '{model.name}' was made under a {type(strategy).__name__}, and "
            f"this runs in the scope of another {type(current).__name__}. Leave that "
            "scope, or save the model and load it inside of the new one."
        )
    yield


def _strategy(model):
    if keras.backend.backend() != "tensorflow":
        return None
    known = getattr(model, "_distribute_strategy", None)
    if known is not None:
        return known
    # The graph of a sequential model that was built later: ask what it holds.
    for variable in getattr(model, "variables", ()):
        value = getattr(variable, "value", None)
        known = getattr(value, "distribute_strategy", None)
        if known is not None:
            return known
    return None
