"""The criterion `random`: none at all."""

import numpy as np

from keras_sda.graph import ChannelGroup
from keras_sda.pruning.criteria.channel_statistics import ChannelStatistics
from keras_sda.pruning.criteria.criterion import Criterion


class Random(Criterion):
    """Uniform random numbers: what every criterion has to beat."""

    name = "random"

    def score(self, group: ChannelGroup, statistics: ChannelStatistics) -> np.ndarray:
        return statistics.generator.uniform(size=group.num_channels)
