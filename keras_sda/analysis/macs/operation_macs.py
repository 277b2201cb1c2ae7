"""Multiply-accumulates of `keras.ops` functions inside a functional graph."""

import math

import numpy as np

from keras_sda.analysis.macs.layer_macs import einsum_product
from keras_sda.graph import LayerCall


def _shape(call, name):
    """Shape of an argument, which may also be a variable or an array."""
    value = call.arguments[name]
    return tuple(value.shape) if hasattr(value, "shape") else np.shape(value)


def _num_outputs(call):
    return math.prod(call.batch_output_shapes[0])


def matmul(call: LayerCall) -> int:
    """Each output element is a dot product over the last axis of `x1`."""
    return _num_outputs(call) * _shape(call, "x1")[-1]


def dot(call: LayerCall) -> int:
    """As `matmul`; a product with a scalar is elementwise."""
    first, second = _shape(call, "x1"), _shape(call, "x2")
    return _num_outputs(call) * first[-1] if first and second else 0


def vdot(call: LayerCall) -> int:
    """One dot product of everything."""
    return math.prod(_shape(call, "x1"))


def tensordot(call: LayerCall) -> int:
    """Each output element is a dot product over the contracted axes."""
    axes, shape = call.layer.axes, _shape(call, "x1")
    if isinstance(axes, int):
        return _num_outputs(call) * math.prod(shape[len(shape) - axes :])
    first = [axes[0]] if isinstance(axes[0], int) else axes[0]
    return _num_outputs(call) * math.prod(shape[axis] for axis in first)


def einsum(call: LayerCall) -> int | None:
    """The product of all index sizes of the subscripts."""
    shapes = [
        tuple(x.shape) if hasattr(x, "shape") else np.shape(x)
        for x in call.arguments["operands"]
    ]
    return einsum_product(call.layer.subscripts, shapes)


def convolution(call: LayerCall) -> int:
    """The kernel is [*window, channels of a group, filters]."""
    return _num_outputs(call) * math.prod(_shape(call, "kernel")[:-1])


def depthwise_convolution(call: LayerCall) -> int:
    """The kernel is [*window, channels, multiplier]."""
    return _num_outputs(call) * math.prod(_shape(call, "kernel")[:-2])


def separable_convolution(call: LayerCall) -> int:
    """Both kernels are applied at every output position."""
    pointwise = _shape(call, "pointwise_kernel")
    positions = _num_outputs(call) // pointwise[-1]
    depthwise = math.prod(_shape(call, "depthwise_kernel"))
    return positions * (depthwise + math.prod(pointwise))


def transposed_convolution(call: LayerCall) -> int:
    """The kernel is [*window, filters, channels]."""
    return math.prod(_shape(call, "inputs")) * math.prod(_shape(call, "kernel")[:-1])


def dot_product_attention(call: LayerCall) -> int:
    """Query [B, T, N, H], key and value [B, S, K, H]: scores and weighted sum."""
    query, key, value = (_shape(call, name) for name in ("query", "key", "value"))
    return math.prod(query[:-1]) * key[1] * (query[-1] + value[-1])
