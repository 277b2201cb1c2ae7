"""How much of a cut whole blocks take, and how much channels."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from absl import logging

from keras_sda.graph import remove_channels
from keras_sda.pruning.blocks.block_importance import block_importance
from keras_sda.pruning.criteria.loss.mean_loss import mean_loss
from keras_sda.pruning.criteria.loss.model_loss import ModelLoss
from keras_sda.pruning.refit.calibration_batches import calibration_batches
from keras_sda.utils import InvalidInputError

# So many of the least important blocks are tried.
TRIED = (0, 1, 2, 3, 4, 6, 8, 12)


def decided_by_loss(blocks: Any) -> bool:
    """Whether the loss on data decides which blocks go.

    Args:
        blocks: As `make_plan` takes them.
    """
    return isinstance(blocks, int) or isinstance(blocks, str) and blocks == "auto"


def choose_blocks(
    model: keras.Model,
    make: Callable[[tuple[str, ...]], Any],
    data: Any,
    loss: Any = None,
    max_samples: int = 512,
    seed: int = 0,
) -> Any:
    """Makes the plan whose cut costs the least loss, with blocks or without.

    Use it through `make_plan(blocks="auto")`. The least important blocks go, none at
    first, then one, two, three, four, six, eight and twelve, and channels do the rest;
    each of these plans is carried out and its loss measured. It ends where blocks alone
    meet the targets.

    Args:
        model: The whole model.
        make: Makes the `PruningPlan` without the blocks of these names.
        data: Images with targets as in `model.fit`.
        loss: See `block_importance`. Defaults to `None`.
        max_samples: At most so many samples of `data` are looked at. Defaults to `512`.
        seed: Of the choice of samples. Defaults to `0`.

    Returns:
        One of the plans. The fewer blocks it takes, the sooner it wins a tie.

    Raises:
        InvalidInputError: No block can go, no plan meets the targets, or data or loss
            are missing or do not fit.
    """
    if hasattr(data, "__next__"):
        raise InvalidInputError(
            "`data` is an iterator, which can be read once, but blocks='auto' reads it "
            "for every plan that it compares. Give arrays, a list of batches or a "
            "tf.data.Dataset."
        )
    measure = ModelLoss(model, loss, "blocks='auto'")
    batches = calibration_batches(data, model, max_samples, True, seed)
    worth = block_importance(model, batches, "loss", loss)
    order = sorted(worth, key=worth.__getitem__)
    found: list[tuple[float, Any]] = []
    refusal = None
    for count in TRIED:
        if count > len(order):
            break
        try:
            plan = make(tuple(order[:count]))
        except InvalidInputError as error:
            refusal = refusal or error  # Fewer channels may be left to take.
            continue
        value = mean_loss(remove_channels(*plan.applied(model)), measure, batches)
        logging.info(
            "%s: without %d blocks, and with the channels that the targets take then, "
            "the loss is %.4g.", model.name, count, value,
        )  # fmt: skip
        found.append((value if np.isfinite(value) else np.inf, plan))
        if not plan.remove:
            break
    if refusal is not None and not found:
        raise refusal
    return min(found, key=lambda pair: pair[0])[1]
