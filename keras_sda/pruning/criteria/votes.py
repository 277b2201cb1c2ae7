"""The criterion `votes`: in how many comparisons a channel is the louder one."""

from typing import Any

import keras
import numpy as np

from keras_sda.graph import ChannelGraph, ChannelGroup
from keras_sda.pruning.criteria.channel_statistics import ChannelStatistics, SeenBatch
from keras_sda.pruning.criteria.criterion import Criterion
from keras_sda.pruning.criteria.mean_of_makers import seen_or_made


class Votes(Criterion):
    """Share of the pairs of a sample and another channel that a channel wins.

    It wins where its mean absolute activation is larger; a tie is half a vote. Ranks
    have no scale, and their mean is one half in every tensor, so that they can be
    compared between layers as they are.

    Source: our reading of Alqahtani et al., "Neuron-based Network Pruning Based on
    Majority Voting" (ICPR 2020), which does not say what is compared.
    """

    name = "votes"
    needs = ("activations",)
    relative = False

    def reduce(self, activations: Any) -> Any:
        return keras.ops.mean(keras.ops.abs(activations), axis=1)

    def collect(self, graph: ChannelGraph, batch: SeenBatch) -> list[np.ndarray]:
        return [np.sum([_votes(x) for x in sums], 0) for sums in batch.activations]

    def score(self, group: ChannelGroup, statistics: ChannelStatistics) -> np.ndarray:
        shares = [total / statistics.num_samples for total in statistics[self.name]]
        seen = statistics.per_channel(group, shares)
        if any(seen):
            return seen_or_made(group, seen, np.mean)
        return _votes(seen_or_made(group, seen, np.mean))


def _votes(values):
    """For every entry the share of the others that it is larger than."""
    ordered = np.sort(values)
    smaller = np.searchsorted(ordered, values, "left")
    ties = np.searchsorted(ordered, values, "right") - smaller - 1
    return (smaller + ties / 2) / max(len(values) - 1, 1)
