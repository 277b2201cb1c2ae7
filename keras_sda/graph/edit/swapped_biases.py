"""Layers whose bias Keras adds along the wrong axis."""

import functools
import math
from typing import Any

import keras
from keras import layers, ops

from keras_sda.graph.model.keras_internals import all_layers
from keras_sda.graph.model.layer_calls import layer_calls

_CLASSES = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
    layers.EinsumDense,
)


def swaps_bias(layer: Any, output_shape: tuple) -> bool:
    """Whether Keras adds a bias of this layer along the last axis by mistake.

    Keras 3.15 on TensorFlow adds what can be squeezed to a vector along the last axis
    if that has the same size, whichever axis was meant: of `channels_first`
    convolutions where the map is as wide as it has channels, for one.

    Args:
        layer: A layer, with or without a bias; it is asked as if it had one.
        output_shape: Shape of one output sample.

    Example:

    >>> import keras
    >>> from keras_sda.graph import swaps_bias
    >>> swaps_bias(keras.layers.Conv2D(8, 1), (8, 8, 8))
    False
    """
    # Subclasses, those of this package among them, have a `call` of their own.
    if type(layer) not in _CLASSES or not _is_affected():
        return False
    if isinstance(layer, layers.EinsumDense):
        shape = () if layer.bias is None else tuple(layer.bias.shape)
        if not shape or shape[-1] != 1:
            return False
        sizes = [size for size in shape if size > 1]
        return len(sizes) == 1 and output_shape[-1] == math.prod(sizes)
    is_first = layer.data_format == "channels_first"
    return is_first and 1 < output_shape[0] == output_shape[-1]


def swapped_bias_note(model: keras.Model, input_shape: Any = None) -> str:
    """Names the layers of a model whose bias is added along the wrong axis.

    Args:
        model: A functional model.
        input_shape: Shape of one sample, where the model leaves it open.

    Returns:
        One sentence without its full stop, or `""` where there is none.

    Example:

    >>> import keras
    >>> from keras_sda.graph import swapped_bias_note
    >>> x = keras.Input((8, 8, 3))
    >>> swapped_bias_note(keras.Model(x, keras.layers.Conv2D(8, 1)(x)))
    ''
    """
    if not any(_may_swap(layer) for layer in all_layers(model)):
        return ""
    if not _is_affected():
        return ""
    found = {
        call.name: call.output_shapes[0]
        for call in layer_calls(model, input_shape)
        if getattr(call.layer, "use_bias", True)
        and swaps_bias(call.layer, call.output_shapes[0])
    }
    if not found:
        return ""
    named = [f"{name!r} {shape}" for name, shape in found.items()]
    more = f" and {len(named) - 8} more" if len(named) > 8 else ""
    return (
        f"Keras {keras.__version__} on TensorFlow adds the bias of these layers along "
        "the width of their maps instead of along the channels, since both have one "
        f"size: {', '.join(named[:8])}{more}. Let them have another number of channels "
        "(another target, `round_to` or `exclude`), use_bias=False, or channels_last"
    )


def _may_swap(layer):
    return type(layer) in _CLASSES and (
        isinstance(layer, layers.EinsumDense) or layer.data_format == "channels_first"
    )


@functools.cache
def _is_affected():
    if keras.backend.backend() != "tensorflow":
        return False
    bias = ops.reshape(ops.convert_to_tensor([1.0, 2.0]), (1, 2, 1, 1))
    added = keras.ops.convert_to_numpy(ops.add(ops.zeros((1, 2, 1, 2)), bias))
    return bool(added[0, 0, 0, 1] != 1.0)
