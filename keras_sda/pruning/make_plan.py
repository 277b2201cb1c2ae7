"""Decide which channels to remove."""

from collections.abc import Callable, Collection
from typing import Any

import keras
import numpy as np

from keras_sda.graph import ChannelGraph, expand_known_blocks
from keras_sda.pruning.budget.model_cost import ModelCost
from keras_sda.pruning.budget.select_channels import select_channels
from keras_sda.pruning.criteria.channel_statistics import channel_statistics
from keras_sda.pruning.criteria.criteria import CRITERIA, NEEDS_DATA
from keras_sda.pruning.pruning_plan import PruningPlan
from keras_sda.utils import InvalidInputError


def make_plan(
    model: keras.Model,
    macs: float | None = None,
    params: float | None = None,
    latency: float | None = None,
    importance: str | Callable = "l1",
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
) -> PruningPlan:
    """Plans which channels of a model to remove to meet a budget.

    Use it where you want to look at a plan, store it or replay it; `prune` does all in
    one call. At least one target is needed; with several, all are met.

    Args:
        model: A functional or built sequential model. It is not changed.
        macs: Multiply-accumulates to keep, as a share (up to 1) or an absolute number.
        params: Parameters to keep, likewise.
        latency: Inference time to keep on this device, as a share (up to 1.0) or in
            milliseconds, for batches of `batch_size`.
        importance: `"l1"`, `"l2"`, `"bn_scale"`, `"taylor"`, `"geometric_median"`,
            `"activation"`, `"random"` (see `CRITERIA`), or a function of a
            `ChannelGroup` that returns one number per channel. Low ones go first.
            Defaults to `"l1"`.
        scope: `"global"` compares channels of all layers, relative to the mean of their
            group; `"layer"` takes the same share of every group. Defaults to
            `"global"`.
        round_to: Layers keep multiples of so many channels. Where the channels of a
            layer fall into several groups, each group does, and those that have to stay
            come on top; the report of `prune` names layers that end with other numbers.
            Defaults to `1`.
        min_channels: Layers keep at least so many channels. Defaults to `1`.
        exclude: Names of layers that lose no channel. Defaults to none.
        data: For `"taylor"` and `"activation"`: `(inputs, targets)` arrays, or an
            iterable of batches of them. Defaults to `None`.
        loss: For `"taylor"`: a Keras loss or its name. Defaults to that of the compiled
            model.
        seed: Seed of `"random"`. Defaults to `0`.
        batch_size: Images per step of `latency`. Defaults to `1`.
        graph: The `ChannelGraph` of the model, to save time. Defaults to a new one.
        input_shape: Shape of one sample, where the model leaves it open. Defaults to
            `None`.

    Returns:
        A `PruningPlan`.

    Raises:
        InvalidInputError: A target is missing or cannot be reached (the message gives
            the floor), an argument is unknown, weights are not finite, or nothing can
            be removed.

    Example:

    >>> from keras_sda.applications import CIFARResNet20
    >>> from keras_sda.pruning import make_plan
    >>> model = CIFARResNet20()
    >>> plan = make_plan(model, macs=0.5, round_to=8)
    >>> plan.expected["macs"] <= 0.5 * plan.expected["macs_before"]
    True
    """
    _check(macs, params, latency, importance, scope, round_to, min_channels)
    _check_finite(model)
    if graph is None:
        loss = getattr(model, "loss", None) if loss is None else loss
        model = expand_known_blocks(model)
        graph = ChannelGraph(model, input_shape)
    exclude = _check_exclude(exclude, graph)
    if not graph.groups:
        raise InvalidInputError(
            f"`model` '{graph.model.name}' has no channels that can be removed: "
            f"{graph.what_stays()}."
        )
    scores = _scores(graph, importance, data, loss, model, seed)
    cost = ModelCost(graph)
    constraints = {
        "scope": scope,
        "round_to": round_to,
        "min_channels": min_channels,
        "exclude": exclude,
        # A change of the loss can be compared between layers as it is.
        "relative": importance != "taylor",
    }
    targets = {}
    if macs is not None:
        cost.check_counted("macs")
        targets["macs"] = macs * cost.macs if macs <= 1 else macs
    if params is not None:
        targets["params"] = params * cost.params if params <= 1 else params
    for key, value in targets.items():
        whole = {"macs": cost.macs, "params": cost.params}[key]
        if value > whole:
            raise InvalidInputError(
                f"`{key}` must not exceed what the model has. Received: "
                f"{key}={value:,.0f}; '{graph.model.name}' has {whole:,}. Give a share "
                "such as 0.5, or a smaller number."
            )
    if latency is not None:
        from keras_sda.pruning.budget.meet_latency import meet_latency

        removed = meet_latency(
            graph, scores, latency, targets, cost, batch_size, **constraints
        )
    else:
        removed = select_channels(graph, scores, targets, cost, **constraints)
    left_params, left_macs = cost.count(removed)
    name = importance if isinstance(importance, str) else _name_of(importance)
    return PruningPlan.from_classes(
        graph,
        removed,
        settings={
            "importance": name,
            "macs": macs,
            "params": params,
            "latency": latency,
            **constraints,
            "exclude": sorted(exclude),
            "seed": seed,
        },
        expected={
            "params_before": cost.params,
            "params": left_params,
            "macs_before": cost.macs,
            "macs": left_macs,
        },
    )


