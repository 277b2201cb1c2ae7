"""Fold inference-mode batch normalization into its neighbours."""

import keras
import numpy as np

from keras_sda.graph import (
    ModelGraph,
    clone_edited,
    distributed_model,
    swaps_bias,
    unwrapped,
)
from keras_sda.graph.model.consumers import consumers
from keras_sda.graph.rules.channel_rules import own_rule

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_DENSE = (keras.layers.Dense,)
_FOLDABLE = _CONVOLUTIONS + _TRANSPOSED + _DEPTHWISE + _SEPARABLE + _DENSE


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """Returns the model with batch normalization merged into kernels and biases.

    Use it for a model that is only going to predict: the result computes the same
    numbers (up to float32 rounding) with fewer layers. Folded are

    * convolution (plain, depthwise, separable, transposed), Dense, or a layer with a
      method `scaled_weights` (grouped, packed), then BatchNormalization over its
      channels, and
    * BatchNormalization, then Dense,

    where the tensor between has no other reader, both layers are called once, no
    activation lies between and both compute in the same dtype. Every other
    BatchNormalization is left as it is: one that is called with `training=True`, one
    before a convolution (padding makes that inexact), those inside other layers.
    Nested models are folded in place.

    Args:
        model: A functional or sequential model. It is not changed.

    Returns:
        A functional `keras.Model` with its own weights, not compiled. Layer names stay,
        without the folded ones. Do not train it further: the regularizers and
        constraints of changed layers are dropped.

    Raises:
        InvalidInputError: `model` is not functional or has no input shape.

    Example:

    >>> import keras
    >>> from keras_sda.export import fold_batch_normalization
    >>> x = keras.Input((8, 8, 3))
    >>> y = keras.layers.Conv2D(4, 3, use_bias=False)(x)
    >>> model = keras.Model(x, keras.layers.BatchNormalization()(y))
    >>> [type(layer).__name__ for layer in fold_batch_normalization(model).layers]
    ['InputLayer', 'Conv2D']

    Source: the identity is given by Jacob et al., arXiv 1712.05877, section 3.2.
    """
    model = unwrapped(model)
    # What is folded into a layer depends on what is around it.
    return clone_edited(model, **_folding(model), once=False)


def _folding(model):
    """How a graph is copied: without what is folded into its neighbours."""
    uses = consumers(model)
    folds, skip = {}, set()
    shapes = {
        node.name: node.output_tensors[0].shape[1:] for node in ModelGraph(model).nodes
    }
    _fold_into_producers(uses, shapes, folds, skip)
    _fold_into_dense_after(uses, folds, skip)

    def edit(layer, config):
        if layer.name not in folds:
            return config
        dropped = [
            key for key in config if key.endswith(("_regularizer", "_constraint"))
        ]
        config = {**config, **dict.fromkeys(dropped)}
        return {**config, "use_bias": True} if "use_bias" in config else config

    def weights_of(layer):
        fold = folds.get(layer.name)
        return fold.weights() if fold else layer.weights

    in_training = [use.layer for use in uses.values() if use.training]

    def nested(inner):
        if any(inner is x or inner is distributed_model(x) for x in in_training):
            # Its normalization works on batch statistics.
            return {"edit": None, "weights_of": None, "nested": None}
        return _folding(inner)

    return {"edit": edit, "weights_of": weights_of, "skip": skip, "nested": nested}


class _Fold:
    """Kernel and bias of one layer in float64 while neighbours are merged into it."""

    def __init__(self, layer):
        self.layer = layer
        *self.others, kernel = [
            keras.ops.convert_to_numpy(w) for w in layer.weights[: _num_kernels(layer)]
        ]
        self.kernel = kernel.astype("float64")
        self.filters = _num_filters(layer)
        self.bias = np.zeros(self.filters)
        if layer.use_bias:
            self.bias += keras.ops.convert_to_numpy(layer.bias).astype("float64")

    def multiply_outputs(self, scale, offset):
        """Makes y * scale + offset of every output channel y."""
        shape = [1] * self.kernel.ndim
        if isinstance(self.layer, _TRANSPOSED):
            shape[-2] = self.filters
        elif isinstance(self.layer, _DEPTHWISE):
            shape[-2:] = self.kernel.shape[-2:]
        else:
            shape[-1] = self.filters
        self.kernel = self.kernel * scale.reshape(shape)
        self.bias = self.bias * scale + offset

    def multiply_inputs(self, scale, offset):
        """Makes the layer read x * scale + offset instead of x. Dense only."""
        self.bias = self.bias + offset @ self.kernel
        self.kernel = self.kernel * scale[:, None]

    def weights(self):
        return [*self.others, self.kernel, self.bias]


