"""Checks and defaults of a channel search."""

import math
from typing import Any

import keras
import numpy as np

from keras_sda.data.fit.array_structures import leaves, shape_of
from keras_sda.data.fit.fit_data import FitData, is_stream_function
from keras_sda.search.gates.gate_cost import GateCost
from keras_sda.search.masks.round_masks import check_round_to
from keras_sda.tasks import Classification
from keras_sda.utils import InvalidInputError


def check_lambda(lambda_arch: Any, target_macs: Any) -> float:
    """The price to start with.

    Raises:
        InvalidInputError: It is no number from 0 up, or nothing is given.
    """
    if lambda_arch is None:
        if target_macs is None:
            raise InvalidInputError(
                "The search needs `lambda_arch`, the price of an open gate (such as "
                "1e-4), or `target_macs`, a budget (such as 0.5). Received neither."
            )
        return 1e-4
    is_number = isinstance(lambda_arch, (int, float)) and not isinstance(
        lambda_arch, bool
    )
    if not is_number or not 0 <= lambda_arch < math.inf:
        raise InvalidInputError(
            "`lambda_arch` must be a number from 0 up, such as 1e-4. Received: "
            f"lambda_arch={lambda_arch!r}."
        )
    if target_macs is not None and not lambda_arch:
        raise InvalidInputError(
            "`lambda_arch` must be positive where `target_macs` steers it: leave it "
            "out."
        )
    return float(lambda_arch)


def check_budget(target_macs: Any, cost: GateCost, round_to: int = 1) -> float | None:
    """The budget as a number of multiply-accumulates, or None.

    Raises:
        InvalidInputError: It is no number between the floor and the whole model, or
            `round_to` is no positive integer.
    """
    check_round_to(round_to)
    if target_macs is None:
        return None
    is_number = isinstance(target_macs, (int, float)) and not isinstance(
        target_macs, bool
    )
    if not is_number or not 0 < target_macs < math.inf:
        raise InvalidInputError(
            "`target_macs` must be a share below 1 or a number of "
            f"multiply-accumulates. Received: target_macs={target_macs!r}."
        )
    cost.check_counted("target_macs")
    target = target_macs * cost.macs if target_macs < 1 else float(target_macs)
    floor = cost.macs_at({g.name: np.arange(g.channels) < round_to for g in cost.gates})
    if not floor <= target < cost.macs:
        least = "one channel"
        if round_to > 1:
            least = f"{round_to} channels (`round_to`)"
        raise InvalidInputError(
            f"`target_macs`={target_macs!r} is out of reach: the model has "
            f"{cost.macs:,} multiply-accumulates, and with {least} per gate "
            f"{round(floor):,} ({floor / cost.macs:.3f}) are left. Ask for something "
            "in between, or put gates on more layers (see find_gate_positions)."
        )
    return target


def check_residual(residual: Any, target: float | None) -> None:
    """Raises `InvalidInputError` where `derive` cannot keep a budget that way."""
    allowed = ("exact", "official") if target is None else ("exact",)
    if residual not in allowed:
        raise InvalidInputError(
            "`residual` must be 'exact', or 'official' after a search without "
            f"`target_macs`. Received: residual={residual!r}."
        )


def momentum_sgd(rate: Any) -> keras.optimizers.Optimizer:
    """The optimizer of the published searches.

    Raises:
        InvalidInputError: The rate is no positive number.
    """
    if not isinstance(rate, (int, float)) or not 0 < rate < math.inf:
        raise InvalidInputError(
            "`learning_rate` must be a positive number. "
            f"Received: learning_rate={rate!r}."
        )
    return keras.optimizers.SGD(rate, momentum=0.9)


def default_loss(model: keras.Model, data: Any) -> keras.losses.Loss:
    """Cross-entropy that fits the outputs of a model and the targets of its data.

    Args:
        model: A classifier.
        data: See `ChannelSearch`; None for labels that are numbers.

    Raises:
        InvalidInputError: The model does not return classes, or what its outputs mean
            cannot be known.
    """
    shapes = [tuple(tensor.shape) for tensor in model.outputs]
    advice = "Give the loss that it is trained with: ChannelSearch(gated, loss=...)."
    if len(shapes) != 1 or len(shapes[0]) != 2 or not shapes[0][1]:
        raise InvalidInputError(
            f"`gated` '{model.name}' does not return classes: its output has the "
            f"shape {shapes[0] if len(shapes) == 1 else shapes}, expected (None, "
            f"classes). {advice}"
        )
    if data is not None and not isinstance(data, FitData):
        data = FitData(data(0) if is_stream_function(data) else data, model)
    one_hot = _is_one_hot(data)
    try:
        task = Classification.of(model, exclusive=None, advice=advice)
    except InvalidInputError:
        # Logits of one class or of several labels: the targets tell.
        exclusive = not one_hot or _sum_to_one(data)
        task = Classification.of(model, exclusive=exclusive, advice=advice)
    units = task.head.num_units
    if data is not None and task.head.task == "multi-label" and not one_hot:
        raise InvalidInputError(
            f"`gated` '{model.name}' has a sigmoid for each of {units} "
            "labels, but the targets are class numbers. Give targets of the shape "
            f"(samples, {units}), or another loss: ChannelSearch(gated, "
            "loss=...)."
        )
    if task.one_unit and one_hot:
        raise InvalidInputError(
            f"`gated` '{model.name}' has one unit for two classes, but the targets "
            "have a column per class. Give class numbers 0 and 1."
        )
    return task.loss(one_hot)


def _is_one_hot(data):
    if data is None:
        return False
    shape = shape_of(data.first()[1])
    return shape is not None and len(shape) == 2 and (shape[1] or 2) > 1


def _sum_to_one(data):
    """Whether every sample has one class (smoothed or mixed ones count as one)."""
    (targets,) = leaves(data.first(values=True)[1])
    sums = np.asarray(targets, "float64").sum(-1)
    return bool(np.allclose(sums, 1, atol=1e-3))
