"""Layers that stand for a change while a model is cut; none is left in the result."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_sda.graph.rules.tensor_shapes import combined
from keras_sda.layers import GatherChannels, ScatterChannels


class AlignedAdd(keras.layers.Layer):
    """A sum whose terms may lose different channels.

    It becomes a sum again, with what is left of each term put into its place.

    Args:
        is_layer: Whether it stands for a `keras.layers.Add`, not for `keras.ops.add`.
        **kwargs: `name`, `dtype`.
    """

    is_sum = True

    def __init__(self, is_layer: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.is_layer = is_layer

    def call(self, inputs):
        total = inputs[0]
        for term in inputs[1:]:
            total = total + term
        return total

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        return {**super().get_config(), "is_layer": self.is_layer}

    def add(self, terms):
        """The sum as it was written."""
        if len(terms) == 1:
            return terms[0]
        if self.is_layer or len(terms) != 2:
            return keras.layers.Add(name=self.name, dtype=self.dtype_policy)(terms)
        return ops.add(*terms)

    def follow_channels(self, call):
        """Makes new channels, so that each term may lose others than the sum does."""
        first = call.inputs[0]
        fits = all(
            other.axis == first.axis and len(other.units) == len(first.units)
            for other in call.inputs
        )
        if not fits:
            call.rewrite(lambda kept, layer, args, kwargs: layer.add(args[0]))
            return combined(call, range(len(call.inputs)))
        made, inputs = call.new_units(len(first.units)), list(call.inputs)

        def rewrite(kept, layer, args, kwargs):
            wanted = kept.mask(made)
            places = np.cumsum(wanted) - 1
            terms = []
            for number, (channels, tensor) in enumerate(
                zip(inputs, args[0], strict=True)
            ):
                stays = kept.mask(channels.units)
                used = stays & wanted
                if not used.any():
                    continue
                if used.sum() < stays.sum():
                    tensor = GatherChannels(
                        (np.cumsum(stays) - 1)[used],
                        axis=first.axis,
                        dtype=layer.dtype_policy,
                        name=f"{layer.name}_gather{number + 1}",
                    )(tensor)
                if used.sum() < wanted.sum():
                    tensor = ScatterChannels(
                        places[used],
                        channels=int(wanted.sum()),
                        axis=first.axis,
                        dtype=layer.dtype_policy,
                        name=f"{layer.name}_scatter{number + 1}",
                    )(tensor)
                terms.append(tensor)
            return layer.add(terms)

        call.rewrite(rewrite)
        return call.channels(first.axis, made)


class FixedGate(keras.layers.Layer):
    """A gate that has been decided: it passes some channels and closes the others.

    Args:
        mask: For every channel whether it passes.
        axis: Channel axis.
        **kwargs: `name`, `dtype`.
    """

    keeps_zeros = True

    def __init__(self, mask: Sequence[bool], axis: int = -1, **kwargs):
        super().__init__(**kwargs)
        self.mask = [bool(stays) for stays in mask]
        self.axis = axis

    def call(self, inputs):
        shape = [1] * len(inputs.shape)
        shape[self.axis] = len(self.mask)
        factors = np.reshape(np.array(self.mask, "float32"), shape)
        return inputs * ops.cast(factors, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "mask": self.mask, "axis": self.axis}

    def follow_channels(self, call):
        """Passes channels on and is gone afterwards: what it closed is removed."""
        axis = self.axis % len(call.input_shapes[0])
        call.rewrite(lambda kept, layer, args, kwargs: args[0])
        return call.channels(axis, call.units(0, axis))


class ChannelCut(FixedGate):
    """Hides channels from one reader, as `FixedGate` does from all of them."""

    def follow_channels(self, call):
        """Makes new channels: one reader may lose what the others still read."""
        axis = self.axis % len(call.input_shapes[0])
        units = call.units(0, axis)
        made = call.new_units(len(units))

        def rewrite(kept, layer, args, kwargs):
            stays, wanted = kept.mask(units), kept.mask(made)
            places = (np.cumsum(stays) - 1)[stays & wanted]
            if len(places) == stays.sum():
                return args[0]
            return GatherChannels(
                places, axis=axis, dtype=layer.dtype_policy, name=layer.name
            )(args[0])

        call.rewrite(rewrite)
        return call.channels(axis, made)


class ChannelOffset(keras.layers.Layer):
    """Adds a number to every channel; it becomes a `Rescaling` layer.

    Args:
        offsets: One number per channel.
        axis: Channel axis.
        **kwargs: `name`, `dtype`.
    """

    def __init__(self, offsets: Sequence[float], axis: int = -1, **kwargs):
        super().__init__(**kwargs)
        self.offsets = [float(value) for value in offsets]
        self.axis = axis

    def call(self, inputs):
        shape = [1] * len(inputs.shape)
        shape[self.axis] = len(self.offsets)
        offsets = np.reshape(np.array(self.offsets, "float32"), shape)
        return inputs + ops.cast(offsets, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "offsets": self.offsets, "axis": self.axis}

    def follow_channels(self, call):
        """Passes channels on; the offsets of those that stay become a `Rescaling`."""
        rank = len(call.input_shapes[0])
        axis = self.axis % rank
        units = call.units(0, axis)

        def rewrite(kept, layer, args, kwargs):
            shape = [-1] + [1] * (rank - 1 - axis)
            offsets = np.array(layer.offsets)[kept.mask(units)].reshape(shape)
            return keras.layers.Rescaling(
                1.0, offsets.tolist(), dtype=layer.dtype_policy, name=layer.name
            )(args[0])

        call.rewrite(rewrite)
        return call.channels(axis, units)
