"""Channel rules of recurrent layers: the gates of a unit go with it."""

import numpy as np
from keras import layers

from keras_sda.graph.rules.channel_call import READS, WRITES, ChannelCall
from keras_sda.graph.rules.counted_settings import follow_settings
from keras_sda.graph.rules.unit_table import Channels
from keras_sda.graph.rules.weighted_layer_rules import check_activation
from keras_sda.graph.rules.wrapped_call import (
    WrappedCall,
    argument_positions,
    pin_masks,
)

_LAYERS = (layers.LSTM, layers.GRU, layers.SimpleRNN)
_CONVOLUTIONAL = (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)


def recurrent(call: ChannelCall) -> list[Channels]:
    """Reads channels at every step and makes units, whose states are theirs."""
    positions = argument_positions(call)
    pin_masks(call, positions)
    axis = _channel_axis(call.layer, len(call.input_shapes[0]))
    made = _units(call, call.units(0, axis))
    _states(call, made, positions.get("initial_state", ()))
    return [_output(call.layer, shape, made) for shape in call.output_shapes]


def _channel_axis(layer, rank):
    if type(layer) in _CONVOLUTIONAL and layer.cell.data_format == "channels_first":
        return 2
    return rank - 1


def _output(layer, shape, made):
    """Sequences have their channels behind the time, single steps and states not."""
    if type(layer) not in _CONVOLUTIONAL:
        return Channels(len(shape) - 1, made)
    if layer.cell.data_format == "channels_last":
        return Channels(len(shape) - 1, made)
    return Channels(len(shape) - 1 - layer.cell.rank, made)


def _states(call, made, places):
    """A state that the caller gives has the units of the layer."""
    for place in places:
        shape = call.input_shapes[place]
        call.couple(made, call.units(place, _output(call.layer, shape, made).axis))


def _units(call: ChannelCall, units: np.ndarray) -> np.ndarray:
    """The units of one layer; `call` is about this layer."""
    cell = call.layer.cell
    key = "filters" if type(call.layer) in _CONVOLUTIONAL else "units"
    made = call.new_units(getattr(cell, key))
    # The columns of all gates lie side by side: i, i + u, i + 2u, ...
    gates = np.tile(made, cell.kernel.shape[-1] // len(made))
    call.index(cell.kernel, -2, units, READS)
    call.index(cell.kernel, -1, gates, WRITES)
    call.index(cell.recurrent_kernel, -2, made, READS)
    call.index(cell.recurrent_kernel, -1, gates, WRITES)
    # That of a GRU has two rows, one for each kernel.
    call.index(cell.bias, -1, gates, WRITES)
    call.configure(key, lambda kept: kept.count(made))
    check_activation(call, made, cell.activation)
    recurrent_activation = getattr(cell, "recurrent_activation", None)
    if recurrent_activation is not None:
        check_activation(call, made, recurrent_activation)
    return made


def bidirectional(call: ChannelCall) -> list[Channels]:
    """Both directions read the channels, and make as many units each."""
    layer = call.layer
    inner = (layer.forward_layer, layer.backward_layer)
    if any(type(x) not in (*_LAYERS, *_CONVOLUTIONAL) for x in inner):
        names = " and ".join(sorted({type(x).__name__ for x in inner}))
        return call.pinned_outputs(
            f"it wraps {names}, for which there is no channel rule"
        )
    positions = argument_positions(call)
    pin_masks(call, positions)
    states = positions.get("initial_state", [])
    half = len(states) // 2
    made = []
    for one, key, places in (
        (inner[0], "layer", states[:half]),
        (inner[1], "backward_layer", states[half:]),
    ):
        axis = _channel_axis(one, len(call.input_shapes[0]))
        units = call.units(0, axis)
        wrapped = WrappedCall(
            call, one, key, call.inputs, call.input_shapes, call.output_shapes
        )
        made.append(_units(wrapped, units))
        follow_settings(wrapped, [], is_stock=False)
        _states(wrapped, made[-1], places)
    if len(made[0]) != len(made[1]):
        return call.pinned_outputs("its two directions have different widths")
    # Keras takes the width of one for that of the other.
    call.couple(*made)
    outputs, states = _merged(call, made), []
    if layer.return_state:
        rest = (len(call.output_shapes) - len(outputs)) // 2
        states = [made[0]] * rest + [made[1]] * rest
    return [
        _output(inner[0], shape, units)
        for units, shape in zip([*outputs, *states], call.output_shapes, strict=True)
    ]


def _merged(call, made):
    mode = call.layer.merge_mode
    if mode is None:
        return made
    return [np.concatenate(made)] if mode == "concat" else made[:1]


def embedding(call: ChannelCall) -> list[Channels]:
    """Makes channels: the columns of its table."""
    layer = call.layer
    if getattr(layer, "lora_enabled", False) or getattr(
        layer, "quantization_mode", None
    ):
        return call.pinned_outputs("its table is quantized or has LoRA")
    call.pin(call.inputs[0].units, "these are indices into a table")
    made = call.new_units(layer.output_dim)
    call.index(layer.embeddings, 1, made, WRITES)
    call.configure("output_dim", lambda kept: kept.count(made))
    return [Channels(len(call.output_shapes[0]) - 1, made)]


RULES = {
    **dict.fromkeys((*_LAYERS, *_CONVOLUTIONAL), recurrent),
    layers.Bidirectional: bidirectional,
    layers.Embedding: embedding,
}
