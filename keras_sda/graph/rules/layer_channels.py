"""How the weights and the config of one layer depend on channels."""

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_sda.graph.rules.unit_table import Channels


@dataclasses.dataclass(eq=False)
class WeightAxis:
    """One axis of one weight and the channel units along it."""

    variable: keras.Variable
    axis: int
    units: np.ndarray
    role: str


@dataclasses.dataclass(eq=False)
class LayerChannels:
    """What the channel graph knows of one layer.

    Attributes:
        layer: The layer.
        name: Its name, with the names of nested models before it.
        axes: One `WeightAxis` for every axis of a weight that follows channels.
        config: Functions of `Kept` by the config key that they give.
        made: Units of the channels that the layer makes, in the order of its outputs.
        pieces: Units of tensors that are parts of others: each keeps a channel.
        stays: Units of the channels that it makes and that no rule can take away.
        inside: Names of layers inside of it that make channels, and how many.
        because: Why these channels stay.
        setting: The channels that its config is about, if it has no weights.
        settings: Its config, once somebody has asked for it.
        is_called: Whether a call of the layer has been read.
    """

    layer: Any
    name: str
    axes: list[WeightAxis] = dataclasses.field(default_factory=list)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    made: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, int))
    pieces: list[np.ndarray] = dataclasses.field(default_factory=list)
    stays: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, int))
    inside: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    because: str = ""
    setting: Channels | None = None
    settings: dict[str, Any] | None = None
    is_called: bool = False

    def axis_units(self, variable: keras.Variable, axis: int) -> np.ndarray | None:
        """The units along an axis of a weight, or None."""
        axis %= len(variable.shape)
        for known in self.axes:
            if known.variable is variable and known.axis == axis:
                return known.units
        return None

    def add(
        self, variable: keras.Variable, axis: int, units: np.ndarray, role: str
    ) -> None:
        """Records the units along an axis of a weight, once."""
        axis %= len(variable.shape)
        if len(units) != variable.shape[axis]:
            raise ValueError(
                f"The channel rule of layer {self.name!r} gives {len(units)} units for "
                f"axis {axis} of {variable.path} with shape {tuple(variable.shape)}."
            )
        if self.axis_units(variable, axis) is None:
            self.axes.append(WeightAxis(variable, axis, units, role))
