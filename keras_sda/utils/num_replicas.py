"""How many replicas add up their gradients."""

import keras


def num_replicas() -> int:
    """Replicas of the `tf.distribute` strategy that runs; 1 without one.

    Use it where a loss is made by hand: replicas add up their gradients, so each may
    only pay its share. The losses of Keras do so by themselves.

    Example:

    >>> from keras_sda.utils.num_replicas import num_replicas
    >>> num_replicas()
    1
    """
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync
