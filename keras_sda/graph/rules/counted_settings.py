"""Settings and constants that hold one entry per channel: cut, or the channels stay."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_sda.graph.rules.channel_call import ChannelCall
from keras_sda.graph.rules.tensor_shapes import counts_channels
from keras_sda.graph.rules.unit_table import Channels

# Entries that are about positions and axes, that the rules know, or that are layers.
OF_POSITIONS = frozenset(
    "activation attention_axes axes axis axis1 axis2 backward_layer bias_axes cell "
    "cropping data_format destination dilation_rate dims dtype forward_layer indices "
    "indices_or_sections k kernel_size key layer newshape noise_shape output_padding "
    "output_shape output_size pad_width padding pool_size repeats shape shared_axes "
    "shift size source strides target_shape".split()
)
# Settings of operations that meet the values of a tensor, position by position.
OF_VALUES = frozenset(
    "alpha b default_value initial nan negative_slope neginf posinf threshold x_max "
    "x_min".split()
)
# What the functions of Keras hold that may be an array, aligned with the weight.
_ARRAYS = {
    keras.initializers.Constant: ("value",),
    keras.constraints.MaxNorm: ("max_value",),
    keras.constraints.MinMaxNorm: ("min_value", "max_value", "rate"),
}
_KINDS = {
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
}
_WEIGHTS = {
    "depthwise": ("depthwise_kernel", "kernel"),
    "pointwise": ("pointwise_kernel",),
    "recurrent": ("recurrent_kernel",),
}
_CONSTANTS = "it combines its input with an array of constants"


def follow_settings(
    call: ChannelCall, outputs: list[Channels], is_stock: bool
) -> list[Channels]:
    """Looks for entries per channel that the rule of a layer does not speak of.

    Use it after the rule. What is known is cut with the channels: the noise shape of
    a dropout, constants of initializers, bounds of constraints. Channels that any
    other array counts stay, for the reason that names it.

    Args:
        call: The call, whose rule has been asked.
        outputs: What the rule returned.
        is_stock: Whether all settings and arguments are looked at, as for layers of
            Keras, whose settings are known; else only initializers, regularizers and
            constraints.

    Returns:
        The outputs, pinned where a constant counts their channels.
    """
    if is_stock and _meets_constants(call, outputs):
        if type(call.layer).__name__ == "Clip" and len(call.inputs) == 1:
            _cut_bounds(call, outputs[0])
            return outputs
        return call.pinned_outputs(_CONSTANTS)
    if not isinstance(call.layer, keras.layers.Layer):
        return outputs
    for key, value in call.settings.items():
        if key == "noise_shape" and value is not None and is_stock:
            _cut_noise_shape(call, value, outputs[0])
        elif key == "activity_regularizer":
            _follow_activity(call, value, outputs)
        elif key.rpartition("_")[2] in _KINDS and value is not None:
            _follow_function(call, key, value)
        elif is_stock and key not in OF_POSITIONS and not call.is_configured(key):
            _follow_values(call, f"its `{key}`", [value], outputs)
    if is_stock:  # an activation may be a layer with values of its own
        config = _config(getattr(call.layer, "activation", None))
        _follow_values(call, "its activation", config.values(), outputs)
    return outputs


def _meets_constants(call, outputs):
    """Whether an array in the call or the operation has an entry per channel."""
    found = list(_constants(_values(call)))
    if type(call.layer).__name__ == "Concatenate" and found:
        return True
    return any(
        counts_channels(array, channels.axis, len(shape))
        for array in found
        for channels, shape in zip(outputs, call.output_shapes, strict=False)
    )


def _cut_bounds(call, channels):
    """The bounds of a clip are those of the channels that stay."""
    rank = len(call.output_shapes[0])

    def cut(bound, kept):
        if not counts_channels(bound, channels.axis, rank):
            return bound
        bound = keras.ops.convert_to_numpy(bound)
        mask = kept.mask(channels.units)
        return np.compress(mask, bound, channels.axis - rank)

    def rewrite(kept, operation, args, kwargs):
        bounds = [cut(x, kept) for x in (operation.x_min, operation.x_max)]
        return keras.ops.clip(args[0], *bounds)

    call.rewrite(rewrite)


def _values(call):
    """Arguments of the call that may meet its tensors, value by value."""
    try:
        bound = inspect.signature(call.layer.call).bind(*call.args, **call.kwargs)
        named = dict(bound.arguments)
    except TypeError:
        named = dict(enumerate([*call.args, *call.kwargs.values()]))
    if isinstance(call.layer, keras.layers.Layer):
        left_out = set()
        if type(call.layer) is not keras.layers.Softmax:
            # That of attention or of a sequence is about positions.
            left_out = {key for key in named if str(key).endswith("mask")}
    else:
        left_out = OF_POSITIONS
        settings = vars(call.layer)
        named.update((key, settings[key]) for key in OF_VALUES & set(settings))
    return [value for key, value in named.items() if key not in left_out]


def _constants(values) -> Iterator[Any]:
    """Arrays among arguments; a list of numbers is one, a list of tensors is not."""
    for value in values:
        if isinstance(value, keras.KerasTensor | str) or value is None:
            continue
        if isinstance(value, dict):
            yield from _constants(value.values())
        elif _is_array(value):
            yield value
        elif isinstance(value, list | tuple):
            yield from _constants(value)


def _is_array(value) -> bool:
    if isinstance(value, list | tuple):
        if any(isinstance(x, keras.KerasTensor) for x in keras.tree.flatten(value)):
            return False
        try:
            value = np.asarray(value)
        except (TypeError, ValueError):
            return False
        return value.ndim > 0 and value.dtype.kind in "biuf"
    return len(getattr(value, "shape", ())) > 0


def _arrays_in(value) -> Iterator[Any]:
    """Arrays in a config, however deep they lie."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _arrays_in(inner)
    elif _is_array(value):
        yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _arrays_in(inner)


