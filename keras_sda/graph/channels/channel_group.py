"""Channels that live in the same weights."""

import dataclasses

import keras
import numpy as np

from keras_sda.graph.rules.layer_channels import WeightAxis


@dataclasses.dataclass(eq=False)
class GroupPart:
    """One axis of one weight that the channels of a group lie along.

    Attributes:
        layer: Name of the layer.
        axis: The `WeightAxis`: variable, axis, role.
        labels: For every position of the axis, the class of its channel.
    """

    layer: str
    axis: WeightAxis
    labels: np.ndarray

    @property
    def role(self) -> str:
        """`"writes"`, `"reads"` or `"carries"`."""
        return self.axis.role

    @property
    def variable(self) -> keras.Variable:
        """The weight."""
        return self.axis.variable


@dataclasses.dataclass(eq=False)
class ChannelGroup:
    """Channels of which each can be kept or removed on its own.

    A channel of a group may be many channels of the model: one for each layer that
    writes to the same residual stream, one for each group of a grouped convolution.

    Attributes:
        index: Position in `ChannelGraph.groups`.
        classes: The class of each channel of the group.
        parts: Where the channels live in weights.
        writers: Names of the layers that make the channels.
    """

    index: int
    classes: np.ndarray
    parts: list[GroupPart]
    writers: tuple[str, ...]

    @property
    def num_channels(self) -> int:
        """Number of channels that can be removed one by one."""
        return len(self.classes)

    def values(
        self, part: GroupPart, array: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """The entries of a weight that belong to each channel.

        Args:
            part: One of `parts`.
            array: Something of the shape of the weight, such as its gradient.
                Defaults to the weight itself.

        Returns:
            One array per channel, the axis of the channels first.
        """
        if array is None:
            array = keras.ops.convert_to_numpy(part.variable)
        array = np.moveaxis(np.asarray(array), part.axis.axis, 0)
        order = np.argsort(part.labels, kind="stable")
        first = np.searchsorted(part.labels[order], self.classes, side="left")
        last = np.searchsorted(part.labels[order], self.classes, side="right")
        return [array[order[i:j]] for i, j in zip(first, last, strict=True)]

    def reduce(self, part: GroupPart, array: np.ndarray | None = None) -> np.ndarray:
        """Sum of the entries of `array` over everything but the channels.

        Args:
            part: One of `parts`.
            array: Something of the shape of the weight. Defaults to the weight.

        Returns:
            float64 array, one number per channel.
        """
        if array is None:
            array = keras.ops.convert_to_numpy(part.variable)
        array = np.moveaxis(np.asarray(array, "float64"), part.axis.axis, 0)
        sums = array.reshape(len(part.labels), -1).sum(-1)
        positions = np.searchsorted(self.classes, part.labels)
        positions = np.minimum(positions, len(self.classes) - 1)
        mine = self.classes[positions] == part.labels
        result = np.zeros(len(self.classes))
        np.add.at(result, positions[mine], sums[mine])
        return result
