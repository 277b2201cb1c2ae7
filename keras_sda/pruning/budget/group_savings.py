"""What groups of channels can save."""

from collections.abc import Sequence

import numpy as np

from keras_sda.graph import ChannelGraph
from keras_sda.pruning.budget.cost import Cost

# Groups that save less than this share of the cost, and than this part of what groups
# save on average, are left alone: a network of many groups saves little in each.
_SHARE, _PART = 0.02, 0.1


def group_savings(
    graph: ChannelGraph, targets: Sequence[tuple[Cost, float]]
) -> np.ndarray:
    """Which share of every cost goes with all channels of a group but one.

    Args:
        graph: The channels of the model.
        targets: Costs, and what may be left of each, which is not looked at.

    Returns:
        float array of one row per target and one column per group.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning.budget.group_savings import group_savings
    >>> from keras_sda.pruning.budget.mac_cost import MacCost
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4)(x)
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(2)(y)))
    >>> group_savings(graph, [(MacCost(graph), 20)]).tolist()
    [[0.75]]
    """
    whole = [cost.count(graph.kept()) for cost, _ in targets]
    found = np.zeros((len(targets), len(graph.groups)))
    for group in graph.groups:
        removed = np.zeros(len(graph.units.pinned), bool)
        removed[group.classes[1:]] = True
        kept = graph.kept(removed)
        for place, (cost, _) in enumerate(targets):
            found[place, group.index] = 1 - cost.count(kept) / (whole[place] or 1)
    return found


def small_groups(
    graph: ChannelGraph, targets: Sequence[tuple[Cost, float]]
) -> list[int]:
    """The groups that save next to nothing, whatever goes of them.

    Scores that can be compared between layers are low where there are many channels,
    as in a wide dense layer behind convolutions, also where it takes no time at all.

    Args:
        graph: The channels of the model.
        targets: Costs, and what may be left of each, which is not looked at.

    Returns:
        Positions in `graph.groups`: those that save less than 2 % of every cost, and
        less than a tenth of what groups save on average.
    """
    savings = group_savings(graph, targets)
    if not savings.size:
        return []
    most = np.minimum(_SHARE, _PART * savings.mean(1, keepdims=True))
    return np.flatnonzero((savings < most).all(0)).tolist()