def _cut_noise_shape(call, value, channels):
    shape, units = tuple(value), channels.units
    position = channels.axis - len(call.output_shapes[0]) + len(shape)
    if position < 0 or shape[position] in (None, 1):
        return
    call.same_in_every_call(channels)
    call.configure(
        "noise_shape",
        lambda kept: (*shape[:position], kept.count(units), *shape[position + 1 :]),
    )


def _follow_values(call, what, values, outputs):
    """Arrays that nobody knows how to cut: the channels that they count stay."""
    for array in _constants(values):
        for channels, shape in zip(outputs, call.output_shapes, strict=False):
            if len(channels.units) in np.shape(array) and counts_channels(
                array, channels.axis, len(shape)
            ):
                call.pin(channels.units, f"{what} has one entry per channel")


def _config(function) -> dict:
    try:
        return function.get_config()
    except Exception:  # None, or a function of the user
        return {}


def _is_stock(function) -> bool:
    named = function if hasattr(function, "__qualname__") else type(function)
    return (getattr(named, "__module__", "") or "").startswith("keras.")


def _function(call, key, value):
    """The initializer, regularizer or constraint behind an entry of the config."""
    function = getattr(call.layer, key, None)
    if function is None and value is not None:
        function = _KINDS[key.rpartition("_")[2]].get(value)
    return function


def _follow_activity(call, value, outputs):
    function = _function(call, "activity_regularizer", value)
    if function is None or _is_stock(function):
        return
    for channels, shape in zip(outputs, call.output_shapes, strict=False):
        sizes = [2 if size is None else size for size in shape]
        if channels.axis < len(sizes) and _counts(
            function, "regularizer", sizes, channels.axis, call.layer.compute_dtype
        ):
            reason = _reason("activity_regularizer", function)
            call.pin(channels.units, reason)


def _follow_function(call, key, value):
    """An initializer, regularizer or constraint of a weight."""
    function, kind = _function(call, key, value), key.rpartition("_")[2]
    axes = call.weight_axes(_weight(call.layer, key))
    if _is_stock(function):
        arrays = {
            name: array
            for name in _ARRAYS.get(type(function), ())
            if np.ndim(array := keras.ops.convert_to_numpy(getattr(function, name)))
        }
        counted = [
            axis
            for axis in axes
            if any(
                counts_channels(array, axis.axis, len(axis.variable.shape))
                for array in arrays.values()
            )
        ]
        if arrays and len({id(axis.variable) for axis in axes}) == 1:
            cut = functools.partial(_cut_arrays, kind, function, arrays, counted)
            call.configure(key, cut)
            return
    else:
        counted = [
            axis
            for axis in axes
            if _counts(
                function, kind, axis.variable.shape, axis.axis, axis.variable.dtype
            )
        ]
    for axis in counted:
        call.pin(axis.units, _reason(key, function))


def _reason(key, function):
    name = getattr(function, "__name__", type(function).__name__)
    return f"its {key} {name!r} has one entry per channel"


def _weight(layer, key):
    """The weight that an entry such as `kernel_initializer` is about, or None."""
    prefix = key.rpartition("_")[0]
    for owner in (layer, getattr(layer, "cell", None)):
        for name in _WEIGHTS.get(prefix, (prefix,)):
            weight = getattr(owner, name, None)
            if isinstance(weight, keras.Variable):
                return weight
    return None


def _cut_arrays(kind, function, arrays, axes, kept) -> dict | Callable:
    """The function of Keras with what is left of its arrays, as config."""
    changed = dict(function.get_config())
    for name, array in arrays.items():
        for axis in axes:
            position = axis.axis - len(axis.variable.shape)  # aligned at the end
            if array.ndim + position >= 0 and array.shape[position] > 1:
                array = np.compress(kept.mask(axis.units), array, position)
        # Keras loads a constraint with a list, not with an array, but adds no list.
        changed[name] = array if name == "rate" else array.tolist()
    new = type(function)(**changed)
    return new if "rate" in arrays else _KINDS[kind].serialize(new)


def _counts(function, kind: str, shape, axis: int, dtype) -> bool:
    """Whether a function of the user works only for this number of channels."""
    size = shape[axis]
    if size is None or size < 2:
        return False
    if any(size in np.shape(array) for array in _arrays_in(_config(function))):
        return True
    # One channel more, not fewer: one of two left would be spread over all.
    wider = [n + (place == axis) for place, n in enumerate(shape)]
    return not _works(function, kind, wider, dtype)


def _works(function: Callable, kind: str, shape, dtype) -> bool:
    try:
        if kind == "initializer":
            value, expected = function(tuple(shape), dtype=dtype), tuple(shape)
        else:
            value = function(keras.ops.ones(shape, dtype=dtype))
            expected = () if kind == "regularizer" else tuple(shape)
        return tuple(getattr(value, "shape", ())) == expected
    except Exception:  # Functions of users raise many kinds of errors.
        return False
