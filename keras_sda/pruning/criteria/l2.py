"""The criterion `l2`: how large the weights are that make a channel, squared."""

import numpy as np

from keras_sda.graph import ChannelGroup
from keras_sda.pruning.criteria.channel_statistics import ChannelStatistics
from keras_sda.pruning.criteria.criterion import Criterion
from keras_sda.pruning.criteria.mean_of_makers import mean_of_makers


class L2(Criterion):
    """Root mean square of the weights that make the channel."""

    name = "l2"

    def score(self, group: ChannelGroup, statistics: ChannelStatistics) -> np.ndarray:
        return np.sqrt(mean_of_makers(group, np.square))
