"""Decide which channels and blocks to remove."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras
import numpy as np

from keras_sda.analysis import LatencyTable, compare_latency
from keras_sda.graph import ChannelGraph, expand_known_blocks
from keras_sda.pruning.blocks.block_importance import least_important_blocks
from keras_sda.pruning.blocks.choose_blocks import choose_blocks
from keras_sda.pruning.blocks.remove_blocks import graphs_without_blocks
from keras_sda.pruning.budget.cost import Cost
from keras_sda.pruning.budget.find_targets import (
    check_latency_table,
    check_numbers,
    count_left,
    find_targets,
)
from keras_sda.pruning.budget.group_savings import small_groups
from keras_sda.pruning.budget.masked_loss import MaskedLoss
from keras_sda.pruning.budget.meet_latency import meet_latency
from keras_sda.pruning.budget.rate_by_loss import MAX_EVALUATIONS, rate_by_loss
from keras_sda.pruning.budget.select_channels import floor_of, select_channels
from keras_sda.pruning.check_plan import (
    check_amounts,
    check_blocks,
    check_data,
    check_exclude,
    check_finite,
    check_floor,
)
from keras_sda.pruning.criteria.collect_statistics import collect_statistics
from keras_sda.pruning.criteria.criteria import companions, find_criterion
from keras_sda.pruning.criteria.criterion import Criterion
from keras_sda.pruning.default_importance import default_importance
from keras_sda.pruning.pruning_plan import PruningPlan
from keras_sda.utils import InvalidInputError

# What no share says that was measured, behind the last of them, is not cut.
_FLOOR_BY_LOSS = 0.1


def make_plan(
    model: keras.Model,
    macs: float | None = None,
    params: float | None = None,
    latency: float | None = None,
    importance: str | Criterion | Callable | None = None,
    scope: str = "global",
    round_to: int = 1,
    min_channels: int = 1,
    exclude: Collection[str] = (),
    data: Any = None,
    loss: Any = None,
    seed: int = 0,
    batch_size: int = 1,
    graph: ChannelGraph | None = None,
    input_shape: Any = None,
    budget: Sequence[tuple[Cost, float]] = (),
    latency_table: LatencyTable | None = None,
    blocks: int | Collection[str] = (),
    floor: float | None = None,
    max_evaluations: int = MAX_EVALUATIONS,
) -> PruningPlan:
    """Plans which channels of a model to remove to meet a budget.

    Use it where you want to look at a plan, store it or replay it; `prune` does all in
    one call. At least one target is needed, or blocks; with several, all are met.

    Where scores are compared as they are, as those of `"taylor"`, and for
    `scope="loss"`, groups that save next to nothing of any target (under 2 %, and under
    a tenth of what groups save on average) lose channels only after all others. There
    the loss of up to 256 samples before and after the cut alone is in `expected`, too,
    beside that of a model which looks at nothing: where the criterion asks for
    gradients, and data can be read twice.

    Args:
        model: A functional or built sequential model. It is not changed.
        macs: Multiply-accumulates to keep, as a share (up to 1) or an absolute number.
        params: Parameters to keep, likewise.
        latency: Inference time to keep on this device, as a share (up to 1.0) or in
            milliseconds, for batches of `batch_size`. With a `latency_table`, on the
            device of the table and in its unit; nothing is measured then.
        importance: Name of a criterion: one of `CRITERIA`, to which
            `register_criterion` adds. Or a `Criterion`, or a function of a
            `ChannelGroup` that returns one number per channel; one that asks for a
            second argument gets the statistics of `data` as well. Low ones go first.
            Defaults to `None`: `"taylor"` where `data` have targets and there is a
            loss, `"activation"` where they have none, `"l1"` without data.
        scope: `"global"` compares channels of all layers, relative to the mean of their
            group; `"layer"` takes the same share of every group. `"loss"` measures on
            `data` how much the loss rises when parts of a group are left out, and takes
            most where that is least for what it saves; the criterion then says only
            which channels of a group go first. Every group is measured alone, so it is
            best for moderate cuts, or in `steps`. Defaults to `"global"`.
        round_to: Layers keep multiples of so many channels. Where the channels of a
            layer fall into several groups, each group does, and those that have to stay
            come on top; the report of `prune` names layers that end with other numbers.
            Defaults to `1`.
        min_channels: Layers keep at least so many channels. Defaults to `1`.
        exclude: Names of layers that lose no channel. Defaults to none.
        data: For criteria that look at data, such as `"taylor"` and `"activation"`, for
            `scope="loss"` and for blocks that the loss chooses: anything that
            `model.fit` takes. Those that go by the weights alone refuse it. Defaults to
            `None`.
        loss: For criteria of gradients, such as `"taylor"`, for `scope="loss"` and for
            blocks that the loss chooses: a Keras loss or its name. Defaults to that of
            the compiled model, else to the cross-entropy of a classifier whose head is
            clear (a softmax, a sigmoid).
        seed: Seed of random numbers, as in `"random"`. Defaults to `0`.
        batch_size: Images per step of `latency`. Defaults to `1`.
        graph: The `ChannelGraph` of the model, to save time. Defaults to a new one.
        input_shape: Shape of one sample, where the model leaves it open. Defaults to
            `None`.
        budget: Further targets: pairs of a `Cost` of yours and what may be left of it,
            as a share (up to 1) or in its unit. Defaults to none.
        latency_table: Times of the layers on another device, for `latency`. Its `unit`
            is `latency_unit` in the settings of the plan. Defaults to `None`.
        blocks: Blocks that go as a whole: names of `removable_blocks`, or how
            many of those that `block_importance(how="loss")` finds least important.
            Then channels go until the targets are met; shares are those of the whole
            model. `"auto"` compares up to eight plans, without blocks and with up to
            twelve of them, by their loss on `data`. Defaults to none.
        floor: Share of its channels that every group keeps at least, for `"global"` and
            `"loss"`, so that heavy-tailed scores empty no layer. Where the targets
            cannot be met so, it is lowered for all alike, and the plan warns. Defaults
            to `None`: 0.1 for `"loss"`, nothing for `"global"`.
        max_evaluations: For `"loss"`: at most so often up to 256 samples are run
            through the model, or through what of it stands behind the group. Where
            there are many groups, fewer shares of each are measured, and then
            neighbours together. Defaults to `120`.

    Returns:
        A `PruningPlan`. Its `warnings` name layers that keep hardly any channels, and
        say where the cut alone takes the model half of the way to that loss.

    Source: a floor per layer as in protected global pruning (PruningBench, arXiv
    2406.12315).

    Raises:
        InvalidInputError: A target is missing or cannot be reached (the message gives
            the floor), an argument is unknown, data are missing or not looked at,
            weights are not finite, or nothing can be removed.

    Example:

    >>> from keras_sda.applications import CIFARResNet20
    >>> from keras_sda.pruning import make_plan
    >>> model = CIFARResNet20()
    >>> plan = make_plan(model, macs=0.5, round_to=8)
    >>> plan.expected["macs"] <= 0.5 * plan.expected["macs_before"]
    True
    """
    check_numbers({"macs": macs, "params": params, "latency": latency}, budget)
    check_latency_table(latency_table, latency)
    check_blocks(blocks, budget)
    named = None if blocks == "auto" else blocks or None
    asked = (macs, params, latency, budget or None, named)
    check_amounts(macs, params, asked, scope, round_to, min_channels)
    check_floor(floor, scope, max_evaluations)
    check_finite(model)
    loss = getattr(model, "loss", None) if loss is None else loss
    if graph is None:
        graph = ChannelGraph(expand_known_blocks(model), input_shape)
    if importance is None:
        importance, data = default_importance(graph, data, loss)
    criterion = find_criterion(importance)
    check_data(criterion, data, blocks, scope)
    exclude = check_exclude(exclude, graph)
    if blocks == "auto":
        looked_at = data if criterion.needs or scope == "loss" else None

        def make(names):
            return make_plan(
                model, macs=macs, params=params, latency=latency, budget=budget,
                importance=criterion, scope=scope, round_to=round_to, floor=floor,
                min_channels=min_channels, exclude=exclude, data=looked_at, loss=loss,
                seed=seed, batch_size=batch_size, graph=graph, input_shape=input_shape,
                latency_table=latency_table, blocks=names,
                max_evaluations=max_evaluations,
            )  # fmt: skip

        return choose_blocks(graph.model, make, data, loss, seed=seed)
    whole, names = graph, least_important_blocks(graph.model, blocks, data, loss)
    if names:
        absent, graph = graphs_without_blocks(whole, names)
    if not graph.groups and not names:
        raise InvalidInputError(
            f"`model` '{graph.model.name}' has no channels that can be removed: "
            f"{graph.what_stays()}."
        )
    statistics = collect_statistics(graph, companions(criterion), data, loss, seed)
    scores = [_score(criterion, group, statistics) for group in graph.groups]
    constraints: dict[str, Any] = {
        "scope": scope,
        "round_to": round_to,
        "min_channels": min_channels,
        "exclude": exclude,
        "relative": criterion.relative,
    }
    targets, costs = find_targets(whole, macs, params, budget, latency, latency_table)
    of_graph = costs
    if names:
        _, of_graph = find_targets(graph, latency_table=latency_table)
        targets = [
            (cost, min(value, count_left(cost, graph.kept())))
            for counted, value in targets
            for cost in of_graph
            if cost.name == counted.name
        ]
    measured = None
    if scope == "loss" or _may_read_again(criterion, data, statistics):
        measured = _measured(graph, data, loss, seed, is_asked=scope == "loss")
    if floor is None:
        floor = _FLOOR_BY_LOSS if scope == "loss" else 0.0
    is_timed = latency is not None and latency_table is None
    how = {**constraints, "floor": floor}
    if scope == "loss" or (scope == "global" and not criterion.relative):
        # What a measured latency asks for, multiply-accumulates stand for.
        aims = [*targets, (of_graph[1], 0.0)] if is_timed else targets
        how["spare"] = small_groups(graph, aims)
        if scope == "loss" and measured is not None:
            scores = rate_by_loss(
                graph, scores, aims, measured, max_evaluations, exclude, how["spare"]
            )
            how |= {"scope": "global", "relative": False}
    if not is_timed:
        removed = select_channels(graph, scores, targets, **how)
    else:
        share = _latency_left(latency, whole, graph, batch_size)
        removed = meet_latency(graph, scores, share, targets, batch_size, **how)
    expected = {}
    for cost, left in zip(costs, of_graph, strict=True):
        expected[f"{cost.name}_before"] = count_left(cost, whole.kept())
        expected[cost.name] = count_left(left, graph.kept(removed))
    if measured is not None:
        expected |= measured.expected(removed, whole.model if names else None)
    own: dict[str, Any] = {}
    if budget:
        own["budget"] = {cost.name: value for cost, value in budget}
    if latency_table is not None:
        own["latency_unit"] = latency_table.unit
    if floor:
        own["floor"] = floor
        if below := _below_floor(graph, removed, floor):
            own["below_floor"] = below
    plan = PruningPlan.from_classes(
        graph,
        removed,
        settings={
            "importance": criterion.name,
            "macs": macs,
            "params": params,
            "latency": latency,
            **own,
            **constraints,
            "exclude": sorted(exclude),
            "seed": seed,
            **({"blocks": list(names)} if names else {}),
        },
        expected=expected,
        blocks=names,
    )
    return plan.of_whole(whole, absent) if names else plan


def _latency_left(latency, whole, graph, batch_size):
    """The share of the latency of the whole, as one of what is left without blocks."""
    if graph is whole:
        return latency
    models = {"whole": whole.model, "left": graph.model}
    measured = compare_latency(models, batch_size, num_runs=15)
    ms = measured.results["whole"].median_ms
    share = latency if latency <= 1 else latency / ms
    # Let `meet_latency` say what is wrong with too long a time.
    return min(share / measured.ratios["left"], 1.0) if share <= 1 else latency


def _may_read_again(criterion, data, statistics):
    """Whether data that a criterion of gradients has read give a loss as well."""
    is_known = "gradients" in criterion.needs and statistics.num_samples > 1
    return is_known and not hasattr(data, "__next__")


def _measured(graph, data, loss, seed, is_asked):
    """What measures the loss; for a mere note only where the data give one again."""
    try:
        return MaskedLoss(graph, data, loss, seed)
    except InvalidInputError:
        if is_asked:
            raise
        return None


def _below_floor(graph, removed, floor):
    """The layers of groups that keep fewer channels than the floor says."""
    found: dict[str, None] = {}
    for group in graph.groups:
        left = group.num_channels - int(removed[group.classes].sum())
        if left < floor_of(group.num_channels, floor):
            found |= dict.fromkeys(group.writers)
    return list(found)


def _score(criterion, group, statistics):
    score = np.asarray(criterion.score(group, statistics), "float64")
    if score.shape != (group.num_channels,) or not np.isfinite(score).all():
        raise InvalidInputError(
            "`importance` must return one finite number per channel. Received "
            f"shape {score.shape} for {group.num_channels} channels made by "
            f"{', '.join(group.writers)}."
        )
    return score
