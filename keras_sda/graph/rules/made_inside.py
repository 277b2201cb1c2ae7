"""The channels that layers inside of a layer make."""

import math
from typing import Any

import keras

from keras_sda.graph.model.keras_internals import all_layers

# Their weights belong to the channels that they get.
_PASSING = (
    keras.layers.BatchNormalization,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    keras.layers.PReLU,
    keras.layers.RMSNormalization,
)


def made_inside(layer: Any) -> list[tuple[str, int]]:
    """Names of the layers inside of a layer that make channels, and how many.

    Use it for a layer that no rule opens, to say what stays because of it.

    Args:
        layer: A layer or operation.

    Example:

    >>> import keras
    >>> from keras_sda.graph.rules.made_inside import made_inside
    >>> inner = keras.Sequential([keras.Input((4, 8)), keras.layers.Dense(3, name="d")])
    >>> wrapper = keras.layers.TimeDistributed(inner.layers[0])
    >>> wrapper(keras.Input((4, 8))).shape, made_inside(wrapper)
    ((None, 4, 3), [('d', 3)])
    """
    inside = all_layers(layer, itself=False)
    found = [(inner.name, num_made(inner)) for inner in inside]
    return [(name, count) for name, count in found if count]


def num_made(layer: keras.layers.Layer) -> int:
    """How many channels a layer makes by a kernel of its own; 0 if by none."""
    if isinstance(layer, _PASSING):
        return 0
    kernels = [w for w in own_weights(layer) if len(w.shape) > 1]
    if not kernels:
        return 0
    for name in ("filters", "units", "output_dim"):
        count = getattr(layer, name, None)
        if isinstance(count, int) and not isinstance(count, bool):
            return count
    if isinstance(layer, keras.layers.EinsumDense):
        kernel, output = layer.equation.split(",")[1].split("->")
        sizes = zip(kernel, layer.kernel.shape, strict=True)
        return math.prod(size for index, size in sizes if index in output)
    return int(max(kernels, key=lambda w: len(w.shape)).shape[-1])


def own_weights(layer: Any) -> list[keras.Variable]:
    """The weights of a layer that no layer inside of it has."""
    if not isinstance(layer, keras.layers.Layer):
        return []
    inside = {
        id(weight)
        for inner in all_layers(layer, itself=False)
        for weight in inner.weights
    }
    return [weight for weight in layer.weights if id(weight) not in inside]
