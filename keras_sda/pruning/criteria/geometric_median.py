"""The criterion `geometric_median`: how easily other filters replace a channel."""

import numpy as np

from keras_sda.graph import ChannelGroup
from keras_sda.pruning.criteria.channel_statistics import ChannelStatistics
from keras_sda.pruning.criteria.criterion import Criterion
from keras_sda.pruning.criteria.mean_of_makers import makers


class GeometricMedian(Criterion):
    """Sum of the distances to the other filters: the replaceable ones are near all.

    Source: He et al., arXiv 1811.00250, section 3.3.
    """

    name = "geometric_median"

    def score(self, group: ChannelGroup, statistics: ChannelStatistics) -> np.ndarray:
        result = np.zeros(group.num_channels)
        for part in makers(group):
            filters = np.stack([v.ravel() for v in group.values(part)])
            filters = filters.astype("float64")
            squares = (filters**2).sum(-1)
            distances = squares[:, None] + squares[None] - 2 * filters @ filters.T
            result += np.sqrt(np.maximum(distances, 0)).sum(-1)
        return result
