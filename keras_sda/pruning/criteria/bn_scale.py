"""The criterion `bn_scale`: the scale that batch normalization gives a channel."""

import numpy as np

from keras_sda.graph import ChannelGroup
from keras_sda.pruning.criteria.channel_statistics import ChannelStatistics
from keras_sda.pruning.criteria.criterion import Criterion
from keras_sda.pruning.criteria.mean_of_makers import mean_of_makers, mean_of_part


class BNScale(Criterion):
    """Absolute scale of the batch normalisation of the channel, else as `l1`.

    Source: Liu et al., arXiv 1708.06519, section 3.
    """

    name = "bn_scale"

    def score(self, group: ChannelGroup, statistics: ChannelStatistics) -> np.ndarray:
        scales = [
            mean_of_part(group, part, np.abs)
            for part in group.parts
            if part.variable.name == "gamma" and len(part.variable.shape) == 1
        ]
        return np.mean(scales, axis=0) if scales else mean_of_makers(group, np.abs)
