"""A copy of a model in which some layers have masks."""

from collections.abc import Mapping

import keras
import numpy as np

from keras_sda.graph import clone_edited, uncompiled
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
    return _Copier(groups).copy(model)


class _Copier:
    def __init__(self, groups):
        self._groups = groups
        self._layers = {}  # id of the old layer: (old, new)
        self._models = {}  # the same for nested models

    def copy(self, model):
        new_model = self._nested(model)
        # Outer models first: setting the flag of a model sets those of its layers.
        for old, new in [*reversed(self._models.values()), *self._layers.values()]:
            if new.trainable != old.trainable:
                new.trainable = old.trainable
        for old, new in self._layers.values():
            # A masked layer has two weights more behind these.
            for before, after in zip(old.weights, new.weights, strict=False):
                if after.trainable != before.trainable:
                    after.trainable = before.trainable
        return new_model

    def _nested(self, model):
        if id(model) not in self._models:
            new = clone_edited(
                uncompiled(model), self._edit, self._nested, weights_of=self._weights
            )
            self._models[id(model)] = model, new
        return self._models[id(model)][1]

    def _edit(self, layer, config):
        if id(layer) not in self._layers:
            cls = type(layer)
            if id(layer) in self._groups:
                is_dense = isinstance(layer, keras.layers.Dense)
                cls = SelfGroupedDense if is_dense else SelfGroupedConv2D
            self._layers[id(layer)] = layer, cls.from_config(config)
        return self._layers[id(layer)][1]

    def _weights(self, layer):
        if id(layer) not in self._groups:
            return layer.weights
        mask, labels = self._groups[id(layer)]
        kernel = [layer.kernel, layer.bias] if layer.use_bias else [layer.kernel]
        return [*kernel, np.asarray(mask).T.astype("float32"), labels.astype("int32")]
