"""Channel rules of `keras.ops` functions that move, repeat and resize values."""

import keras
import numpy as np

from keras_sda.graph.rules.channel_call import ChannelCall
from keras_sda.graph.rules.unit_table import Channels


def resize(call: ChannelCall) -> list[Channels]:
    """Passes channels on: every one is interpolated by itself."""
    layer = call.layer
    rank = len(call.input_shapes[0])
    data_format = getattr(layer, "data_format", None)
    data_format = data_format or keras.config.image_data_format()
    if rank != 4:
        return call.pinned_outputs("it takes the samples for rows of one image")
    axis = 1 if data_format == "channels_first" else rank - 1
    return [Channels(axis, call.units(0, axis))]


def repeat(call: ChannelCall) -> list[Channels]:
    """Passes channels on; along their axis each may occur several times."""
    channels = call.inputs[0]
    axis, repeats = call.layer.axis, call.layer.repeats
    if axis is None:
        return call.pinned_outputs("it flattens its input")
    if axis % len(call.input_shapes[0]) != channels.axis:
        return [channels]
    if isinstance(repeats, keras.KerasTensor):
        return call.pinned_outputs("how often it repeats channels is computed")
    counts = np.broadcast_to(np.asarray(repeats).reshape(-1), channels.units.shape)
    made = np.repeat(channels.units, counts)
    if len(np.atleast_1d(repeats)) > 1:
        # The list of repetitions has an entry for every channel.
        call.keep_some(made)

        def rewrite(kept, operation, args, kwargs):
            mine = [int(count) for count in counts[kept.mask(channels.units)]]
            return keras.ops.repeat(args[0], mine, axis=channels.axis)

        call.rewrite(rewrite)
    return [Channels(channels.axis, made)]


def tile(call: ChannelCall) -> list[Channels]:
    """Passes channels on; along their axis the whole row may occur several times."""
    channels = call.inputs[0]
    rank = len(call.input_shapes[0])
    repeats = [int(n) for n in np.atleast_1d(call.layer.repeats)]
    if len(repeats) > rank:
        return call.pinned_outputs("it adds axes before the first")
    repeats = [1] * (rank - len(repeats)) + repeats
    return [Channels(channels.axis, np.tile(channels.units, repeats[channels.axis]))]


def roll(call: ChannelCall) -> list[Channels]:
    """Passes channels on; along their axis they change places."""
    channels = call.inputs[0]
    rank = len(call.input_shapes[0])
    axes, shifts = call.layer.axis, call.layer.shift
    if axes is None:
        return call.pinned_outputs("it flattens its input")
    if isinstance(shifts, keras.KerasTensor):
        return call.pinned_outputs("how far it moves channels is computed")
    axes, shifts = np.broadcast_arrays(np.atleast_1d(axes), np.atleast_1d(shifts))
    axes = axes % rank
    shift = int(shifts[axes == channels.axis].sum())
    order = np.roll(np.arange(len(channels.units)), shift)
    pairs = [(int(a), int(n)) for a, n in zip(axes, shifts, strict=True)]
    others = [(axis, number) for axis, number in pairs if axis != channels.axis]
    if shift % max(len(order), 1):

        def rewrite(kept, operation, args, kwargs):
            result = _taken(args[0], channels, order, kept)
            for axis, number in others:
                result = keras.ops.roll(result, number, axis)
            return result

        call.rewrite(rewrite)
    return [Channels(channels.axis, channels.units[order])]


def _taken(x, channels, order, kept):
    """Those channels of `order` that stay, where they are now."""
    mask = kept.mask(channels.units)
    places = np.cumsum(mask) - 1
    chosen = [int(places[position]) for position in order if mask[position]]
    return keras.ops.take(x, chosen, axis=channels.axis)


def flip(call: ChannelCall) -> list[Channels]:
    """Passes channels on, in reverse where it runs along their axis."""
    channels = call.inputs[0]
    axes = call.layer.axis
    rank = len(call.input_shapes[0])
    axes = range(rank) if axes is None else np.atleast_1d(axes)
    if channels.axis in [int(axis) % rank for axis in axes]:
        return [Channels(channels.axis, channels.units[::-1])]
    return [channels]


