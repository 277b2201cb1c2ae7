"""Grouped convolutions in the form that every TensorFlow build can run."""

import keras

from keras_sda.graph import clone_edited, uncompiled, unwrapped
from keras_sda.layers import (
    GroupedConv2D,
    PyramidalConv2D,
    PyramidSplitAttention2D,
)

_GROUPED = (GroupedConv2D, PyramidalConv2D, PyramidSplitAttention2D)


def split_groups(model: keras.Model) -> keras.Model:
    """Rebuilds a model with every grouped convolution in its split form.

    Use it before an export that has to run where oneDNN is absent or switched off
    (ARM, x86 without AVX-512 VNNI, `TF_ENABLE_ONEDNN_OPTS=0`): the native grouped
    operation fails there. Where oneDNN is on, the native form is the faster one.

    Args:
        model: A functional or sequential model.

    Returns:
        A functional model with its own copy of the weights and the same outputs.

    Raises:
        InvalidInputError: `model` is not functional or has no input shape.

    Example:

    >>> import keras
    >>> from keras_sda.export import split_groups
    >>> from keras_sda.layers import GroupedConv2D
    >>> x = keras.Input((8, 8, 4))
    >>> model = keras.Model(x, GroupedConv2D(4, 3, groups=2)(x))
    >>> split_groups(model).layers[-1].implementation
    'split'
    """

    def edit(layer, config):
        if isinstance(layer, _GROUPED):
            return {**config, "implementation": "split"}
        return config

    def copy(model):
        return clone_edited(uncompiled(model), edit, clone_nested=copy)

    return copy(unwrapped(model))
