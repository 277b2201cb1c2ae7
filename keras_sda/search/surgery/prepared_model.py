"""Copies of a model in which sums and gates can be cut."""

from collections.abc import Mapping

import keras
import numpy as np

from keras_sda.graph import clone_edited, sum_terms, uncompiled
from keras_sda.layers import ScaledSigmoidGate
from keras_sda.search.surgery.surgery_layers import (
    AlignedAdd,
    ChannelCut,
    ChannelOffset,
    FixedGate,
)

CallKey = tuple[str, int]


def prepared_model(
    model: keras.Model,
    masks: Mapping[str, np.ndarray] | None = None,
    folds: Mapping[CallKey, tuple[list[int], np.ndarray]] | None = None,
    cuts: Mapping[CallKey, np.ndarray] | None = None,
) -> keras.Model:
    """Returns a copy with `AlignedAdd` for its sums and `FixedGate` for its gates.

    Use it before `ChannelTrace`, so that the terms of a sum may lose different
    channels.

    Args:
        model: A functional model, with or without gates. It is not changed.
        masks: For every gate the channels that stay. Defaults to all.
        folds: By layer name and number of the call of a sum: the terms to leave out,
            and what to add to each channel instead. Defaults to none.
        cuts: By layer name and number of the call: the channels of its input that the
            layer gets to see. Defaults to all.

    Returns:
        A functional model with its own weights.

    Example:

    >>> import keras
    >>> from keras_sda.search.surgery.prepared_model import prepared_model
    >>> x = keras.Input((4,))
    >>> y = keras.layers.Add()([x, keras.layers.Dense(4)(x)])
    >>> type(prepared_model(keras.Model(x, y)).layers[-1]).__name__
    'AlignedAdd'
    """
    masks, folds, cuts = masks or {}, folds or {}, cuts or {}
    num_calls = {}
    cut_numbers = {}

    def edit(layer, config):
        if isinstance(layer, ScaledSigmoidGate):
            mask = masks.get(layer.name, np.ones(layer.channels, bool))
            return FixedGate(
                mask, layer.axis, name=layer.name, dtype=layer.dtype_policy
            )
        return config

    def call(layer, new, args, kwargs):
        key = layer.name, num_calls.get(layer.name, 0)
        num_calls[layer.name] = key[1] + 1
        if key in cuts:
            # Layers that see the same channels of the same tensor share a cut.
            mask = np.asarray(cuts[key])
            where = id(args[0]), mask.tobytes()
            if where not in cut_numbers:
                cut = ChannelCut(mask, channel_axis(), name=f"{layer.name}_gather")
                cut_numbers[where] = cut(args[0])
            args = (cut_numbers[where], *args[1:])
        terms = sum_terms(layer, args)
        if terms is None:
            return new(*args, **kwargs)
        dropped, offsets = folds.get(key, ((), None))
        left = [term for number, term in enumerate(terms) if number not in dropped]
        result = left[0]
        if len(left) > 1:
            is_layer = isinstance(layer, keras.layers.Layer)
            policy = layer.dtype_policy if is_layer else None
            result = AlignedAdd(is_layer, name=layer.name, dtype=policy)(left)
        if offsets is not None and np.any(offsets):
            name = f"{layer.name}_constant"
            dtype = keras.backend.standardize_dtype(result.dtype)
            result = ChannelOffset(offsets, channel_axis(), name=name, dtype=dtype)(
                result
            )
        return result

    return clone_edited(
        uncompiled(model),
        edit,
        weights_of=lambda x: [] if isinstance(x, ScaledSigmoidGate) else x.weights,
        call=call,
    )


def channel_axis() -> int:
    """Where images have their channels."""
    return -1 if keras.config.image_data_format() == "channels_last" else 1
