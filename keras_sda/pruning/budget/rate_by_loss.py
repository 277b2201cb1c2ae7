"""How much the loss rises with the channels of each group, for what they save."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from absl import logging

from keras_sda.graph import ChannelGraph, ChannelGroup
from keras_sda.pruning.budget.cost import Cost
from keras_sda.pruning.budget.group_savings import group_savings
from keras_sda.pruning.budget.masked_loss import MaskedLoss
from keras_sda.utils import InvalidInputError

# Of the model on the samples.
MAX_EVALUATIONS = 120
# Shares of a group that are left out; fewer of them where there are many groups.
_SHARES = ((0.25, 0.5, 0.75), (1 / 3, 2 / 3), (0.5,))
# Nothing is taken to be free: a whole group costs at least this part of the dearest.
_LEAST = 1e-3


def rate_by_loss(
    graph: ChannelGraph,
    scores: Sequence[np.ndarray],
    targets: Sequence[tuple[Cost, float]],
    loss: MaskedLoss,
    max_evaluations: int = MAX_EVALUATIONS,
    exclude: Collection[str] = (),
    spare: Collection[int] = (),
) -> list[np.ndarray]:
    """Scores that say across groups how much the loss rises for what is saved.

    Inside of a group they keep the order of a criterion. For every group some shares of
    its channels are left out, all other groups being whole, and the loss is measured:
    a quarter, a half and three quarters, or fewer shares where `max_evaluations` would
    be exceeded; where that does not help, neighbouring groups share a measurement. In
    between, the rise is spread over the channels by their scores; it never falls, and
    its slope never does, so that a group which ruins the network at a quarter is not
    taken to be cheap from there on. What lies behind the last share is taken to rise
    twice as steeply.

    `select_channels` then takes channels across groups from the cheapest rise on. That
    is the least total rise if rises add up. They do not where much is cut: two groups
    may do together what neither does alone, or stand in for each other. So the plan is
    good where the cut is moderate; prune in steps, which measure anew, where it is not.

    Args:
        graph: The channels of the model.
        scores: For every group of `graph.groups` one number per channel; low ones go
            first.
        targets: Costs, and what may be left of each in its own unit.
        loss: What measures.
        max_evaluations: At most so often are the samples run through the model (or what
            of it stands behind the group), with one for the whole model and one for the
            plan. Defaults to `120`.
        exclude: Names of layers whose channels stay. Defaults to none.
        spare: Positions of groups that are not worth a measurement; they get ranks
            by their place in the group. Defaults to none.

    Returns:
        For every group one number per channel: ranks, to be compared as they are.

    Raises:
        InvalidInputError: The loss of the whole model is no number.

    Source: the allocation of Hou & Kung, ICPR 2020 (arXiv 2005.13796), with curves per
    group in place of one greedy step after the other.
    """
    needed = [1 - left / (cost.count(graph.kept()) or 1) for cost, left in targets]
    weights = np.array([1 / need if need > 0 else 0.0 for need in needed])
    scores = [np.asarray(score, "float64") for score in scores]
    groups = [
        group
        for group in graph.groups
        if group.num_channels > 1
        and group.index not in set(spare)
        and not set(group.writers) & set(exclude)
    ]
    if not groups or not weights.any():
        return scores
    savings = weights @ group_savings(graph, targets)
    before, _ = loss.whole()
    if not np.isfinite(before):
        raise InvalidInputError(
            f"`data`: the loss of model {graph.model.name!r} on them is {before}. Look "
            "for values that are not finite in the data and in the weights."
        )
    curves = _measure(graph, scores, groups, savings, loss, before, max_evaluations)
    rises = [
        _per_channel(np.sort(scores[group.index]), *curves[group.index])
        for group in groups
    ]
    least = _LEAST * max(values.sum() for values in rises) or 1.0
    rates = []
    for group, values in zip(groups, rises, strict=True):
        each = savings[group.index] / group.num_channels
        # What saves nothing goes last.
        worth = (values + least / len(values)) / each if each > 0 else values + np.inf
        rates.append(worth)
    # Only their order counts, and they differ by many orders of magnitude.
    ranks = np.unique(np.concatenate(rates), return_inverse=True)[1]
    ranks = ranks / len(ranks)
    found = [np.arange(len(score)) / len(score) for score in scores]
    ends = np.cumsum([len(values) for values in rates])[:-1]
    for group, values in zip(groups, np.split(ranks, ends), strict=True):
        found[group.index] = values
    return [_in_order_of(*pair) for pair in zip(scores, found, strict=True)]


def _measure(graph, scores, groups, savings, loss, before, max_evaluations):
    """By group numbers of channels, and how much the loss rises without them."""
    places = {group.index: loss.position(group) for group in groups}
    groups = sorted(groups, key=lambda group: (places[group.index], group.index))
    bins = [[group] for group in groups]
    most = max_evaluations - 2
    for shares in _SHARES:
        jobs = sum(len(_counts(group, shares)) for group in groups)
        if jobs <= most:
            break
    else:
        size = -(-len(groups) // most)
        bins = [groups[k : k + size] for k in range(0, len(groups), size)]
        jobs = len(bins)
    logging.info(
        "%s: the loss is measured without %d parts of its %d groups of channels.",
        graph.model.name, jobs, len(groups),
    )  # fmt: skip
    curves: dict[int, Any] = {group.index: ([], []) for group in groups}
    done = 0
    for members in bins:
        together = sum(savings[group.index] for group in members) or 1.0
        counts = [_counts(group, shares) for group in members]
        for number in range(len(counts[0])):
            removed = np.zeros(len(graph.units.pinned), bool)
            for group, mine in zip(members, counts, strict=True):
                order = np.argsort(scores[group.index], kind="stable")
                removed[group.classes[order[: mine[number]]]] = True
            value = loss.behind(removed, places[members[0].index]) - before
            for group, mine in zip(members, counts, strict=True):
                part = savings[group.index] / together if len(members) > 1 else 1.0
                curves[group.index][0].append(mine[number])
                curves[group.index][1].append(value * part if part else 0.0)
            done += 1
            logging.log_every_n_seconds(
                logging.INFO, "%s: %d of %d parts measured.", 10,
                graph.model.name, done, jobs,
            )  # fmt: skip
    rises = [rise for _, values in curves.values() for rise in values]
    # What overflows is worse than all that does not.
    worst = 10 * max([1.0, *(abs(x) for x in rises if np.isfinite(x))])
    return {
        index: (numbers, [x if np.isfinite(x) else worst for x in values])
        for index, (numbers, values) in curves.items()
    }


def _counts(group: ChannelGroup, shares) -> list[int]:
    """How many channels of a group are left out, at least one and never all."""
    most = group.num_channels - 1
    return sorted({min(max(round(share * (most + 1)), 1), most) for share in shares})


def _per_channel(scores, counts, rises):
    """What every channel adds to the rise, in the order in which they go."""
    edges = np.array([0, *counts, len(scores)])
    values = np.maximum.accumulate([0.0, *rises])
    slopes = np.diff(values) / np.diff(edges[:-1])
    slopes = np.maximum.accumulate(slopes)
    slopes = [*slopes, 2 * slopes[-1]]
    parts = []
    scores = scores - min(scores.min(), 0.0)
    for start, end, slope in zip(edges[:-1], edges[1:], slopes, strict=True):
        mine = scores[start:end]
        total = mine.sum()
        even = np.full(len(mine), 1 / len(mine))
        parts.append(slope * len(mine) * (mine / total if total > 0 else even))
    return _rising(np.concatenate(parts))


def _rising(values):
    """The nearest numbers that never fall: falling neighbours become their mean."""
    blocks: list[list[float]] = []  # sum and length
    for value in values:
        blocks.append([value, 1])
        while len(blocks) > 1 and (
            blocks[-2][0] * blocks[-1][1] > blocks[-1][0] * blocks[-2][1]
        ):
            total, length = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += length
    return np.concatenate([np.full(int(n), total / n) for total, n in blocks])


def _in_order_of(scores, values):
    """The values, smallest first, laid out in the order of the scores."""
    found = np.empty(len(scores))
    found[np.argsort(scores, kind="stable")] = values
    return found
