"""Channel rules of the layers of channel search: gates, and what they leave."""

import numpy as np

from keras_sda.graph.rules.channel_call import CARRIES, ChannelCall
from keras_sda.graph.rules.unit_table import Channels
from keras_sda.layers.compression.gather_channels import GatherChannels
from keras_sda.layers.compression.scaled_sigmoid_gate import ScaledSigmoidGate
from keras_sda.layers.compression.scatter_channels import ScatterChannels


def gate(call: ChannelCall) -> Channels:
    """Passes channels on; a gate and its mask only weigh them, and go with them."""
    axis = call.layer.axis % len(call.input_shapes[0])
    units = call.units(0, axis)
    call.index(call.layer.s, 0, units, CARRIES)
    call.index(call.layer.mask, 0, units, CARRIES)
    return Channels(axis, units)


def scatter(call: ChannelCall) -> Channels:
    """Passes channels to their places; those left empty count as new, all zeros."""
    layer = call.layer
    axis = layer.axis % len(call.input_shapes[0])
    units = call.units(0, axis)
    # Places that nothing is put into hold zeros, whoever else they are added to.
    made = np.full(layer.channels, -1)
    made[layer.indices] = units
    made[made < 0] = call.new_units(layer.channels - len(units))
    call.same_in_every_call(Channels(axis, made))

    def indices(kept):
        new_places = np.cumsum(kept.mask(made)) - 1
        return [int(new_places[i]) for i in layer.indices if kept.mask(made)[i]]

    call.keep_some(units)
    call.configure("indices", indices)
    call.configure("channels", lambda kept: kept.count(made))
    return Channels(axis, made)


def gather(call: ChannelCall) -> Channels:
    """Passes the chosen channels; the indices count those of the input that stay."""
    layer = call.layer
    axis = layer.axis % len(call.input_shapes[0])
    units = call.units(0, axis)
    call.same_in_every_call(Channels(axis, units))

    def indices(kept):
        new_places = np.cumsum(kept.mask(units)) - 1
        return [int(new_places[i]) for i in layer.indices if kept.mask(units)[i]]

    call.keep_some(units[layer.indices])
    call.configure("indices", indices)
    return Channels(axis, units[layer.indices])


RULES = {ScaledSigmoidGate: gate, ScatterChannels: scatter, GatherChannels: gather}
