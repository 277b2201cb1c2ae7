"""Choose the channels that go, from scores and a budget."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sda.graph import ChannelGraph
from keras_sda.pruning.budget.cost import Cost
from keras_sda.pruning.budget.removal_order import RemovalOrder
from keras_sda.utils import InvalidInputError


def select_channels(
    graph: ChannelGraph,
    scores: Sequence[np.ndarray],
    targets: Sequence[tuple[Cost, float]],
    **constraints: Any,
) -> np.ndarray:
    """Marks the classes to remove, so that no more is left than the targets allow.

    Args:
        graph: The channels of the model.
        scores: For every group of `graph.groups` one number per channel.
        targets: Costs, and what may be left of each in its own unit.
        **constraints: How channels are compared and what has to stay, see
            `RemovalOrder`.

    Returns:
        Boolean array over the classes of `graph.units`.

    Raises:
        InvalidInputError: The targets cannot be reached; the message gives the floor.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning.budget.mac_cost import MacCost
    >>> from keras_sda.pruning.budget.select_channels import select_channels
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4)(x)
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(2)(y)))
    >>> cost = MacCost(graph)
    >>> removed = select_channels(graph, [np.arange(4)], [(cost, 20)])
    >>> cost.count(graph.kept(removed))
    20
    """
    order = RemovalOrder(graph, scores, **constraints)

    def fits(step):
        kept = graph.kept(order.removed_at(step))
        return all(cost.count(kept) <= value for cost, value in targets)

    low, high = 0, order.last
    if not fits(high):
        whole, least = graph.kept(), graph.kept(order.removed_at(high))
        floors, asked = [], []
        for cost, value in targets:
            all_of_it, left = cost.count(whole), cost.count(least)
            for texts, number in ((floors, left), (asked, value)):
                share = number / (all_of_it or 1)
                number = round(number) if isinstance(left, int) else number
                texts.append(f"{cost.name}={share:.3f} ({count_text(number)})")
        raise InvalidInputError(
            f"The target cannot be reached: asked for {', '.join(asked)}, but with "
            f"`round_to`={order.round_to}, `min_channels`={order.min_channels} and the "
            f"channels that have to stay the floor is {', '.join(floors)}. Ask for "
            "more, lower `round_to` and `min_channels`, shorten `exclude`, or see "
            "ChannelGraph(model).untouchable for what stands in the way: "
            f"{graph.what_stays(limit=6)}."
        )
    while low < high:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle + 1
    return order.removed_at(low)


def count_text(number: float) -> str:
    """A cost in words: whole numbers with commas, others with four digits."""
    return f"{number:,}" if isinstance(number, int) else f"{number:,.4g}"
