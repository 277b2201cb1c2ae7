"""Channel rules of the Keras layers that have weights."""

import numpy as np
from keras import layers

from keras_sda.graph.rules.channel_call import CARRIES, READS, WRITES, ChannelCall
from keras_sda.graph.rules.pointwise_activations import is_pointwise
from keras_sda.graph.rules.unit_table import Channels


def check_activation(call: ChannelCall, units: np.ndarray, activation=None) -> None:
    """Pins channels that an activation mixes, as softmax does."""
    activation = activation or getattr(call.layer, "activation", None)
    if not is_pointwise(activation):
        name = getattr(activation, "__name__", str(activation))
        call.pin(units, f"its activation {name!r} may work across channels")


def convolution(call: ChannelCall) -> Channels:
    """Reads channels and makes new ones; groups have to keep equal numbers."""
    layer = call.layer
    axis = call.channel_axis
    units = call.units(0, axis)
    if getattr(layer, "lora_enabled", False) or layer.kernel is None:
        return call.pinned_outputs("its kernel is not a plain weight (LoRA)")[0]
    groups = layer.groups
    if groups == 1:
        made = call.new_units(layer.filters)
        call.index(layer.kernel, -2, units, READS)
    elif groups == len(units):
        # One input channel a group: a depthwise convolution by another name.
        made = np.repeat(units, layer.filters // groups)
        call.configure("groups", lambda kept: kept.count(units))
    else:
        # Every group keeps the same number of channels.
        per_group = units.reshape(groups, -1).T
        call.tie(per_group)
        made = call.new_units(layer.filters)
        call.tie(made.reshape(groups, -1).T)
        call.index(layer.kernel, -2, per_group[:, 0], READS)
    call.index(layer.kernel, -1, made, WRITES)
    _bias(call, made)
    call.configure("filters", lambda kept: kept.count(made))
    check_activation(call, made)
    return Channels(axis, made)


def _bias(call, units):
    if call.layer.use_bias:
        call.index(call.layer.bias, 0, units, WRITES)


def depthwise(call: ChannelCall) -> Channels:
    """Passes channels on, each with its own filters, which go with it."""
    layer = call.layer
    axis = call.channel_axis
    units = call.units(0, axis)
    made = np.repeat(units, layer.depth_multiplier)
    call.index(layer.kernel, -2, units, WRITES)
    _bias(call, made)
    check_activation(call, made)
    return Channels(axis, made)


def separable(call: ChannelCall) -> Channels:
    """Reads channels, each by filters of its own, and makes new ones."""
    layer = call.layer
    axis = call.channel_axis
    units = call.units(0, axis)
    made = call.new_units(layer.filters)
    call.index(layer.depthwise_kernel, -2, units, READS)
    between = np.repeat(units, layer.depth_multiplier)
    call.index(layer.pointwise_kernel, -2, between, READS)
    call.index(layer.pointwise_kernel, -1, made, WRITES)
    _bias(call, made)
    call.configure("filters", lambda kept: kept.count(made))
    check_activation(call, made)
    return Channels(axis, made)


def transposed(call: ChannelCall) -> Channels:
    """Like `convolution`, but its kernel holds the new channels before those read."""
    layer = call.layer
    axis = call.channel_axis
    units = call.units(0, axis)
    made = call.new_units(layer.filters)
    call.index(layer.kernel, -1, units, READS)
    call.index(layer.kernel, -2, made, WRITES)
    _bias(call, made)
    call.configure("filters", lambda kept: kept.count(made))
    check_activation(call, made)
    return Channels(axis, made)


def dense(call: ChannelCall) -> Channels:
    """Reads the last axis and makes new channels there."""
    layer = call.layer
    units = call.units(0, -1)
    rank = len(call.input_shapes[0])
    if getattr(layer, "lora_enabled", False) or getattr(
        layer, "quantization_mode", None
    ):
        return call.pinned_outputs("its kernel is quantized or has LoRA")[0]
    made = call.new_units(layer.units)
    call.index(layer.kernel, 0, units, READS)
    call.index(layer.kernel, 1, made, WRITES)
    _bias(call, made)
    call.configure("units", lambda kept: kept.count(made))
    check_activation(call, made)
    return Channels(rank - 1, made)


def einsum_dense(call: ChannelCall) -> list[Channels]:
    """Like `dense` where the equation is one over the last axis; else pinned."""
    layer = call.layer
    inputs, rest = layer.equation.replace(" ", "").split(",")
    kernel, outputs = rest.split("->")
    is_dense = (
        len(kernel) == 2
        and inputs[-1] == kernel[0]
        and outputs[-1] == kernel[1]
        and inputs[:-1] == outputs[:-1]
        and kernel[0] not in outputs
        and (layer.bias is None or len(layer.bias.shape) == 1)
        and not getattr(layer, "lora_enabled", False)
        and not getattr(layer, "quantization_mode", None)
    )
    if not is_dense:
        return call.pinned_outputs(
            f"its equation {layer.equation!r} is no plain dense layer over the last "
            "axis"
        )
    units = call.units(0, -1)
    made = call.new_units(layer.kernel.shape[1])
    call.index(layer.kernel, 0, units, READS)
    call.index(layer.kernel, 1, made, WRITES)
    if layer.bias is not None:
        call.index(layer.bias, 0, made, WRITES)
    old = layer.get_config()["output_shape"]

    def output_shape(kept):
        if isinstance(old, int):
            return kept.count(made)
        return (*old[:-1], kept.count(made))

    call.configure("output_shape", output_shape)
    check_activation(call, made)
    return [Channels(len(call.output_shapes[0]) - 1, made)]


def batch_normalization(call: ChannelCall) -> list[Channels]:
    """Passes channels on: scale, offset and statistics are one per channel."""
    layer = call.layer
    if not isinstance(layer.axis, int):
        return call.pinned_outputs("it normalises several axes")
    axis = layer.axis % len(call.input_shapes[0])
    units = call.units(0, axis)
    call.index(layer.gamma, 0, units, WRITES)
    call.index(layer.beta, 0, units, WRITES)
    for variable in layer.weights:  # moving statistics
        if variable is not layer.gamma and variable is not layer.beta:
            if tuple(variable.shape) == (len(units),):
                call.index(variable, 0, units, CARRIES)
    return [Channels(axis, units)]


def layer_normalization(call: ChannelCall) -> list[Channels]:
    """Pins channels: the statistics are taken over all of them."""
    axes = call.layer.axis
    axes = [axes] if isinstance(axes, int) else list(axes)
    rank = len(call.input_shapes[0])
    if call.inputs[0].axis in [axis % rank for axis in axes]:
        return _across(call)
    return call.pinned_outputs("its weights follow other axes than the channels")


def group_normalization(call: ChannelCall) -> list[Channels]:
    """Passes channels on where each is a group of its own; else pins them."""
    layer = call.layer
    axis = layer.axis % len(call.input_shapes[0])
    units = call.units(0, axis)
    if layer.groups not in (-1, len(units)):
        return _across(call)
    call.index(layer.gamma if layer.scale else None, 0, units, WRITES)
    call.index(layer.beta if layer.center else None, 0, units, WRITES)
    # build() has replaced -1 by the number of channels.
    call.same_in_every_call(Channels(axis, units))
    call.configure("groups", lambda kept: kept.count(units))
    return [Channels(axis, units)]


def _across(call):
    return call.pinned_inputs(
        "it normalises across channels: removing one would change the others"
    )


def prelu(call: ChannelCall) -> list[Channels]:
    """Passes channels on, and their slopes with them."""
    layer = call.layer
    channels = call.inputs[0]
    size = layer.alpha.shape[channels.axis - 1]
    if size == len(channels.units) and size > 1:
        call.index(layer.alpha, channels.axis - 1, channels.units, WRITES)
    elif size != 1:
        return call.pinned_outputs("its slopes do not lie along the channels")
    return [channels]


def layer_scale(call: ChannelCall) -> list[Channels]:
    """Passes channels on, and their factors with them."""
    layer = call.layer
    units = call.units(0, -1)
    call.index(layer.gamma, 0, units, WRITES)
    call.configure("projection_dim", lambda kept: kept.count(units))
    return [Channels(len(call.input_shapes[0]) - 1, units)]


def _rules():
    rules = {}
    for names, rule in (
        (("Conv1D", "Conv2D", "Conv3D"), convolution),
        (("DepthwiseConv1D", "DepthwiseConv2D"), depthwise),
        (("SeparableConv1D", "SeparableConv2D"), separable),
        (("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), transposed),
        (("Dense",), dense),
        (("EinsumDense",), einsum_dense),
        (("BatchNormalization",), batch_normalization),
        (("LayerNormalization", "RMSNormalization"), layer_normalization),
        (("GroupNormalization",), group_normalization),
        (("PReLU",), prelu),
    ):
        for name in names:
            rules[getattr(layers, name)] = rule
    return rules


RULES = _rules()

RULES_BY_NAME = {"keras.applications.convnext.LayerScale": layer_scale}
