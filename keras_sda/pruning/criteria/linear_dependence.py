"""The criterion `linear_dependence`: what no other channel can stand in for."""

import keras
import numpy as np
from absl import logging

from keras_sda.graph import ChannelGraph, ChannelGroup
from keras_sda.layers import GroupedConv2D
from keras_sda.pruning.criteria.channel_statistics import ChannelStatistics, SeenBatch
from keras_sda.pruning.criteria.criterion import Criterion
from keras_sda.pruning.criteria.mean_of_makers import seen_or_made
from keras_sda.utils import InvalidInputError

# Layers whose kernel multiplies what they read, as it is.
_LINEAR = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    GroupedConv2D,
)


class LinearDependence(Criterion):
    """Share of the output power of its readers that is lost for good with a channel.

    Lost for good is what remains after the other channels have taken over as much as
    they can, by least squares. With S the second moments of what a layer reads, W_j all
    weights of its kernel for channel j and P = (S + ridge tr(S) / n I)^-1, it is
    |W_j|^2 / P_jj / tr(W' S W), added up over the layers that read the channel. Grouped
    convolutions solve group by group.

    Every channel is looked at alone, so both of two equal ones are cheap.

    Convolutions and dense layers count as readers, as long as they read at most
    `MOST_MOMENTS` channels; channels that only others read have the score of `l1`.

    Source: our reading of Shah et al., arXiv 2005.14070.

    Args:
        ridge: What is added to the diagonal, as a share of its mean. Defaults to
            `1e-4`.
    """

    name = "linear_dependence"
    needs = ("moments",)

    def __init__(self, ridge: float = 1e-4):
        if not ridge > 0:
            raise InvalidInputError(
                f"`ridge` must be positive. Received: ridge={ridge!r}."
            )
        self.ridge = ridge

    def collect(self, graph: ChannelGraph, batch: SeenBatch) -> list:
        return []  # the moments are all of it

    def finish(self, graph: ChannelGraph, statistics: ChannelStatistics) -> list:
        """For every reading the cost of its channels; None where no kernel fits."""
        costs: list[np.ndarray | None] = [None] * len(statistics.readings)
        for name, layer in graph.layers.items():
            if not isinstance(layer.layer, _LINEAR):
                continue
            mine = [
                k
                for k, reading in enumerate(statistics.readings)
                if name in reading.layers and statistics.moments[k] is not None
            ]
            axes = [axis for axis in layer.axes if axis.role == "reads"]
            if not mine or not axes:
                continue
            # All calls of a layer read the same channels.
            rows = [statistics.num_rows[k] for k in mine]
            moments = [statistics.moments[k] for k in mine]
            cost = self._cost(np.average(moments, 0, rows), layer.layer, axes[0].axis)
            known = costs[mine[0]]
            costs[mine[0]] = cost if known is None else known + cost
        _warn_of_few_rows(statistics)
        return costs

    def score(self, group: ChannelGroup, statistics: ChannelStatistics) -> np.ndarray:
        seen = statistics.per_channel(group, statistics[self.name], add_up=True)
        return seen_or_made(group, seen, np.sum)

    def _cost(self, moments, layer, axis):
        """The cost of every channel that a layer reads."""
        kernel = keras.ops.convert_to_numpy(layer.kernel).astype("float64")
        weights = np.moveaxis(kernel, axis, 0)
        count = len(weights)
        # A kernel of groups has rows for one of them, and columns for all.
        groups = np.split(weights, len(moments) // count, -1)
        costs, power = [], 0.0
        for number, own in enumerate(groups):
            part = slice(number * count, (number + 1) * count)
            own, inner = own.reshape(count, -1), moments[part, part]
            power += np.sum(own * (inner @ own))
            costs.append(_unexplained(inner, self.ridge) * (own**2).sum(1))
        return np.concatenate(costs) / (power or 1.0)


def _unexplained(moments, ridge):
    """The power of every channel that the others do not predict."""
    shift = ridge * np.trace(moments) / len(moments)
    if not shift:
        return np.zeros(len(moments))  # nothing ever arrives
    return 1 / np.diag(np.linalg.inv(moments + shift * np.eye(len(moments))))


def _warn_of_few_rows(statistics):
    """Fewer rows than channels make all channels look dependent."""
    short = [
        (-(-len(moments) * statistics.num_samples // rows), reading.layers[0], moments)
        for reading, moments, rows in zip(
            statistics.readings, statistics.moments, statistics.num_rows, strict=True
        )
        if moments is not None and rows < len(moments)
    ]
    if short:
        samples, name, moments = max(short, key=lambda entry: entry[0])
        logging.warning(
            "`data` held %d samples; layer %r reads %d channels, and with fewer than "
            "%d samples every one of them looks as if the others could replace it.",
            statistics.num_samples, name, len(moments), samples,
        )  # fmt: skip
