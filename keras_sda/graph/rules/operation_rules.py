"""Channel rules of `keras.ops` functions, by the name of the operation class."""

import keras
import numpy as np

from keras_sda.graph.rules.channel_call import ChannelCall
from keras_sda.graph.rules.tensor_shapes import (
    after_reduction,
    after_reshape,
    combined,
    concatenated,
)
from keras_sda.graph.rules.unit_table import Channels

_POINTWISE = (
    "Absolute Abs Arctan Cast Ceil Celu Clip Cos Elu Erf Exp Expm1 Floor Gelu "
    "HardShrink HardSigmoid HardSilu HardTanh LeakyRelu Log1p LogSigmoid Mish "
    "Negative NanToNum Relu Relu6 Round Selu Sigmoid Sign Silu Sin "
    "SoftShrink Softplus Softsign SparsePlus SparseSigmoid Sqrt Square Squareplus "
    "StopGradient Copy ConvertToTensor Tanh TanhShrink Threshold ZerosLike OnesLike"
)
_COMBINING = (
    "Add Subtract Multiply Maximum Minimum SquaredDifference "
    "Greater GreaterEqual Less LessEqual Equal NotEqual LogicalAnd LogicalOr Where"
)
_REDUCING = "Mean Sum Max Min Amax Amin Prod Var Std Any All"


def pointwise(call: ChannelCall) -> Channels:
    """Passes channels on: every value is computed from one value."""
    return call.inputs[0]


def combining(call: ChannelCall) -> list[Channels]:
    """Couples channels that meet. `follow_settings` looks at constants."""
    return [combined(call, range(len(call.inputs)))]


def undefined_at_zero(call: ChannelCall) -> list[Channels]:
    """Pins channels: closing one, by a zero, would give no finite number."""
    # A masked channel is zero: it would become infinite, and 0 * inf is NaN.
    return call.pinned_inputs("it is not defined for channels that are zero")


def divide(call: ChannelCall) -> list[Channels]:
    """Couples like `combining`; channels of the divisor must not become zero."""
    divisor = call.args[1] if len(call.args) > 1 else call.kwargs.get("x2")
    if isinstance(divisor, keras.KerasTensor):
        reason = "it divides by these channels, which are zero once masked"
        call.pin(call.inputs[-1].units, reason)
    return combining(call)


def power(call: ChannelCall) -> list[Channels]:
    """Passes channels on for exponents under which a zero stays zero."""
    exponent = call.args[1] if len(call.args) > 1 else None
    if isinstance(exponent, (int, float)) and exponent > 0:
        return [call.inputs[0]]
    return call.pinned_outputs("only positive exponents keep zeros finite")


def reducing(call: ChannelCall) -> Channels:
    """Passes channels on, unless the reduction runs over them."""
    return after_reduction(call, call.layer.axis, call.layer.keepdims)


def softmax(call: ChannelCall) -> list[Channels]:
    """Passes channels on, unless it runs over them: then every one is needed."""
    axes = call.layer.axis
    rank = len(call.input_shapes[0])
    axes = range(rank) if axes is None else np.atleast_1d(axes)
    if call.inputs[0].axis in [int(axis) % rank for axis in axes]:
        return call.pinned_inputs("the softmax works across channels")
    return [call.inputs[0]]


def concatenate(call: ChannelCall) -> Channels:
    """Puts channels side by side, or couples them where positions are joined."""
    return concatenated(call, call.layer.axis)


def reshape(call: ChannelCall) -> Channels:
    """Passes channels on while they stay apart; a fixed size in the call follows."""
    output = after_reshape(
        call, call.inputs[0], call.input_shapes[0], call.output_shapes[0]
    )
    new_shape = tuple(call.layer.newshape)
    if not all(isinstance(size, int) for size in new_shape):
        return call.pinned_outputs("its shape is computed")[0]
    if new_shape[output.axis] != -1:

        def rewrite(kept, operation, args, kwargs):
            shape = list(new_shape)
            shape[output.axis] = kept.count(output.units)
            return keras.ops.reshape(args[0], tuple(shape))

        call.rewrite(rewrite)
    return output


def transpose(call: ChannelCall) -> Channels:
    """Moves the channel axis; the channels stay as they are."""
    rank = len(call.input_shapes[0])
    axes = call.layer.axes or range(rank)[::-1]
    axes = [axis % rank for axis in axes]
    channels = call.inputs[0]
    return Channels(axes.index(channels.axis), channels.units)


def expand_dims(call: ChannelCall) -> Channels:
    """Passes channels on; new axes before theirs move it."""
    rank = len(call.output_shapes[0])
    channels = call.inputs[0]
    axis = channels.axis
    for new in sorted(int(a) % rank for a in np.atleast_1d(call.layer.axis)):
        axis += new <= axis
    return Channels(axis, channels.units)


