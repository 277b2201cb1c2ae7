"""Choose the channels that go, from scores and a budget."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from keras_sda.graph import ChannelGraph, ChannelGroup
from keras_sda.pruning.budget.cost import Cost
from keras_sda.utils import InvalidInputError

# In so many steps a floor that stands in the way of the targets falls to nothing.
_FLOOR_STEPS = 20


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


def floor_of(count: int, floor: float) -> int:
    """How many of the channels of a group a floor keeps: a share, rounded up."""
    return math.ceil(floor * count - 1e-9)


def count_text(number: float) -> str:
    """A cost in words: whole numbers with commas, others with four digits."""
    return f"{number:,}" if isinstance(number, int) else f"{number:,.4g}"


class RemovalOrder:
    """The order in which the channels of all groups go, one more at every step.

    Args:
        graph: The channels of the model.
        scores: For every group of `graph.groups` one number per channel.
        scope: `"global"` compares the channels of all groups; `"layer"` takes the same
            share from every group.
        round_to: Every group keeps a multiple of so many channels per layer.
        min_channels: Every group keeps at least so many channels per layer.
        exclude: Names of layers whose channels stay.
        relative: Whether scores are divided by the mean of their group first, as for
            the size of weights, which differs from layer to layer for no good reason.
            Defaults to `True`.
        floor: For `"global"`, the share of its channels that every group keeps; lowered
            for all groups alike once nothing else is left to go. Defaults to `0.0`.
        spare: For `"global"`, positions of groups whose channels go after those of all
            others. Defaults to none.

    Attributes:
        last: The last step, at which all is gone that may go.
        round_to, min_channels: As given.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning.budget.select_channels import RemovalOrder
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4)(x)
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(2)(y)))
    >>> order = RemovalOrder(graph, [np.arange(4)], min_channels=2)
    >>> int(order.removed_at(order.last).sum())
    2
    """

    def __init__(
        self,
        graph: ChannelGraph,
        scores: Sequence[np.ndarray],
        scope: str = "global",
        round_to: int = 1,
        min_channels: int = 1,
        exclude: Collection[str] = (),
        relative: bool = True,
        floor: float = 0.0,
        spare: Collection[int] = (),
    ):
        self.round_to, self.min_channels = round_to, min_channels
        scores = [np.asarray(score, "float64") for score in scores]
        if relative:
            scores = [_divided(score, np.abs(score).mean()) for score in scores]
        elif scores:
            mean = np.abs(np.concatenate(scores)).mean()
            scores = [_divided(score, mean) for score in scores]
        self._candidates = [
            _Candidate(graph, group, score, round_to, min_channels)
            for group, score in zip(graph.groups, scores, strict=True)
            if not set(group.writers) & set(exclude)
        ]
        self._is_global = scope == "global"
        self._spare = set(spare) if self._is_global else set()
        self._floor = floor if self._is_global else 0.0
        self._late = np.zeros(0)
        if self._is_global:
            parts: tuple[list, list] = [], []
            for candidate in self._candidates:
                parts[candidate.index in self._spare].append(candidate)
            self._thresholds, late = map(_global_thresholds, parts)
            self._late = late[1:]
        else:
            self._thresholds = np.linspace(0, 1, 4001)
        self._count = len(graph.units.pinned)
        # All of the others, those that are spared, and then the floor gives way.
        self._before_floor = len(self._thresholds) + len(self._late)
        self.last = self._before_floor - 1 + (_FLOOR_STEPS if self._floor else 0)

    def removed_at(self, step: int) -> np.ndarray:
        """The classes that are gone at a step, 0 to `last`.

        Args:
            step: The step.

        Returns:
            Boolean array over the classes of `graph.units`.
        """
        removed = np.zeros(self._count, bool)
        threshold = self._thresholds[min(step, len(self._thresholds) - 1)]
        late = np.concatenate([[-np.inf], self._late])
        late = late[min(max(step + 1 - len(self._thresholds), 0), len(late) - 1)]
        relaxed = max(step + 1 - self._before_floor, 0) / _FLOOR_STEPS
        for candidate in self._candidates:
            if self._is_global:
                is_spared = candidate.index in self._spare
                wanted = np.searchsorted(
                    candidate.sorted_scores,
                    late if is_spared else threshold,
                    side="right",
                )
            else:
                wanted = math.floor(threshold * len(candidate.order) + 1e-9)
            gone = candidate.removed(wanted, self._floor * (1 - relaxed))
            removed[gone] = True
        return removed


def _divided(scores, mean):
    return scores / mean if mean > 0 else scores


class _Candidate:
    """The channels of a group in the order in which they go."""

    def __init__(
        self, graph: ChannelGraph, group: ChannelGroup, scores, round_to, min_channels
    ):
        self.index = group.index
        self.order = group.classes[np.argsort(scores, kind="stable")]
        # Equal scores go one by one, not all at once.
        ranks = np.arange(len(scores)) / len(scores)
        self.sorted_scores = np.sort(scores) + 1e-6 * ranks
        # A channel of the group is so many channels of the layers that make it.
        multiples = [1]
        for name in group.writers:
            labels = graph.units.classes[graph.layers[name].made]
            multiples.append(int((labels == group.classes[0]).sum()))
        multiple = max(multiples)
        self._step = round_to // math.gcd(round_to, multiple)
        self._least = max(math.ceil(min_channels / multiple), 1)

    def removed(self, wanted: int, floor: float) -> np.ndarray:
        count = len(self.order)
        least = max(self._least, floor_of(count, floor))
        kept = max(count - wanted, min(least, count))
        kept = min(math.ceil(kept / self._step) * self._step, count)
        return self.order[: count - kept]


def _global_thresholds(candidates):
    """Every score once, so that each step may remove one more channel."""
    if not candidates:
        return np.array([-np.inf])
    scores = np.unique(np.concatenate([c.sorted_scores for c in candidates]))
    return np.concatenate([[-np.inf], scores])
