"""A copy of a model in which some layers have masks."""

from collections.abc import Mapping

import keras
import numpy as np

from keras_sda.graph import clone_edited
from keras_sda.layers import SelfGroupedConv2D, SelfGroupedDense


def masked_copy(
    model: keras.Model, groups: Mapping[int, tuple[np.ndarray, np.ndarray]]
) -> keras.Model:
    """Returns a copy of a model whose named layers read what masks let through.

    Use it through `self_group`. A layer or nested model that occurs in several places
    stays one.

    Args:
        model: A functional or built sequential model. It is not changed.
        groups: By `id` of a `Conv2D`, `Dense` or masked layer: its mask of shape
            (filters, channels) and its labels of shape (filters,).

    Returns:
        A functional `keras.Model` with its own weights, not compiled.

    Raises:
        InvalidInputError: A layer does not come back from its config.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.grouping.masked_copy import masked_copy
    >>> x = keras.Input((3,))
    >>> layer = keras.layers.Dense(2, name="dense")
    >>> model = keras.Model(x, layer(x))
    >>> copy = masked_copy(model, {id(layer): (np.eye(2, 3), np.arange(2))})
    >>> type(copy.get_layer("dense")).__name__
    'SelfGroupedDense'
    """

    def edit(layer, config):
        if id(layer) not in groups:
            return config
        is_dense = isinstance(layer, keras.layers.Dense)
        return (SelfGroupedDense if is_dense else SelfGroupedConv2D).from_config(config)

    def weights_of(layer):
        if id(layer) not in groups:
            return layer.weights
        mask, labels = groups[id(layer)]
        kernel = [layer.kernel, layer.bias] if layer.use_bias else [layer.kernel]
        return [*kernel, np.asarray(mask).T.astype("float32"), labels.astype("int32")]

    return clone_edited(model, edit, weights_of=weights_of)