def squeeze(call: ChannelCall) -> list[Channels]:
    """Passes channels on, unless the dropped axis is theirs."""
    shape = call.input_shapes[0]
    axes = call.layer.axis
    if axes is None:
        axes = [axis for axis, size in enumerate(shape) if size == 1]
    axes = [int(axis) % len(shape) for axis in np.atleast_1d(axes)]
    channels = call.inputs[0]
    if channels.axis in axes:
        return call.pinned_outputs("it drops the channel axis")
    shift = sum(axis < channels.axis for axis in axes)
    return [Channels(channels.axis - shift, channels.units)]


def split(call: ChannelCall) -> list[Channels]:
    """Deals channels out to the parts, whose sizes are then counted anew."""
    channels = call.inputs[0]
    rank = len(call.input_shapes[0])
    axis = call.layer.axis % rank
    if channels.axis != axis:
        return [channels] * len(call.output_shapes)
    ends = np.cumsum([shape[axis] for shape in call.output_shapes])
    parts = np.split(channels.units, ends[:-1])
    for part in parts:
        call.keep_some(part)

    def rewrite(kept, operation, args, kwargs):
        # The parts need not be equal any more.
        sizes = np.cumsum([kept.count(part) for part in parts])[:-1]
        return keras.ops.split(args[0], [int(size) for size in sizes], axis=axis)

    call.rewrite(rewrite)
    return [Channels(axis, part) for part in parts]


def get_item(call: ChannelCall) -> list[Channels]:
    """Passes the channels of a slice, whose bounds then follow what stays."""
    channels = call.inputs[0]
    shape = call.input_shapes[0]
    key = call.args[1] if len(call.args) > 1 else call.kwargs.get("key")
    keys = list(key) if isinstance(key, tuple) else [key]
    if not all(k is Ellipsis or isinstance(k, (slice, int)) for k in keys):
        return call.pinned_outputs("it picks values by an index that is no slice")
    if Ellipsis in keys:
        position = keys.index(Ellipsis)
        missing = len(shape) - len(keys) + 1
        keys[position : position + 1] = [slice(None)] * missing
    keys += [slice(None)] * (len(shape) - len(keys))
    mine = keys[channels.axis]
    if isinstance(mine, int):
        return call.pinned_outputs("it picks a single channel")
    axis = channels.axis - sum(isinstance(k, int) for k in keys[: channels.axis])
    positions = np.arange(len(channels.units))[mine]
    if mine != slice(None):
        call.keep_some(channels.units[positions])

        def rewrite(kept, operation, args, kwargs):
            # Where the channels of the slice are now.
            mask = kept.mask(channels.units)
            places = np.cumsum(mask) - 1
            chosen = places[[p for p in positions if mask[p]]]
            new = list(keys)
            if len(chosen) and np.all(np.diff(chosen) == 1):
                new[channels.axis] = slice(int(chosen[0]), int(chosen[-1]) + 1)
                return args[0][tuple(new)]
            result = keras.ops.take(args[0], chosen, axis=channels.axis)
            new[channels.axis] = slice(None)
            return result[tuple(new)] if new != [slice(None)] * len(new) else result

        call.rewrite(rewrite)
    return [Channels(axis, channels.units[positions])]


def pad(call: ChannelCall) -> list[Channels]:
    """Passes channels on where only positions are padded; else pins them."""
    width = np.asarray(call.layer.pad_width)
    channels = call.inputs[0]
    rank = len(call.input_shapes[0])
    width = np.broadcast_to(width, (rank, 2))
    if width[channels.axis].any():
        return call.pinned_outputs("it pads the channels")
    return [channels]


def pooling(call: ChannelCall) -> list[Channels]:
    """Passes channels on: every one is pooled by itself."""
    data_format = call.layer.data_format or keras.config.image_data_format()
    axis = 1 if data_format == "channels_first" else len(call.input_shapes[0]) - 1
    return [Channels(axis, call.units(0, axis))]


def _rules():
    rules = {}
    for names, rule in (
        (_POINTWISE, pointwise),
        (_COMBINING, combining),
        ("Log Log2 Log10 Reciprocal Rsqrt", undefined_at_zero),
        ("Divide TrueDivide", divide),
        ("Power", power),
        (_REDUCING, reducing),
        ("Softmax LogSoftmax", softmax),
        ("Concatenate", concatenate),
        ("Reshape", reshape),
        ("Transpose", transpose),
        ("ExpandDims", expand_dims),
        ("Squeeze", squeeze),
        ("Split", split),
        ("GetItem", get_item),
        ("Pad", pad),
        ("AveragePool MaxPool", pooling),
    ):
        rules.update(dict.fromkeys(names.split(), rule))
    return rules


RULES = _rules()
