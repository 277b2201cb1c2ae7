"""Where channels go when tensors are reshaped, joined, reduced and combined."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_sda.graph.rules.channel_call import ChannelCall
from keras_sda.graph.rules.unit_table import Channels


def counts_channels(value: Any, axis: int, rank: int) -> bool:
    """Whether an array, aligned at its end, has an entry per position of an axis."""
    shape = np.shape(value)
    position = axis - rank + len(shape)
    return position >= 0 and shape[position] != 1


def combined(call: ChannelCall, positions: Iterable[int]) -> Channels:
    """Channels of an operation that combines tensors value by value."""
    shape = call.output_shapes[0]
    rank = len(shape)
    aligned = []
    for position in positions:
        channels = call.inputs[position]
        # Shapes are aligned at their ends.
        aligned.append(
            Channels(
                channels.axis + rank - len(call.input_shapes[position]), channels.units
            )
        )
    axes = [c.axis for c in aligned if len(c.units) == shape[c.axis]]
    if not axes:
        return call.pinned_outputs("its channels cannot be followed")[0]
    axis = max(set(axes), key=axes.count)
    result = None
    for channels, position in zip(aligned, positions, strict=True):
        fits = channels.axis == axis and len(channels.units) == shape[axis]
        if fits and (len(channels.units) > 1 or shape[axis] == 1):
            if result is None:
                result = channels.units
            else:
                call.couple(result, channels.units)
        else:
            width = call.input_shapes[position]
            offset = rank - len(width)
            is_broadcast = axis < offset or width[axis - offset] == 1
            reason = "it is spread over the channels of another tensor"
            if not is_broadcast:
                reason = "it is combined with channels along another axis"
                if result is not None:
                    call.pin(result, reason)
            call.pin(channels.units, reason)
            if not is_broadcast and result is None:
                result = call.pinned_units(shape[axis], reason)
    if result is None:
        return call.pinned_outputs("its channels cannot be followed")[0]
    return Channels(axis, result)


def concatenated(call: ChannelCall, axis: int) -> Channels:
    """Channels of tensors joined along an axis."""
    rank = len(call.output_shapes[0])
    axis %= rank
    along = {channels.axis for channels in call.inputs}
    if along == {axis}:
        call.rewrite(_without_empty(call))
        return Channels(axis, np.concatenate([c.units for c in call.inputs]))
    if len(along) == 1:
        first = call.inputs[0]
        for other in call.inputs[1:]:
            call.couple(first.units, other.units)
        return first
    return call.pinned_outputs("it joins tensors with different channel axes")[0]


def _without_empty(call):
    """Terms of which all channels go, as those of blocks do, are not joined."""
    units = [channels.units for channels in call.inputs]

    def rewrite(kept, operation, args, kwargs):
        stays = [kept.count(x) > 0 or not len(x) for x in units]
        if all(stays) or not any(stays):
            return operation(*args, **kwargs)
        terms = [x for x, one in zip(args[0], stays, strict=True) if one]
        return operation(terms) if len(terms) > 1 else _as_typed(call, terms[0])

    return rewrite


def _as_typed(call, tensor):
    if tensor.dtype == call.output_dtypes[0]:
        return tensor
    name = call.layer.name
    return keras.layers.Identity(name=name, dtype=call.output_dtypes[0])(tensor)


def after_reshape(
    call: ChannelCall,
    channels: Channels,
    old: Sequence[int | None],
    new: Sequence[int | None],
) -> Channels:
    """Channels after a reshape; pinned where it mixes them with positions."""
    if channels.axis == 0:
        return call.pinned_outputs("the channels lie along the first axis")[0]
    old, new = tuple(old[1:]), tuple(new[1:])
    unknown = None in old or None in new
    if not unknown and math.prod(old) != math.prod(new):  # type: ignore[arg-type]
        # Positions go to the first axis, or come from it.
        if channels.axis == len(old) and old[-1:] == new[-1:]:
            return Channels(len(new), channels.units)
        return call.pinned_outputs("it joins channels with the first axis")[0]
    if unknown:
        # Positions of unknown number: only a last axis that stays whole is sure.
        if (
            channels.axis == len(old)
            and old[-1:] == new[-1:]
            and new[:-1].count(None) <= 1
        ):
            return Channels(len(new), channels.units)
        return call.pinned_outputs(
            "it reshapes a tensor of unknown size; give the model a fixed input_shape"
        )[0]
    shape = [1] * len(old)
    shape[channels.axis - 1] = len(channels.units)
    units = np.broadcast_to(channels.units.reshape(shape), old).reshape(new)
    varying = [
        axis
        for axis in range(units.ndim)
        if units.shape[axis] > 1
        and not np.array_equal(
            units, np.broadcast_to(np.take(units, [0], axis), units.shape)
        )
    ]
    if len(varying) > 1:
        return call.pinned_outputs("its reshape takes channels apart")[0]
    if varying:
        axis = varying[0]
    else:  # one channel, or the same unit everywhere
        sizes = [k for k, size in enumerate(new) if size == len(channels.units)]
        axis = sizes[-1] if sizes else len(new) - 1
    index: list[int | slice] = [0] * units.ndim
    index[axis] = slice(None)
    return Channels(axis + 1, np.array(units[tuple(index)]))


def after_reduction(
    call: ChannelCall, axes: Sequence[int] | int | None, keepdims: bool
) -> Channels:
    """Channels after a sum, mean or maximum over axes."""
    rank = len(call.input_shapes[0])
    if axes is None:
        axes = range(rank)
    elif isinstance(axes, int):
        axes = [axes]
    axes = sorted(axis % rank for axis in axes)
    channels = call.inputs[0]
    if channels.axis in axes:
        return call.pinned_outputs(
            "it works across channels: removing one would change the others"
        )[0]
    if keepdims:
        return channels
    shift = sum(axis < channels.axis for axis in axes)
    return Channels(channels.axis - shift, channels.units)
