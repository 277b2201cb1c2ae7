"""What a cut and the fit after it do to the loss."""

from typing import Any

import keras
import numpy as np

from keras_sda.pruning.criteria.loss.model_loss import ModelLoss
from keras_sda.pruning.pruning_plan import PruningPlan
from keras_sda.pruning.refit.calibration_batches import calibration_batches

_MAX_SAMPLES = 256  # as many as the plan looks at


def calibration_losses(
    plan: PruningPlan, small: keras.Model, data: Any, loss: Any = None, seed: int = 0
) -> dict[str, float]:
    """The loss on some samples before, after the cut alone, and of a fitted model.

    Args:
        plan: What was cut; it knows the first two, where a loss was at hand.
        small: The fitted model.
        data: As `make_plan` got them.
        loss: Likewise. Defaults to `None`.
        seed: Likewise. Defaults to `0`.

    Returns:
        `before`, `cut`, `reconstructed` and, where the plan knows it, `chance`, that of
        a model which looks at nothing; nothing where the plan knows no loss.
    """
    known = {"before": "loss_before", "cut": "loss", "chance": "loss_chance"}
    losses = {key: plan.expected.get(name) for key, name in known.items()}
    if losses["before"] is None or losses["cut"] is None:
        return {}
    found = {key: float(value) for key, value in losses.items() if value is not None}
    batches = calibration_batches(data, small, _MAX_SAMPLES, True, seed)
    fitted = mean_loss(small, ModelLoss(small, loss), batches)
    return {**found, "reconstructed": fitted} if np.isfinite(fitted) else found


def mean_loss(model: keras.Model, loss: ModelLoss, batches: Any) -> float:
    """The mean of a loss over samples, at inference.

    Args:
        model: The model.
        loss: Its loss.
        batches: `(inputs, targets, sample_weight)` each.
    """
    total = number = 0
    for inputs, targets, weights in batches:
        size = len(keras.tree.flatten(inputs)[0])
        outputs = model(inputs, training=False)
        total += size * float(loss(outputs, loss.targets(targets, weights)))
        number += size
    return total / number


def losses_text(losses: dict[str, float]) -> str:
    """The losses in words, such as "0.31 before, 4.2 cut, 0.45 reconstructed".

    Args:
        losses: See `calibration_losses`.
    """
    names = ("before", "cut", "reconstructed")
    return ", ".join(f"{losses[x]:.3g} {x}" for x in names if x in losses)
