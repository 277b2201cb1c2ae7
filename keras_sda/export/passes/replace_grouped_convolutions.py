"""Grouped convolutions of Keras in the form that servers can run."""

import keras

from keras_sda.graph import clone_edited
from keras_sda.layers import GroupedConv2D


def replace_grouped_convolutions(model: keras.Model) -> keras.Model:
    """Rebuilds a model with `GroupedConv2D` in place of `keras.layers.Conv2D(groups=)`.

    Use it before an export: Keras compiles its own grouped convolution with XLA on
    TensorFlow, which many servers lack. ConvNeXt, for one, is built of them.

    Args:
        model: A functional or sequential model.

    Returns:
        A functional model with its own copy of the weights and the same outputs and
        layer names.

    Example:

    >>> import keras
    >>> from keras_sda.export.passes.replace_grouped_convolutions import (
    ...     replace_grouped_convolutions)
    >>> x = keras.Input((8, 8, 4))
    >>> model = keras.Model(x, keras.layers.Conv2D(4, 3, groups=2)(x))
    >>> type(replace_grouped_convolutions(model).layers[-1]).__name__
    'GroupedConv2D'
    """

    def edit(layer, config):
        return GroupedConv2D.from_config(config) if is_grouped(layer) else config

    return clone_edited(model, edit)


def is_grouped(layer: keras.layers.Layer) -> bool:
    """Whether a layer is a grouped convolution of Keras itself."""
    # A subclass may compute something else.
    return type(layer) is keras.layers.Conv2D and layer.groups > 1
