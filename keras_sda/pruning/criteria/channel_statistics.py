"""What data have said about the channels of a model."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_sda.graph import ChannelGroup
from keras_sda.utils import InvalidInputError

# The products of every two channels of one tensor: 128 MB at this width.
MOST_MOMENTS = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """A tensor that layers with kernels read.

    Attributes:
        tensor: The tensor.
        axis: Its channel axis.
        classes: For every position of this axis the class of its channel. A class may
            occur more than once, as after flattening a feature map.
        layers: Names of the layers that read it.
    """

    tensor: keras.KerasTensor
    axis: int
    classes: np.ndarray
    layers: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class SeenBatch:
    """What a criterion sees of one batch. What it does not need is empty.

    Attributes:
        activations: One array per entry of `ChannelStatistics.readings`, as `reduce` of
            the criterion left it; float32 of shape (batch, positions, channels) if it
            has none.
        labels: Integer class of every sample, or None.
        slopes: Gradients of the loss by the id of the weight, see `gradient`.
    """

    activations: Sequence[np.ndarray] = ()
    labels: np.ndarray | None = None
    slopes: dict[int, np.ndarray | None] = dataclasses.field(default_factory=dict)

    def gradient(self, variable: keras.Variable) -> np.ndarray | None:
        """The gradient of the loss for a weight.

        Args:
            variable: A weight that channels of a group live in.

        Returns:
            An array of its shape; None where the loss does not depend on it.
        """
        return self.slopes.get(id(variable))


@dataclasses.dataclass(eq=False)
class ChannelStatistics:
    """What criteria have collected from data, and a source of random numbers.

    `statistics[name]` is what the criterion of this name collected, added up over the
    batches.

    Attributes:
        generator: Seeded `numpy.random.Generator`.
        collected: By the name of a criterion, what it collected.
        readings: The tensors that were looked at, a `Reading` each.
        moments: For every reading the mean over samples and positions of the product of
            two channels, float64 of shape (channels, channels), in the order of its
            channel axis; None where it has more than `MOST_MOMENTS` channels, as a
            flattened map may have. Empty where no criterion needs them.
        num_rows: For every entry of `moments` how many samples times positions it is
            the mean of.
        num_batches: How many batches there were.
        num_samples: How many samples there were.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning import CRITERIA, collect_statistics
    >>> x = keras.Input((2,))
    >>> model = keras.Model(x, keras.layers.Dense(1)(keras.layers.Dense(3)(x)))
    >>> statistics = collect_statistics(
    ...     ChannelGraph(model), [CRITERIA["activation"]], np.ones((4, 2))
    ... )
    >>> statistics.num_samples, len(statistics["activation"])
    (4, 2)
    """

    generator: np.random.Generator
    collected: dict[str, Any] = dataclasses.field(default_factory=dict)
    readings: tuple[Reading, ...] = ()
    moments: list[np.ndarray | None] = dataclasses.field(default_factory=list)
    num_rows: list[int] = dataclasses.field(default_factory=list)
    num_batches: int = 0
    num_samples: int = 0

    def __getitem__(self, name: str) -> Any:
        if name not in self.collected:
            raise InvalidInputError(
                f"`statistics` hold nothing of the criterion {name!r}, only of "
                f"{sorted(self.collected)}. Say in `needs` what has to be collected, "
                "and give `data`."
            )
        return self.collected[name]

    def per_channel(
        self,
        group: ChannelGroup,
        values: Sequence[np.ndarray | None],
        add_up: bool = False,
    ) -> list[list[float]]:
        """Numbers per channel of each tensor, sorted to the channels of a group.

        Args:
            group: The group.
            values: For every reading one number per position of its channel axis, or
                None where nothing is known.
            add_up: Whether a channel that a tensor holds more than once is worth the
                sum of its numbers, not their mean. Defaults to `False`.

        Returns:
            For every channel of the group one number per tensor that holds it. Empty
            for what no layer reads from outside, such as the hidden units of squeeze
            and excitation.
        """
        found = [[] for _ in group.classes]
        last = len(group.classes) - 1
        for reading, value in zip(self.readings, values, strict=True):
            if value is None:
                continue
            places = np.minimum(np.searchsorted(group.classes, reading.classes), last)
            mine = group.classes[places] == reading.classes
            counts = np.bincount(places[mine], minlength=len(found))
            sums = np.bincount(places[mine], np.asarray(value)[mine], len(found))
            for number in np.flatnonzero(counts):
                count = 1 if add_up else counts[number]
                found[number].append(float(sums[number] / count))
        return found
