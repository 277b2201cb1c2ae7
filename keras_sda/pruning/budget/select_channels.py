"""Choose the channels that go, from scores and a budget."""

import math
from collections.abc import Collection, Sequence

import numpy as np

from keras_sda.graph import ChannelGraph, ChannelGroup
from keras_sda.pruning.budget.model_cost import ModelCost
from keras_sda.utils import InvalidInputError


def select_channels(
    graph: ChannelGraph,
    scores: Sequence[np.ndarray],
    targets: dict[str, float],
    cost: ModelCost,
    scope: str = "global",
    round_to: int = 1,
    min_channels: int = 1,
    exclude: Collection[str] = (),
    relative: bool = True,
) -> np.ndarray:
    """Marks the classes to remove, so that no more is left than the targets allow.

    Args:
        graph: The channels of the model.
        scores: For every group of `graph.groups` one number per channel.
        targets: `"macs"` and / or `"params"` in absolute numbers.
        cost: `ModelCost` of the graph.
        scope: `"global"` compares the channels of all groups; `"layer"` takes the same
            share from every group.
        round_to: Every group keeps a multiple of so many channels per layer.
        min_channels: Every group keeps at least so many channels per layer.
        exclude: Names of layers whose channels stay.
        relative: Whether scores are divided by the mean of their group first, as for
            the size of weights, which differs from layer to layer for no good reason.
            Defaults to `True`.

    Returns:
        Boolean array over the classes of `graph.units`.

    Raises:
        InvalidInputError: The targets cannot be reached; the message gives the floor.

    Example:

    >>> import keras
    >>> from keras_sda.pruning.budget.select_channels import select_channels
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4)(x)
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(2)(y)))
    >>> cost = ModelCost(graph)
    >>> removed = select_channels(graph, [np.arange(4)], {"macs": 20}, cost)
    >>> cost.count(removed)[1]
    20
    """
    scores = [np.asarray(score, "float64") for score in scores]
    if relative:
        scores = [_divided(score, np.abs(score).mean()) for score in scores]
    elif scores:
        mean = np.abs(np.concatenate(scores)).mean()
        scores = [_divided(score, mean) for score in scores]
    candidates = [
        _Candidate(graph, group, score, round_to, min_channels)
        for group, score in zip(graph.groups, scores, strict=True)
        if not set(group.writers) & set(exclude)
    ]
    if scope == "global":
        thresholds = _global_thresholds(candidates)
    else:
        thresholds = np.linspace(0, 1, 4001)
    count = len(graph.units.pinned)

    def removed_at(step):
        removed = np.zeros(count, bool)
        for candidate in candidates:
            if scope == "global":
                wanted = np.searchsorted(
                    candidate.sorted_scores, thresholds[step], side="right"
                )
            else:
                wanted = math.floor(thresholds[step] * len(candidate.order) + 1e-9)
            removed[candidate.removed(wanted)] = True
        return removed

    def fits(step):
        params, macs = cost.count(removed_at(step))
        left = {"params": params, "macs": macs}
        return all(left[key] <= value for key, value in targets.items())

    low, high = 0, len(thresholds) - 1
    if not fits(high):
        params, macs = cost.count(removed_at(high))
        left = {"params": params, "macs": macs}
        whole = {"params": cost.params, "macs": cost.macs}
        floors = ", ".join(
            f"{key}={left[key] / max(whole[key], 1):.3f} ({left[key]:,})"
            for key in targets
        )
        asked = ", ".join(
            f"{key}={value / max(whole[key], 1):.3f} ({round(value):,})"
            for key, value in targets.items()
        )
        raise InvalidInputError(
            f"The target cannot be reached: asked for {asked}, but with `round_to`="
            f"{round_to}, `min_channels`={min_channels} and the channels that have to "
            f"stay the floor is {floors}. Ask for more, lower `round_to` and "
            "`min_channels`, shorten `exclude`, or see ChannelGraph(model).untouchable "
            f"for what stands in the way: {graph.what_stays(limit=6)}."
        )
    while low < high:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle + 1
    return removed_at(low)


def _divided(scores, mean):
    return scores / mean if mean > 0 else scores


class _Candidate:
    """The channels of a group in the order in which they go."""

    def __init__(
        self, graph: ChannelGraph, group: ChannelGroup, scores, round_to, min_channels
    ):
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

    def removed(self, wanted: int) -> np.ndarray:
        count = len(self.order)
        kept = max(count - wanted, min(self._least, count))
        kept = min(math.ceil(kept / self._step) * self._step, count)
        return self.order[: count - kept]


def _global_thresholds(candidates):
    """Every score once, so that each step may remove one more channel."""
    if not candidates:
        return np.array([-np.inf])
    scores = np.unique(np.concatenate([c.sorted_scores for c in candidates]))
    return np.concatenate([[-np.inf], scores])
