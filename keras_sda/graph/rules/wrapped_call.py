"""Channel rules inside layers that wrap another layer, such as `TimeDistributed`."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from keras_sda.graph.rules.channel_call import ChannelCall
from keras_sda.graph.rules.counted_settings import follow_settings
from keras_sda.graph.rules.unit_table import Channels


class WrappedCall(ChannelCall):
    """The call of a layer inside the call of the layer that holds it.

    Its weights and channels count as those of the outer layer, under whose name it is
    reported. What its rule says of its config is collected for the outer config, which
    holds the inner layer as one entry.

    Args:
        outer: The call of the outer layer.
        layer: The inner layer.
        key: Entry of the outer config that is the inner layer.
        inputs: `Channels` of every tensor that the inner layer gets.
        input_shapes: Their shapes.
        output_shapes: Shapes of what it returns.
    """

    def __init__(
        self,
        outer: ChannelCall,
        layer: keras.layers.Layer,
        key: str,
        inputs: list[Channels],
        input_shapes: list[tuple],
        output_shapes: list[tuple],
    ):
        self.__dict__.update(vars(outer))
        self.__dict__.pop("settings", None)  # cached, of a wrapper in a wrapper
        self.layer = layer
        self.args = tuple(keras.KerasTensor(shape) for shape in input_shapes)
        self.kwargs = {}
        self.inputs = inputs
        self.input_shapes = input_shapes
        self.output_shapes = output_shapes
        self._rewrites = []
        self._settings: dict[str, Callable[[Any], Any]] = {}
        outer.configure(key, self._inner_config)

    @property
    def is_rewritten(self) -> bool:
        """Whether the rule changes the call itself, which the outer layer makes."""
        return bool(self._rewrites)

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """What `get_config()` of the inner layer says."""
        return dict(self.layer.get_config())

    def configure(self, key: str, value: Callable[[Any], Any]) -> None:
        """See `ChannelCall.configure`: an entry of the config of the inner layer."""
        self._check_setting(key, value)
        self._settings[key] = value

    def is_configured(self, key: str) -> bool:
        """Whether the rule has said how an entry of the inner config follows."""
        return key in self._settings

    def _inner_config(self, kept):
        config = keras.saving.serialize_keras_object(self.layer)
        config.pop("build_config", None)  # It holds the old shapes.
        for key, value in self._settings.items():
            config["config"][key] = value(kept)
        return config


def argument_positions(call: ChannelCall) -> dict[str, list[int]]:
    """For every argument of a call the positions of its tensors in `call.inputs`.

    Args:
        call: The call of a layer.

    Returns:
        Lists by the names that the `call` method of the layer gives.
    """
    tensors = keras.tree.flatten((call.args, call.kwargs))
    tensors = [x for x in tensors if isinstance(x, keras.KerasTensor)]
    where = {id(tensor): position for position, tensor in enumerate(tensors)}
    bound = inspect.signature(call.layer.call).bind(*call.args, **call.kwargs)
    return {
        name: [where[id(x)] for x in keras.tree.flatten(value) if id(x) in where]
        for name, value in bound.arguments.items()
    }


def pin_masks(call: ChannelCall, positions: dict[str, list[int]]) -> None:
    """Pins what the layer takes as a mask: it counts positions, not channels."""
    for name, places in positions.items():
        if name.endswith("mask"):
            for place in places:
                call.pin(call.inputs[place].units, "it is a mask")


def time_distributed(call: ChannelCall) -> list[Channels]:
    """Follows the rule of the layer inside, at every step in time."""
    from keras_sda.graph.rules.channel_rules import find_rule, is_stock

    inner = call.layer.layer
    rule = find_rule(inner)
    if rule is None:
        return call.pinned_outputs(
            f"it wraps {type(inner).__name__}, for which there is no channel rule"
        )
    channels = call.inputs[0]
    if channels.axis < 2:
        return call.pinned_outputs("its steps in time are the channels of its input")
    pin_masks(call, argument_positions(call))
    wrapped = WrappedCall(
        call,
        inner,
        "layer",
        [Channels(channels.axis - 1, channels.units)],
        [without_time(call.input_shapes[0])],
        [without_time(shape) for shape in call.output_shapes],
    )
    outputs = rule(wrapped)
    if isinstance(outputs, Channels):
        outputs = [outputs]
    if not wrapped.gave_up:
        outputs = follow_settings(wrapped, outputs, is_stock(inner))
    call.gave_up = wrapped.gave_up
    if wrapped.is_rewritten:
        return call.pinned_outputs(f"it wraps {type(inner).__name__}")
    return [Channels(c.axis + 1, c.units) for c in outputs]


def without_time(shape: tuple) -> tuple:
    """The shape of one step in time."""
    return (shape[0], *shape[2:])


RULES = {layers.TimeDistributed: time_distributed}