def _name_of(function):
    return getattr(function, "__name__", type(function).__name__)


def _check(macs, params, latency, importance, scope, round_to, min_channels):
    targets = {"macs": macs, "params": params, "latency": latency}
    if all(value is None for value in targets.values()):
        raise InvalidInputError(
            "One of `macs`, `params` and `latency` must be given, such as macs=0.5."
        )
    for key, value in targets.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and value > 0 and np.isfinite(value)):
            raise InvalidInputError(
                f"`{key}` must be a share between 0 and 1 or a positive number. "
                f"Received: {key}={value!r}."
            )
        if value is not None and key != "latency" and 1 < value < 100:
            raise InvalidInputError(
                f"`{key}` must be a share of at most 1, such as 0.5, or an absolute "
                f"number. Received: {key}={value!r}."
            )
    if not callable(importance) and importance not in CRITERIA:
        raise InvalidInputError(
            f"`importance` must be one of {sorted(CRITERIA)} or a function of a "
            f"ChannelGroup. Received: importance={importance!r}."
        )
    if scope not in ("global", "layer"):
        raise InvalidInputError(
            f"`scope` must be 'global' or 'layer'. Received: scope={scope!r}."
        )
    for key, value in (("round_to", round_to), ("min_channels", min_channels)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidInputError(
                f"`{key}` must be a positive integer. Received: {key}={value!r}."
            )


def _check_finite(model):
    for variable in getattr(model, "weights", ()):
        value = keras.ops.convert_to_numpy(variable)
        if (
            value.dtype.kind not in "iub"
            and not np.isfinite(value.astype("float32")).all()
        ):
            raise InvalidInputError(
                f"`model` holds values that are not finite in {variable.path!r}. "
                "Prune weights from before the training diverged."
            )


def _check_exclude(exclude, graph):
    if isinstance(exclude, str):
        exclude = [exclude]
    unknown = [name for name in exclude if name not in graph.layers]
    if unknown:
        raise InvalidInputError(
            f"`exclude` names {unknown}, which are no layers of model "
            f"'{graph.model.name}'. Layers of nested models are called 'model/layer'."
        )
    return frozenset(exclude)


def _scores(graph, importance, data, loss, model, seed):
    if callable(importance):
        scores = [np.asarray(importance(group), "float64") for group in graph.groups]
    else:
        statistics = {"generator": np.random.default_rng(seed)}
        if importance in NEEDS_DATA:
            statistics.update(channel_statistics(graph, model, importance, data, loss))
        scores = [CRITERIA[importance](group, statistics) for group in graph.groups]
    for group, score in zip(graph.groups, scores, strict=True):
        if score.shape != (group.num_channels,) or not np.isfinite(score).all():
            raise InvalidInputError(
                "`importance` must return one finite number per channel. Received "
                f"shape {score.shape} for {group.num_channels} channels made by "
                f"{', '.join(group.writers)}."
            )
    return scores
