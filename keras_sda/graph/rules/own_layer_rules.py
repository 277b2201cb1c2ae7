"""Channel rules of the layers of this package."""

import numpy as np

from keras_sda.graph.rules.channel_call import CARRIES, READS, WRITES, ChannelCall
from keras_sda.graph.rules.gate_rules import RULES as GATE_RULES
from keras_sda.graph.rules.unit_table import Channels
from keras_sda.graph.rules.weighted_layer_rules import (
    channel_axis,
    convolution,
    dense,
    same_place,
)
from keras_sda.layers import (
    ConvolutionalBlockAttention2D,
    GroupedConv2D,
    PyramidalConv2D,
    PyramidSplitAttention2D,
    SelectiveDepthAttention,
    SelfGroupedConv2D,
    SelfGroupedDense,
    SqueezeExcite2D,
)


def selective_depth_attention(call: ChannelCall) -> Channels:
    """Couples the blocks it weighs: one weight per channel and block."""
    layer = call.layer
    axis = layer.channel_axis % len(call.input_shapes[0])
    units = call.units(0, axis)
    for position in range(1, len(call.inputs)):
        call.couple(units, call.units(position, axis))
    call.index(layer.squeeze.kernel, 0, units, READS)
    normalization = layer.squeeze_bn
    hidden = call.new_units(layer.width)
    call.index(layer.squeeze.kernel, 1, hidden, WRITES)
    call.index(normalization.gamma, 0, hidden, WRITES)
    call.index(normalization.beta, 0, hidden, WRITES)
    call.index(normalization.moving_mean, 0, hidden, CARRIES)
    call.index(normalization.moving_variance, 0, hidden, CARRIES)
    call.index(layer.expand.kernel, 0, hidden, READS)
    call.pin(hidden, "the squeezed units of depth attention are few")
    # Logits of removed channels weigh nothing that is left.
    logits = np.tile(units, layer.num_blocks)
    call.index(layer.expand.kernel, 1, logits, CARRIES)
    call.index(layer.expand.bias, 0, logits, CARRIES)
    # The width must not follow the smaller number of channels.
    call.configure("min_width", lambda kept: layer.width)
    return Channels(axis, units)


def squeeze_excite(call: ChannelCall) -> Channels:
    """Passes channels on; the bottleneck between them can narrow by itself."""
    layer = call.layer
    axis = layer.channel_axis % len(call.input_shapes[0])
    units = call.units(0, axis)
    hidden = call.new_units(layer.bottleneck_filters)
    call.index(layer.squeeze.kernel, 0, units, READS)
    call.index(layer.squeeze.kernel, 1, hidden, WRITES)
    call.index(layer.squeeze.bias, 0, hidden, WRITES)
    call.index(layer.excite.kernel, 0, hidden, READS)
    call.index(layer.excite.kernel, 1, units, CARRIES)
    call.index(layer.excite.bias, 0, units, CARRIES)
    call.configure("bottleneck_filters", lambda kept: kept.count(hidden))
    return Channels(axis, units)


def convolutional_block_attention(call: ChannelCall) -> list[Channels]:
    """Pins channels: spatial attention looks at all of them at once."""
    return same_place(
        call, "its spatial attention takes the mean and the maximum over channels"
    )


def pyramidal_convolution(call: ChannelCall) -> Channels:
    """Reads all channels in every level and makes new ones, level by level."""
    axis = call.layer.channel_axis % len(call.input_shapes[0])
    made = _levels(call, call.layer, call.units(0, axis))
    call.configure("filters", lambda kept: [kept.count(units) for units in made])
    return Channels(axis, np.concatenate(made))


def pyramid_split_attention(call: ChannelCall) -> Channels:
    """Makes new channels per branch, coupled by the softmax between branches."""
    layer = call.layer
    axis = layer.channel_axis % len(call.input_shapes[0])
    made = _levels(call, layer.pyramid, call.units(0, axis))
    # The softmax over the branches needs the same channels in all of them.
    for units in made[1:]:
        call.couple(made[0], units)
    for units, (squeeze, excite) in zip(made, layer.gates, strict=True):
        call.index(squeeze.kernel, 0, units, READS)
        call.index(excite.kernel, 1, units, CARRIES)
        call.index(excite.bias, 0, units, CARRIES)
    call.configure("filters", lambda kept: sum(kept.count(units) for units in made))
    # The gates keep their hidden units.
    call.configure("gate_units", lambda kept: layer.gates[0][0].units)
    return Channels(axis, np.concatenate(made[::-1]))


def _levels(call, pyramid, units):
    made = []
    for level in pyramid.levels:
        new = call.new_units(level.filters)
        reads = units
        if level.groups > 1:
            per_group = units.reshape(level.groups, -1).T
            call.tie(per_group)
            call.tie(new.reshape(level.groups, -1).T)
            reads = per_group[:, 0]
        call.index(level.kernel, -2, reads, READS)
        call.index(level.kernel, -1, new, WRITES)
        made.append(new)
    return made


def self_grouped(rule):
    """The mask and the labels follow the kernel of the layer that `rule` is for."""

    def with_mask(call: ChannelCall) -> Channels:
        layer = call.layer
        units = call.units(0, channel_axis(layer, len(call.input_shapes[0])))
        outputs = rule(call)
        call.index(layer.mask, 0, units, CARRIES)
        call.index(layer.mask, 1, outputs.units, CARRIES)
        call.index(layer.labels, 0, outputs.units, CARRIES)
        return outputs

    return with_mask


RULES = {
    **GATE_RULES,
    GroupedConv2D: convolution,
    SelfGroupedConv2D: self_grouped(convolution),
    SelfGroupedDense: self_grouped(dense),
    SelectiveDepthAttention: selective_depth_attention,
    SqueezeExcite2D: squeeze_excite,
    ConvolutionalBlockAttention2D: convolutional_block_attention,
    PyramidalConv2D: pyramidal_convolution,
    PyramidSplitAttention2D: pyramid_split_attention,
}
