"""BatchNormalization as the papers have it, made in one place."""

import keras


def batch_normalization(
    axis: int = -1, synchronized: bool = False, **kwargs
) -> keras.layers.BatchNormalization:
    """Makes a stock `BatchNormalization` with the papers' momentum and epsilon.

    Every network of this package normalises through here. The result is the layer of
    Keras itself, so that saved models stay free of custom classes.

    Args:
        axis: The channel axis. Defaults to `-1`.
        synchronized: Whether statistics are taken over all replicas. It matters under
            `tf.distribute.MirroredStrategy` only; on other backends a batch is
            already normalised as a whole and the flag is dropped, because Keras
            refuses it there. Defaults to `False`.
        **kwargs: Further arguments of `keras.layers.BatchNormalization`, such as
            `name`, `momentum` (here 0.9 by default) and `epsilon` (here 1e-5).

    Returns:
        A `keras.layers.BatchNormalization`; input and output shapes are equal.

    Example:

    >>> from keras_sda.layers import batch_normalization
    >>> batch_normalization(name="bn").epsilon
    1e-05

    Source: arXiv 2209.10327, the authors' training setup (PyTorch momentum 0.1 is
    Keras momentum 0.9).
    """
    if synchronized and keras.backend.backend() == "tensorflow":
        kwargs["synchronized"] = True
    return keras.layers.BatchNormalization(
        axis=axis, **{"momentum": 0.9, "epsilon": 1e-5, **kwargs}
    )
