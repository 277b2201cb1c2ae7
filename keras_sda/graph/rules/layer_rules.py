"""Channel rules of the Keras layers without weights."""

import numpy as np
from keras import layers

from keras_sda.graph.rules.channel_call import ChannelCall
from keras_sda.graph.rules.pointwise_activations import is_pointwise
from keras_sda.graph.rules.tensor_shapes import (
    after_reshape,
    combined,
    concatenated,
    counts_channels,
)
from keras_sda.graph.rules.unit_table import Channels


def unchanged(call: ChannelCall) -> list[Channels]:
    """Passes channels on: values change one by one, or only in training."""
    # One output per input, as an Identity over a list has.
    return list(call.inputs)[: len(call.output_shapes)]


def activation(call: ChannelCall) -> list[Channels]:
    """Passes channels on, unless the function may mix them, as softmax does."""
    if is_pointwise(call.layer.activation):
        return [call.inputs[0]]
    name = getattr(call.layer.activation, "__name__", str(call.layer.activation))
    return call.pinned_inputs(f"its activation {name!r} may work across channels")


def softmax(call: ChannelCall) -> list[Channels]:
    """Passes channels on, unless it runs over them: then every one is needed."""
    if len(call.inputs) > 1:  # a mask, which has to keep the shape of the input
        combined(call, range(len(call.inputs)))
    axes = call.layer.axis
    axes = [axes] if isinstance(axes, int) else list(axes)
    rank = len(call.input_shapes[0])
    if call.inputs[0].axis in [axis % rank for axis in axes]:
        return call.pinned_inputs("the softmax works across channels")
    return [call.inputs[0]]


def spatial(call: ChannelCall) -> Channels:
    """Works on positions: every channel on its own."""
    axis = call.channel_axis
    return Channels(axis, call.units(0, axis))


def zero_padding_2d(call: ChannelCall) -> Channels:
    """Pads positions, or channels where the layer was told the other data format."""
    layer, channels = call.layer, call.inputs[0]
    first = 2 if layer.data_format == "channels_first" else 1
    position = channels.axis - first
    if position not in (0, 1):
        return spatial(call)
    before, after = (call.new_units(count) for count in layer.padding[position])

    def padding(kept):
        padding = [tuple(pair) for pair in layer.padding]
        padding[position] = (kept.count(before), kept.count(after))
        return tuple(padding)

    output = Channels(channels.axis, np.concatenate([before, channels.units, after]))
    call.same_in_every_call(output)
    call.configure("padding", padding)
    return output


def global_pooling(call: ChannelCall) -> Channels:
    """Passes channels on; without `keepdims` they become the only axis."""
    axis = call.channel_axis
    units = call.units(0, axis)
    return Channels(axis if call.layer.keepdims else 1, units)


def merge(call: ChannelCall) -> Channels:
    """Couples channels at equal places: values that meet need each other."""
    return combined(call, range(len(call.inputs)))


def concatenate(call: ChannelCall) -> Channels:
    """Puts channels side by side, or couples them where positions are joined."""
    return concatenated(call, call.layer.axis)


def flatten(call: ChannelCall) -> Channels:
    """Spreads every channel over its positions, which all go with it."""
    channels = call.inputs[0]
    shape = call.input_shapes[0]
    if call.layer.data_format == "channels_first" and len(shape) > 2:
        shape = (shape[0], *shape[2:], shape[1])
        units = call.units(0, 1)
        channels = Channels(len(shape) - 1, units)
    return after_reshape(call, channels, shape, call.output_shapes[0])


def reshape(call: ChannelCall) -> Channels:
    """Passes channels on while they stay apart; a written-out size follows them."""
    output = after_reshape(
        call, call.inputs[0], call.input_shapes[0], call.output_shapes[0]
    )
    target = list(call.layer.get_config()["target_shape"])
    position = output.axis - 1
    if target and target[position] != -1:

        def target_shape(kept):
            shape = list(target)
            shape[position] = kept.count(output.units)
            return tuple(shape)

        call.same_in_every_call(output)
        call.configure("target_shape", target_shape)
    return output


def permute(call: ChannelCall) -> Channels:
    """Moves the channel axis; the channels stay as they are."""
    order = [0, *call.layer.dims]
    channels = call.inputs[0]
    return Channels(order.index(channels.axis), channels.units)


def repeat_vector(call: ChannelCall) -> Channels:
    """Passes channels on behind the new axis of repetitions."""
    return Channels(2, call.units(0, -1))


def rescaling(call: ChannelCall) -> list[Channels]:
    """Passes channels on, unless constants in the config belong to each of them."""
    layer = call.layer
    axis, rank = call.inputs[0].axis, len(call.input_shapes[0])
    if any(counts_channels(x, axis, rank) for x in (layer.scale, layer.offset)):
        return call.pinned_outputs("it scales every channel by a constant of its own")
    return [call.inputs[0]]


def normalization(call: ChannelCall) -> list[Channels]:
    """Pins channels: their mean and variance belong to the data, not to training."""
    return call.pinned_inputs("it normalises with statistics of the data")


def unit_normalization(call: ChannelCall) -> list[Channels]:
    """Pins channels: the norm is taken over several of them."""
    return call.pinned_inputs("it normalises across channels")


def _rules():
    rules = {}
    for names, rule in (
        (
            "ActivityRegularization AlphaDropout Dropout GaussianDropout "
            "GaussianNoise Identity LeakyReLU ReLU ELU SpatialDropout1D "
            "SpatialDropout2D SpatialDropout3D",
            unchanged,
        ),
        ("Activation", activation),
        ("Softmax", softmax),
        (
            "AveragePooling1D AveragePooling2D AveragePooling3D MaxPooling1D "
            "MaxPooling2D MaxPooling3D UpSampling2D UpSampling3D "
            "ZeroPadding3D Cropping2D Cropping3D Resizing CenterCrop UpSampling1D "
            "ZeroPadding1D Cropping1D AdaptiveAveragePooling1D "
            "AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D "
            "AdaptiveMaxPooling2D AdaptiveMaxPooling3D",
            spatial,
        ),
        (
            "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D "
            "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D",
            global_pooling,
        ),
        ("Add Average Maximum Minimum Multiply Subtract", merge),
        ("ZeroPadding2D", zero_padding_2d),
        ("Concatenate", concatenate),
        ("Flatten", flatten),
        ("Reshape", reshape),
        ("Permute", permute),
        ("RepeatVector", repeat_vector),
        ("Rescaling", rescaling),
        ("Normalization", normalization),
        ("UnitNormalization", unit_normalization),
    ):
        for name in names.split():
            rules[getattr(layers, name)] = rule
    return rules


RULES = _rules()

_HUB = "keras_hub.src.models"
# Layers that nobody exports, or of libraries that need not be installed.
RULES_BY_NAME = {
    "keras.applications.convnext.StochasticDepth": unchanged,
    "keras.applications.inception_resnet_v2.CustomScaleLayer": merge,
    f"{_HUB}.mit.mit_layers.DropPath": unchanged,
    f"{_HUB}.hgnetv2.hgnetv2_layers.HGNetV2LearnableAffineBlock": unchanged,
}
