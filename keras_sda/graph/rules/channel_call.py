"""What a channel rule sees of one layer call, and what it may say about it."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_sda.graph.rules.layer_channels import LayerChannels
from keras_sda.graph.rules.unit_table import Channels, UnitTable
from keras_sda.utils import InvalidInputError

# What an axis of a variable has to do with the channels along it.
WRITES, READS, CARRIES = "writes", "reads", "carries"


class ChannelCall:
    """One call of a layer or operation, for the rule that follows its channels.

    Attributes:
        layer: The layer or `keras.Operation`.
        name: Its name, with the names of nested models before it.
        args, kwargs: Arguments of the call, symbolic tensors among them.
        inputs: `Channels` of every tensor among the arguments, in order.
        input_shapes: Shapes of these tensors with the batch axis.
        output_shapes: Shapes of the outputs with the batch axis.
        output_dtypes: Their types.
    """

    def __init__(
        self,
        name: str,
        node: Any,
        inputs: list[Channels],
        table: UnitTable,
        record: LayerChannels,
        rewrites: list,
    ):
        self.layer = node.layer
        self.name = name
        self.args = node.args
        self.kwargs = node.kwargs
        self.inputs = inputs
        self.input_shapes = [tuple(t.shape) for t in node.input_tensors]
        self.output_shapes = [tuple(t.shape) for t in node.output_tensors]
        self.output_dtypes = [t.dtype for t in node.output_tensors]
        self._table = table
        self._record = record
        self._is_first = not record.is_called
        record.is_called = True
        self._rewrites = rewrites
        self.gave_up = ""

    def new_units(self, count: int) -> np.ndarray:
        """Units of channels that this call makes."""
        units = self._table.new(count)
        if self._is_first:
            self._record.made = np.concatenate([self._record.made, units])
        return units

    def couple(self, first: np.ndarray, second: np.ndarray) -> None:
        """Units at equal positions are kept or removed together."""
        self._table.couple(first, second)

    def tie(self, units: np.ndarray) -> None:
        """All units of every row (last axis) are kept or removed together."""
        self._table.couple(units[..., :1], units)

    def pin(self, units: np.ndarray, reason: str) -> None:
        """These units cannot be removed, because of this layer."""
        self._table.pin(units, self.name, reason)

    def units(self, position: int = 0, axis: int = -1) -> np.ndarray:
        """The units along `axis` of an input.

        Where the channels lie along another axis, they are pinned, and so are the
        units that are returned.
        """
        shape = self.input_shapes[position]
        axis %= len(shape)
        channels = self.inputs[position]
        if channels.axis == axis and len(channels.units) == shape[axis]:
            return channels.units
        self.pin(channels.units, "it works along another axis than the channels")
        if shape[axis] is None:
            return self.pinned_units(0, "the axis has no fixed size")
        return self.pinned_units(shape[axis], "it works along another axis")

    def pinned_units(self, count: int, reason: str) -> np.ndarray:
        """New units that cannot be removed."""
        units = self._table.new(count)
        self.pin(units, reason)
        return units

    @property
    def channel_axis(self) -> int:
        """The channel axis of the first input, by the data format of the layer."""
        is_first = getattr(self.layer, "data_format", None) == "channels_first"
        return 1 if is_first else len(self.input_shapes[0]) - 1

    def channels(self, axis: int, units: np.ndarray) -> Channels:
        """The `Channels` of an output: what a rule returns.

        Args:
            axis: Their axis, the batch axis included.
            units: One unit per position of the axis.
        """
        return Channels(axis, units)

    def follow_as(self, layer_class: type) -> Channels | list[Channels]:
        """What the rule of a Keras layer says of this call.

        Use it for a layer that has the weights and the settings of one of Keras and
        treats channels as that does.

        Args:
            layer_class: Such as `keras.layers.Conv2D`.
        """
        from keras_sda.graph.rules.channel_rules import stock_rule

        return stock_rule(layer_class)(self)

    def pinned_inputs(self, reason: str) -> list[Channels]:
        """Pins all inputs and hands the channels of the first one on."""
        for channels in self.inputs:
            self.pin(channels.units, reason)
        return [self.inputs[0]]

    def pinned_outputs(self, reason: str) -> list[Channels]:
        """Pins all inputs and returns outputs that cannot be changed either."""
        self.gave_up = reason
        for channels in self.inputs:
            self.pin(channels.units, reason)
        return [
            Channels(
                max(len(shape) - 1, 0),
                self.pinned_units((shape[-1] or 0) if len(shape) > 1 else 0, reason),
            )
            for shape in self.output_shapes
        ]

    def index(
        self, variable: keras.Variable, axis: int, units: np.ndarray, role: str
    ) -> None:
        """Says that `axis` of a weight goes along with `units`.

        Args:
            variable: A weight of the layer.
            axis: Axis of the weight.
            units: One unit per position of the axis.
            role: `"writes"` (without it the channel is zero), `"reads"` (what the
                layer takes from the channel) or `"carries"` (a statistic).
        """
        if variable is None:
            return
        known = self._record.axis_units(variable, axis)
        if known is not None:  # The layer is shared: both calls use the same weight.
            self.couple(known, units)
        self._record.add(variable, axis, units, role)

    def same_in_every_call(self, channels: Channels) -> None:
        """Says that all calls of the layer need as many channels in the same place.

        Use it before `configure` where no weight of the layer sees to that.
        """
        first = self._record.setting
        if first is None:
            self._record.setting = channels
        elif first.axis == channels.axis and len(first.units) == len(channels.units):
            self.couple(first.units, channels.units)
        else:
            for one in (first, channels):
                self.pin(one.units, "it is shared by tensors of different kinds")

    def keep_some(self, units: np.ndarray) -> None:
        """At least one of these units has to stay: they fill a tensor of their own."""
        self._record.pieces.append(units)

    def configure(self, key: str, value: Callable[[Any], Any]) -> None:
        """Says how an entry of the layer's config follows from the kept channels.

        Args:
            key: Key in `get_config()`.
            value: Function of a `Kept` (`kept.count(units)`, `kept.mask(units)`).

        Raises:
            InvalidInputError: The config has no such entry, or `value` is no function.
        """
        self._check_setting(key, value)
        self._record.config[key] = value

    def is_configured(self, key: str) -> bool:
        """Whether the rule has said how an entry of the config follows."""
        return key in self._record.config

    @property
    def settings(self) -> dict[str, Any]:
        """What `get_config()` of the layer says; empty where it says nothing."""
        if self._record.settings is None:
            try:
                self._record.settings = dict(self.layer.get_config())
            except Exception:  # Layers of users raise many kinds of errors.
                self._record.settings = {}
        return self._record.settings

    def weight_axes(self, variable: keras.Variable | None = None) -> list:
        """The `WeightAxis` of a weight that the rule has named; of all by default."""
        axes = self._record.axes
        return [x for x in axes if variable is None or x.variable is variable]

    def _check_setting(self, key, value):
        rule = f"The channel rule of layer {self.name!r} ({type(self.layer).__name__})"
        if not isinstance(self.layer, keras.layers.Layer):
            raise InvalidInputError(
                f"{rule} configures {key!r}, but an operation has no config. Say how "
                "the call changes with `call.rewrite(function)`."
            )
        if not callable(value):
            raise InvalidInputError(
                f"{rule} configures {key!r} with {value!r}. `value` must be a function "
                "of a `Kept`, such as `lambda kept: kept.count(units)`."
            )
        if not isinstance(key, str) or (self.settings and key not in self.settings):
            raise InvalidInputError(
                f"{rule} configures {key!r}, which its get_config() lacks. The entries "
                f"are: {', '.join(self.settings)}. Correct the rule, or give "
                "the layer a complete get_config()."
            )

    def rewrite(self, function: Callable[..., Any]) -> None:
        """Says how the call is made when channels are gone.

        Args:
            function: Called with a `Kept`, the operation, args and kwargs; returns
                the outputs.
        """
        self._rewrites.append(function)
