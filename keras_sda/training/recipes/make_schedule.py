"""The learning rate over a whole run."""

import keras

from keras_sda.training.recipes.recipe import Recipe


def make_schedule(
    recipe: Recipe, learning_rate: float, steps_per_epoch: int, epochs: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Makes the Keras learning rate schedule that a recipe describes.

    Use it to train with a recipe outside `train_classifier`. A step schedule counts
    finished epochs: `step_epochs=(31, 61, 91)` trains epochs 0 to 30 at the full rate.

    Args:
        recipe: Names the schedule, the warm-up and the steps.
        learning_rate: Highest learning rate.
        steps_per_epoch: Optimizer steps in one epoch.
        epochs: Length of the run; a cosine ends at zero there.

    Returns:
        `PiecewiseConstantDecay` or `CosineDecay` of `keras.optimizers.schedules`.

    Example:

    >>> from keras_sda.training import RECIPES
    >>> schedule = make_schedule(RECIPES["sda_imagenet"], 0.1, 10, 120)
    >>> round(float(schedule(309)), 4), round(float(schedule(310)), 4)
    (0.1, 0.01)
    """
    if recipe.schedule == "step":
        values = [
            learning_rate * recipe.step_factor**i
            for i in range(len(recipe.step_epochs) + 1)
        ]
        # The first value holds up to and including its boundary.
        boundaries = [epoch * steps_per_epoch - 1 for epoch in recipe.step_epochs]
        return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)
    total = steps_per_epoch * epochs
    warmup = min(round(recipe.warmup_epochs * steps_per_epoch), total // 2)
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(learning_rate, total)
    return keras.optimizers.schedules.CosineDecay(
        learning_rate / warmup,
        total - warmup,
        warmup_target=learning_rate,
        warmup_steps=warmup,
    )
