"""The layers that count as convolutions."""

from typing import Any

import keras

CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def is_convolution(layer: Any) -> bool:
    """Whether a layer is a convolution: one of Keras, or one that says so.

    Use it to find out where channels of a map are made: channel gates stand behind
    the normalisation of a convolution. A layer of another class says so by an
    attribute `is_convolution = True`.

    Args:
        layer: A layer or operation.

    Example:

    >>> import keras
    >>> from keras_sda.graph import is_convolution
    >>> from keras_sda.layers import PyramidalConv2D
    >>> is_convolution(PyramidalConv2D([4], [3])), is_convolution(keras.layers.Dense(1))
    (True, False)
    """
    return isinstance(layer, CONVOLUTIONS) or getattr(layer, "is_convolution", False)
