"""Which layers leave a channel of zeros zero."""

import functools
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_sda.graph import full_name
from keras_sda.graph.rules.channel_rules import own_rule, zeros_kept
from keras_sda.graph.rules.pointwise_activations import is_pointwise

_LAYERS = (
    "ActivityRegularization Dropout GaussianDropout Identity SpatialDropout1D "
    "SpatialDropout2D SpatialDropout3D AveragePooling1D AveragePooling2D "
    "AveragePooling3D MaxPooling1D MaxPooling2D MaxPooling3D UpSampling1D UpSampling2D "
    "UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D "
    "Cropping3D Resizing CenterCrop AdaptiveAveragePooling1D AdaptiveAveragePooling2D "
    "AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D "
    "AdaptiveMaxPooling3D GlobalAveragePooling1D GlobalAveragePooling2D "
    "GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D "
    "Add Average Maximum Minimum Subtract Concatenate Flatten Reshape Permute "
    "RepeatVector PReLU"
)
_OPERATIONS = frozenset(
    "Concatenate Reshape Transpose ExpandDims Squeeze Split GetItem AveragePool "
    "MaxPool Mean Sum Max Min Amax Amin Cast Copy StopGradient ConvertToTensor Resize "
    "Repeat Tile Roll Flip Take Stack Unstack Moveaxis Swapaxes Rot90 DepthToSpace "
    "SpaceToDepth PadImages CropImages GaussianBlur".split()
)
# Of two tensors: zero where both are. With a number they are something else.
_COMBINING = frozenset("Add Subtract Maximum Minimum".split())
_NOT_EXPORTED = frozenset(
    (
        "keras.applications.convnext.StochasticDepth",
        "keras.applications.convnext.LayerScale",
        "keras.applications.inception_resnet_v2.CustomScaleLayer",
    )
)
_OF_ONE_LAYER = (layers.ReLU, layers.LeakyReLU, layers.ELU)


@functools.cache
def _classes():
    found = {getattr(layers, name) for name in _LAYERS.split()}
    return found


def keeps_zeros(node: Any) -> str:
    """Says when a channel is zero behind a layer.

    Use it to find out how far a closed gate reaches. What a user has registered comes
    first, then the attribute `keeps_zeros` of the layer, then what is known of Keras.

    Args:
        node: A `keras_sda.graph.GraphNode`.

    Returns:
        `"all"`: when it is zero in all inputs that hold it. `"any"`: when it is zero
        in one of them. `""`: never, or nobody knows.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ModelGraph
    >>> from keras_sda.search.surgery.keeps_zeros import keeps_zeros
    >>> x = y = keras.Input((4,))
    >>> for name in ("relu", "sigmoid"):
    ...     y = keras.layers.Activation(name)(y)
    >>> [keeps_zeros(node) for node in ModelGraph(keras.Model(x, y)).nodes[1:]]
    ['all', '']
    """
    layer = node.layer
    own = own_rule(layer, "keeps_zeros")
    if own is not None:
        own = own() if callable(own) else own
        kept = zeros_kept(own, f"`keeps_zeros` of layer {layer.name!r}")
        return "" if kept == "all" and _has_constants(node) else kept
    full = full_name(type(layer))
    if isinstance(layer, keras.layers.Layer):
        if type(layer) is layers.Multiply:
            return "any"
        if getattr(layer, "fill_value", 0):
            return ""  # It pads with something else.
        if type(layer) in _classes() or full in _NOT_EXPORTED:
            return "" if _has_constants(node) else "all"
        if type(layer) is layers.Rescaling:
            return "all" if not np.any(layer.offset) else ""
        if type(layer) is layers.Activation:
            return "all" if _is_zero_at_zero(layer.activation) else ""
        if type(layer) in _OF_ONE_LAYER:
            return "all" if _is_zero_at_zero(layer) else ""
        return ""
    name = type(layer).__name__
    if not full.startswith("keras.ops."):
        return ""
    if name == "Multiply":
        return "any"
    if name in _OPERATIONS:
        return "" if getattr(layer, "fill_value", 0) else "all"
    if name in _COMBINING:
        return "all" if len(node.inputs) == 2 else ""
    if name == "Pad":
        return "all" if layer.mode == "constant" and _pads_zeros(node) else ""
    if name in ("Divide", "TrueDivide"):
        is_first = node.args and isinstance(node.args[0], keras.KerasTensor)
        return "all" if is_first and len(node.inputs) == 1 else ""
    if len(node.inputs) == 1 and is_pointwise_operation(layer):
        return "all" if _is_zero_at_zero(layer.call) else ""
    return ""


def is_pointwise_operation(layer: Any) -> bool:
    """Whether an operation of `keras.ops` changes every value on its own."""
    from keras_sda.graph.rules.channel_rules import find_rule
    from keras_sda.graph.rules.operation_rules import pointwise

    return find_rule(layer) is pointwise


def _has_constants(node):
    """Whether a layer gets an array among its tensors, which need not be zero."""
    values = keras.tree.flatten((node.args, node.kwargs))
    return any(
        len(getattr(value, "shape", ())) > 0
        for value in values
        if not isinstance(value, keras.KerasTensor)
    )


def _pads_zeros(node):
    values = [*node.args[3:], node.kwargs.get("constant_values")]
    return all(value is None or not np.any(value) for value in values)


def _is_zero_at_zero(function):
    if isinstance(function, keras.layers.Layer) or is_pointwise(function):
        try:
            value = function(keras.ops.zeros((1, 1)))
        except (TypeError, ValueError):
            return False
        return not np.any(keras.ops.convert_to_numpy(value))
    return _operation_is_zero(function)


def _operation_is_zero(function):
    if getattr(function, "__name__", "") != "call":
        return False
    try:
        return not np.any(keras.ops.convert_to_numpy(function(keras.ops.zeros((1, 1)))))
    except (TypeError, ValueError):
        return False
