"""The criterion `discriminant`: how much a channel helps to tell classes apart."""

import numpy as np

from keras_sda.graph import ChannelGraph, ChannelGroup
from keras_sda.pruning.criteria.channel_statistics import ChannelStatistics, SeenBatch
from keras_sda.pruning.criteria.criterion import Criterion
from keras_sda.pruning.criteria.mean_of_makers import seen_or_made
from keras_sda.utils import InvalidInputError


class Discriminant(Criterion):
    """First-order loss of the discriminant information of a batch with a channel.

    With X the activations that a layer reads, one row per sample, and Y the labels as
    one-hot rows, both centred over the batch, it is 2 |Y' (X X' + rho I)^-1 X_c|^2 in
    closed form. Averaged over the batches, added up over the tensors that hold the
    channel. A batch wants samples of many classes, so data have to be shuffled.

    Source: Hou and Kung, arXiv 2005.13796 (there: of the convolution's own output).

    Args:
        rho: What is added to the diagonal. Defaults to `0.1`, as published.
    """

    name = "discriminant"
    needs = ("activations", "labels")

    def __init__(self, rho: float = 0.1):
        if not rho > 0:
            raise InvalidInputError(f"`rho` must be positive. Received: rho={rho!r}.")
        self.rho = rho

    def collect(self, graph: ChannelGraph, batch: SeenBatch) -> list[np.ndarray]:
        _, labels = np.unique(batch.labels, return_inverse=True)
        targets = np.eye(labels.max() + 1)[labels]
        targets -= targets.mean(0)
        found = []
        for values in batch.activations:
            rows = values.astype("float64")
            rows -= rows.mean(0)
            rows = rows.reshape(len(rows), -1)
            gram = rows @ rows.T + self.rho * np.eye(len(rows))
            slopes = np.linalg.solve(gram, targets).T @ rows
            squares = (slopes**2).reshape(-1, values.shape[-1]).sum(0)
            found.append(2 * squares)
        return found

    def finish(self, graph: ChannelGraph, statistics: ChannelStatistics) -> list:
        totals = statistics[self.name]
        if totals and not any(total.any() for total in totals):
            raise InvalidInputError(
                f"importance={self.name!r} learns nothing from `data`: every batch "
                "holds samples of one class alone, or no channel differs between them. "
                "Shuffle the data, and give batches of several classes."
            )
        return [total / statistics.num_batches for total in totals]

    def score(self, group: ChannelGroup, statistics: ChannelStatistics) -> np.ndarray:
        seen = statistics.per_channel(group, statistics[self.name], add_up=True)
        return seen_or_made(group, seen, np.sum)