class _OwnFold:
    """The same for a layer that knows what its scaled weights are."""

    def __init__(self, scaled_weights):
        self.scaled_weights = scaled_weights
        self.scale, self.offset = 1.0, 0.0

    def multiply_outputs(self, scale, offset):
        """Makes y * scale + offset of every output channel y."""
        self.scale, self.offset = self.scale * scale, self.offset * scale + offset

    def weights(self):
        return self.scaled_weights(self.scale, self.offset)


def _num_kernels(layer):
    return 2 if isinstance(layer, _SEPARABLE) else 1


def _num_filters(layer):
    if isinstance(layer, _DEPTHWISE):
        return int(np.prod(layer.kernel.shape[-2:]))
    return layer.units if isinstance(layer, _DENSE) else layer.filters


def _fold_into_producers(uses, shapes, folds, skip):
    for name, use in uses.items():
        if not _is_foldable(use) or not _is_linear(use.layer):
            continue
        if swaps_bias(use.layer, shapes[name]):
            continue  # its new bias would be added along the wrong axis
        reader = uses.get(use.only_consumer)
        while reader and _is_normalization(reader, use.layer):
            if name not in folds:
                own = own_rule(use.layer, "scaled_weights")
                folds[name] = _OwnFold(own) if own else _Fold(use.layer)
            fold = folds[name]
            fold.multiply_outputs(*_scale_and_offset(reader.layer))
            skip.add(reader.layer.name)
            reader = uses.get(reader.only_consumer)


def _fold_into_dense_after(uses, folds, skip):
    for name, use in uses.items():
        dense = uses.get(use.only_consumer)
        if (
            dense
            and name not in skip
            and type(dense.layer) in _DENSE
            and _is_foldable(dense)
            and dense.num_calls == 1
            and _is_normalization(use, dense.layer)
        ):
            fold = folds.setdefault(dense.layer.name, _Fold(dense.layer))
            fold.multiply_inputs(*_scale_and_offset(use.layer))
            skip.add(name)


def _is_foldable(use):
    layer = use.layer
    is_known = type(layer) in _FOLDABLE  # a subclass may compute something else
    return (
        (is_known or own_rule(layer, "scaled_weights") is not None)
        and use.plain
        and not getattr(layer, "lora_enabled", False)
        and not getattr(layer, "quantization_mode", None)
    )


def _is_linear(layer):
    return getattr(layer, "activation", None) in (None, keras.activations.linear)


def _is_normalization(use, neighbour):
    """Whether `use` normalises, once and at inference, the channels of `neighbour`."""
    layer = use.layer
    if (
        type(layer) is not keras.layers.BatchNormalization
        or use.num_calls != 1
        or not use.plain
        or layer.compute_dtype != neighbour.compute_dtype
    ):
        return False
    rank = layer.input_spec.ndim
    first = getattr(neighbour, "data_format", None) == "channels_first"
    return layer.axis % rank == (1 if first else rank - 1)


def _scale_and_offset(layer):
    """The normalization at inference as x * scale + offset, in float64."""
    variance = _value(layer.moving_variance, None)
    scale = _value(layer.gamma, 1.0) / np.sqrt(variance + layer.epsilon)
    return scale, _value(layer.beta, 0.0) - _value(layer.moving_mean, None) * scale


def _value(variable, default):
    if variable is None:
        return default
    return keras.ops.convert_to_numpy(variable).astype("float64")
