"""Can the targets be reached at all? Asked before anything is trained."""

from typing import Any

import keras

from keras_sda.pruning.blocks.choose_blocks import decided_by_loss
from keras_sda.pruning.blocks.removable_blocks import (
    check_block_count,
    removable_blocks,
)
from keras_sda.pruning.criteria.criteria import find_criterion
from keras_sda.pruning.make_plan import make_plan
from keras_sda.pruning.pruning_plan import PruningPlan


def check_reachable(
    model: keras.Model, importance: Any = None, **arguments: Any
) -> PruningPlan:
    """Plans the whole way at once, so that targets out of reach are known at the start.

    Use it before pruning in steps: the last step would fail only after the others have
    been trained. How far a model can go hardly depends on which channels go first, so
    criteria that need data are replaced by `"l1"`, and `scope="loss"` by `"global"`.
    Where the loss is to choose blocks, all that can go do: no plan reaches further.

    Args:
        model: The model before the first step.
        importance: See `make_plan`. Defaults to `None`.
        **arguments: Targets and constraints of `make_plan`, for the last step.

    Returns:
        The plan that would do everything in one step.

    Raises:
        InvalidInputError: A target cannot be reached (the message gives the floor), or
            an argument cannot be used.

    Example:

    >>> from keras_sda.applications import CIFARResNet20
    >>> from keras_sda.pruning.check_reachable import check_reachable
    >>> plan = check_reachable(CIFARResNet20(), macs=0.5)
    >>> plan.expected["macs"] <= 0.5 * plan.expected["macs_before"]
    True
    """
    if importance is None or find_criterion(importance).needs:
        importance = "l1"
    if arguments.get("scope") == "loss":
        arguments["scope"] = "global"
        arguments.pop("max_evaluations", None)
    if (blocks := arguments.get("blocks")) and decided_by_loss(blocks):
        found = removable_blocks(model)
        check_block_count(model, blocks, len(found))
        arguments["blocks"] = [block.name for block in found]
    return make_plan(model, importance=importance, **arguments)
