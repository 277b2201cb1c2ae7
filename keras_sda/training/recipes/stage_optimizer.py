"""The optimizer of one stage of a search."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_sda.search import SearchStage
from keras_sda.training.recipes.coupled_sgd import CoupledSGD


def stage_optimizer(
    stage: SearchStage,
    steps_per_epoch: int,
    momentum: float = 0.9,
    nesterov: bool = False,
    decay_exclude: Sequence[str] = (),
) -> CoupledSGD:
    """SGD with the rates and the weight decay of a stage.

    Use it for the stages of `SEARCH_RECIPES` with `ChannelSearch`.

    Args:
        stage: Epochs, rates, weight decay.
        steps_per_epoch: Optimizer steps in one epoch.
        momentum: From 0 to 1. Defaults to `0.9`.
        nesterov: Whether the momentum is Nesterov's. Defaults to `False`.
        decay_exclude: See `CoupledSGD`. Defaults to none.

    Example:

    >>> from keras_sda.search import SEARCH_RECIPES
    >>> stage = SEARCH_RECIPES["resnet56_cifar"].fine_tune
    >>> rate = stage_optimizer(stage, steps_per_epoch=10).learning_rate
    >>> float(rate)
    0.10000000149011612
    """
    return CoupledSGD(
        StageSchedule(stage, steps_per_epoch),
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=stage.weight_decay,
        decay_exclude=decay_exclude,
    )


class StageSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The rates of a `SearchStage` per step.

    Args:
        stage: The stage.
        steps_per_epoch: Optimizer steps in one epoch.
    """

    def __init__(self, stage: SearchStage, steps_per_epoch: int):
        super().__init__()
        self.stage, self.steps_per_epoch = stage, steps_per_epoch

    def __call__(self, step):
        ops, stage = keras.ops, self.stage
        step = ops.cast(step, "float32")
        rate = ops.ones_like(step) * stage.learning_rate
        if stage.schedule == "step":
            for epoch in stage.step_epochs:
                # Half a step of tolerance: epochs may be fractions.
                passed = step + 0.5 >= epoch * self.steps_per_epoch
                rate = ops.where(passed, 0.1 * rate, rate)
        elif stage.schedule == "cosine":
            total = stage.cosine_epochs or stage.cosine_start + stage.epochs
            epoch = step / self.steps_per_epoch + stage.cosine_start
            share = ops.minimum(epoch / total, 1.0)
            rate = rate * 0.5 * (1 + ops.cos(3.141592653589793 * share))
        return rate

    def get_config(self):
        return {
            "stage": dataclasses.asdict(self.stage),
            "steps_per_epoch": self.steps_per_epoch,
        }

    @classmethod
    def from_config(cls, config):
        return cls(SearchStage(**config["stage"]), config["steps_per_epoch"])


def resized_stage(
    stage: SearchStage, epochs: int | None = None, learning_rate: float | None = None
) -> SearchStage:
    """A stage of another length, its schedule stretched, or with another rate.

    Args:
        stage: The stage of a recipe.
        epochs: New length. Defaults to `None`, as it is.
        learning_rate: New rate at the start. Defaults to `None`, as it is.

    Example:

    >>> from keras_sda.search import SearchStage
    >>> stage = SearchStage(70, 0.1, "step", step_epochs=(14, 42))
    >>> resized_stage(stage, epochs=10).step_epochs
    (2.0, 6.0)
    """
    changes: dict[str, Any] = {}
    if learning_rate is not None:
        changes["learning_rate"] = learning_rate
    if epochs is not None and epochs != stage.epochs:
        factor = epochs / stage.epochs
        changes |= {
            "epochs": epochs,
            "step_epochs": tuple(factor * epoch for epoch in stage.step_epochs),
            "cosine_start": factor * stage.cosine_start,
            "cosine_epochs": factor * stage.cosine_epochs,
        }
    return dataclasses.replace(stage, **changes)