def take(call: ChannelCall) -> list[Channels]:
    """Passes channels on; along their axis the chosen ones."""
    channels = call.inputs[0]
    rank = len(call.input_shapes[0])
    values = dict(zip(("x", "indices", "axis"), call.args, strict=False))
    indices = {**values, **call.kwargs}.get("indices")
    axis = call.layer.axis
    if axis is None:
        return call.pinned_outputs("it flattens its input")
    axis %= rank
    if isinstance(indices, keras.KerasTensor) or len(call.inputs) > 1:
        return call.pinned_outputs("which values it takes is computed")
    if axis != channels.axis:
        shift = np.ndim(indices) - 1 if axis < channels.axis else 0
        return [Channels(channels.axis + shift, channels.units)]
    if np.ndim(indices) != 1:
        return call.pinned_outputs("it arranges channels along several axes")
    count = len(channels.units)
    order = np.asarray(indices)
    if len(order) and (order.min() < -count or order.max() >= count):
        return call.pinned_outputs("it takes channels that do not exist")
    order = order % count
    call.keep_some(channels.units[order])
    call.rewrite(lambda kept, _, args, kwargs: _taken(args[0], channels, order, kept))
    return [Channels(channels.axis, channels.units[order])]


def stack(call: ChannelCall) -> list[Channels]:
    """Couples channels at equal places; the new axis may move theirs."""
    rank = len(call.output_shapes[0])
    axis = call.layer.axis % rank
    tensors = call.args[0] if call.args else call.kwargs["x"]
    if len(call.inputs) < len(tensors):
        return call.pinned_outputs("it joins its input with an array of constants")
    if len({channels.axis for channels in call.inputs}) > 1:
        return call.pinned_outputs("it joins tensors with different channel axes")
    first = call.inputs[0]
    for other in call.inputs[1:]:
        call.couple(first.units, other.units)
    return [Channels(first.axis + (axis <= first.axis), first.units)]


def unstack(call: ChannelCall) -> list[Channels]:
    """Passes channels on to every part, unless each part is one of them."""
    rank = len(call.input_shapes[0])
    axis = call.layer.axis % rank
    channels = call.inputs[0]
    if axis == channels.axis:
        return call.pinned_outputs("it takes channels apart one by one")
    part = Channels(channels.axis - (axis < channels.axis), channels.units)
    return [part] * len(call.output_shapes)


def move_axis(call: ChannelCall) -> list[Channels]:
    """Moves the channel axis; the channels stay as they are."""
    # An array whose sizes are the numbers of its axes; it holds no values.
    numbered = np.empty(range(len(call.input_shapes[0])))
    order = np.moveaxis(numbered, call.layer.source, call.layer.destination).shape
    channels = call.inputs[0]
    return [Channels(order.index(channels.axis), channels.units)]


def swap_axes(call: ChannelCall) -> list[Channels]:
    """Moves the channel axis; the channels stay as they are."""
    rank = len(call.input_shapes[0])
    one, other = call.layer.axis1 % rank, call.layer.axis2 % rank
    channels = call.inputs[0]
    axis = {one: other, other: one}.get(channels.axis, channels.axis)
    return [Channels(axis, channels.units)]


def rot90(call: ChannelCall) -> list[Channels]:
    """Passes channels on where other axes are turned."""
    rank = len(call.input_shapes[0])
    channels = call.inputs[0]
    if channels.axis in [axis % rank for axis in call.layer.axes]:
        return call.pinned_outputs("it turns the channel axis")
    return [channels]


def depth_to_space(call: ChannelCall) -> list[Channels]:
    """Ties the channels that become neighbouring positions of one channel."""
    axis, size = _blocks(call)
    units = call.units(0, axis).reshape(size, -1).T
    call.tie(units)
    return [Channels(axis, units[:, 0])]


def space_to_depth(call: ChannelCall) -> list[Channels]:
    """Passes channels on, one copy for every position of a block."""
    axis, size = _blocks(call)
    return [Channels(axis, np.tile(call.units(0, axis), size))]


def _blocks(call):
    rank = len(call.input_shapes[0])
    axis = 1 if call.layer.data_format == "channels_first" else rank - 1
    return axis, call.layer.block_size**2


def _rules():
    rules = {}
    for names, rule in (
        ("Resize", resize),
        ("Repeat", repeat),
        ("Tile", tile),
        ("Roll", roll),
        ("Flip", flip),
        ("Take", take),
        ("Stack", stack),
        ("Unstack", unstack),
        ("Moveaxis", move_axis),
        ("Swapaxes", swap_axes),
        ("Rot90", rot90),
        ("DepthToSpace", depth_to_space),
        ("SpaceToDepth", space_to_depth),
        ("PadImages CropImages GaussianBlur", resize),
    ):
        rules.update(dict.fromkeys(names.split(), rule))
    return rules


RULES = _rules()
