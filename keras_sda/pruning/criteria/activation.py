"""The criterion `activation`: how much of a channel arrives where it is read."""

from typing import Any

import keras
import numpy as np

from keras_sda.graph import ChannelGroup
from keras_sda.pruning.criteria.channel_statistics import ChannelStatistics
from keras_sda.pruning.criteria.criterion import Criterion
from keras_sda.pruning.criteria.mean_of_makers import seen_or_made


class Activation(Criterion):
    """Mean absolute activation of the channel, after the layers that pass it on.

    Channels inside one layer, such as the hidden units of squeeze-excite layers, cannot
    be seen: theirs is that of `l1`.

    Source: Hu et al., arXiv 1607.03250 (there: the share of non-zeros).
    """

    name = "activation"
    needs = ("activations",)

    def reduce(self, activations: Any) -> Any:
        return keras.ops.mean(keras.ops.abs(activations), axis=1)

    def score(self, group: ChannelGroup, statistics: ChannelStatistics) -> np.ndarray:
        sums = statistics[self.name]
        means = [total / statistics.num_samples for total in sums]
        return seen_or_made(group, statistics.per_channel(group, means), np.mean)
