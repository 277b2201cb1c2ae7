"""The criterion `l1`: how large the weights are that make a channel."""

import numpy as np

from keras_sda.graph import ChannelGroup
from keras_sda.pruning.criteria.channel_statistics import ChannelStatistics
from keras_sda.pruning.criteria.criterion import Criterion
from keras_sda.pruning.criteria.mean_of_makers import mean_of_makers


class L1(Criterion):
    """Mean absolute value of the weights that make the channel.

    Source: Li et al., arXiv 1608.08710, section 3.1.
    """

    name = "l1"

    def score(self, group: ChannelGroup, statistics: ChannelStatistics) -> np.ndarray:
        return mean_of_makers(group, np.abs)
