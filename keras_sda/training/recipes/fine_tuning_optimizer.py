"""The optimizer of a network that is trained on."""

import keras

from keras_sda.training.recipes.coupled_sgd import CoupledSGD
from keras_sda.training.recipes.make_schedule import make_schedule
from keras_sda.training.recipes.recipe import Recipe
from keras_sda.utils import InvalidInputError

OPTIMIZERS = ("sgd", "adamw")
# A trained network wants a lower rate than the recipe it was trained with.
_RATE_SHARE = 0.1
ADAMW_RATE = 1e-3
_ADAMW_DECAY = 0.01


def fine_tuning_rate(optimizer: str, recipe: Recipe) -> float:
    """The highest learning rate, where nobody names one.

    Args:
        optimizer: `"sgd"` or `"adamw"`.
        recipe: That of the training.

    Raises:
        InvalidInputError: The optimizer is unknown.

    Example:

    >>> from keras_sda.training import RECIPES
    >>> from keras_sda.training.recipes.fine_tuning_optimizer import fine_tuning_rate
    >>> fine_tuning_rate("adamw", RECIPES["cifar"])
    0.001
    """
    if optimizer not in OPTIMIZERS:
        raise InvalidInputError(
            f"`optimizer` must be one of {', '.join(OPTIMIZERS)}. Received: "
            f"optimizer={optimizer!r}."
        )
    if optimizer == "adamw":
        return ADAMW_RATE
    return _RATE_SHARE * recipe.learning_rate


def fine_tuning_optimizer(
    optimizer: str, recipe: Recipe, rate: float, steps_per_epoch: int, epochs: int
) -> keras.optimizers.Optimizer:
    """SGD as in a recipe, or AdamW; the rate is scheduled as the recipe says.

    The rates and the weight decay of a recipe are made for SGD. AdamW decays by 0.01
    times the rate, and neither biases nor what normalizations scale and shift by.

    Args:
        optimizer: `"sgd"` or `"adamw"`.
        recipe: Schedule, momentum and weight decay.
        rate: Highest learning rate.
        steps_per_epoch: Optimizer steps in one epoch.
        epochs: Length of the training.

    Example:

    >>> from keras_sda.training import RECIPES
    >>> from keras_sda.training.recipes.fine_tuning_optimizer import (
    ...     fine_tuning_optimizer,
    ... )
    >>> fine_tuning_optimizer("adamw", RECIPES["digits"], 1e-3, 10, 2).name
    'adam_w'
    """
    schedule = make_schedule(recipe, rate, steps_per_epoch, epochs)
    if optimizer == "adamw":
        return adamw(schedule)
    return CoupledSGD(
        schedule,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        decay_exclude=recipe.decay_exclude,
    )


def adamw(
    schedule: keras.optimizers.schedules.LearningRateSchedule,
) -> keras.optimizers.AdamW:
    """AdamW as it is used here, with any schedule.

    Args:
        schedule: The learning rate per step.
    """
    found = keras.optimizers.AdamW(schedule, weight_decay=_ADAMW_DECAY)
    found.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return found
