"""What the arguments of a plan have to be."""

from collections.abc import Collection, Sequence
from typing import Any

import keras
import numpy as np

from keras_sda.data.fit.array_structures import is_number
from keras_sda.graph import ChannelGraph
from keras_sda.pruning.blocks.choose_blocks import decided_by_loss
from keras_sda.pruning.budget.rate_by_loss import MAX_EVALUATIONS
from keras_sda.pruning.criteria.criteria import CRITERIA
from keras_sda.pruning.criteria.criterion import Criterion
from keras_sda.utils import InvalidInputError


def check_blocks(blocks: Any, budget: Any) -> None:
    """Refuses blocks together with costs of the user.

    Args:
        blocks: See `make_plan`, as all arguments here.
        budget: See `make_plan`.

    Raises:
        InvalidInputError: Both are given.
    """
    if blocks and budget:
        raise InvalidInputError(
            "`blocks` and `budget` cannot be met by one plan: costs of yours count the "
            "channels of the whole model. Call remove_blocks(model, names) first, and "
            "plan with `budget` for what it returns."
        )


def check_amounts(
    macs: Any,
    params: Any,
    asked: Sequence[Any],
    scope: Any,
    round_to: Any,
    min_channels: Any,
) -> None:
    """Refuses targets, a scope and numbers of channels that nobody can mean.

    Args:
        macs: See `make_plan`.
        params: See `make_plan`.
        asked: All targets, of which one must not be None.
        scope: See `make_plan`.
        round_to: See `make_plan`.
        min_channels: See `make_plan`.

    Raises:
        InvalidInputError: One of them is not usable.
    """
    if all(value is None for value in asked):
        raise InvalidInputError(
            "One of `macs`, `params` and `latency` must be given, such as macs=0.5."
        )
    for key, value in (("macs", macs), ("params", params)):
        if value is not None and 1 < value < 100:
            raise InvalidInputError(
                f"`{key}` must be a share of at most 1, such as 0.5, or an absolute "
                f"number. Received: {key}={value!r}."
            )
    if scope not in ("global", "layer", "loss"):
        raise InvalidInputError(
            f"`scope` must be 'global', 'layer' or 'loss'. Received: scope={scope!r}."
        )
    for key, value in (("round_to", round_to), ("min_channels", min_channels)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidInputError(
                f"`{key}` must be a positive integer. Received: {key}={value!r}."
            )


def check_floor(floor: Any, scope: str, max_evaluations: Any) -> None:
    """Refuses a floor or a number of evaluations that has no meaning.

    Args:
        floor: See `make_plan`.
        scope: See `make_plan`.
        max_evaluations: See `make_plan`.

    Raises:
        InvalidInputError: One of them is not usable.
    """
    if floor is not None and not (is_number(floor) and 0 <= floor < 1):
        raise InvalidInputError(
            "`floor` must be the share of its channels that every group keeps, from 0 "
            f"to below 1, such as 0.2. Received: floor={floor!r}."
        )
    if floor and scope == "layer":
        raise InvalidInputError(
            "`floor` would not be looked at: scope='layer' takes the same share of "
            "every group. Leave it out, or choose scope='global' or 'loss'."
        )
    is_whole = isinstance(max_evaluations, int) and max_evaluations is not True
    if not is_whole or max_evaluations < 3:
        raise InvalidInputError(
            "`max_evaluations` must be an integer of at least 3: the whole model, one "
            "part of it, the plan. Received: "
            f"max_evaluations={max_evaluations!r}."
        )
    if max_evaluations != MAX_EVALUATIONS and scope != "loss":
        raise InvalidInputError(
            f"`max_evaluations` would not be looked at: scope={scope!r} measures no "
            "loss. Leave it out, or choose scope='loss'. Received: "
            f"max_evaluations={max_evaluations}."
        )


def check_data(criterion: Criterion, data: Any, blocks: Any, scope: str) -> None:
    """Refuses data that nothing looks at, or that would have to be read twice.

    Args:
        criterion: The criterion.
        data: See `make_plan`.
        blocks: See `make_plan`.
        scope: See `make_plan`.

    Raises:
        InvalidInputError: They cannot be used, or are missing.
    """
    if scope == "loss":
        if data is None:
            raise InvalidInputError(
                "scope='loss' needs `data`: pass data=(inputs, targets) or an iterable "
                "of batches of them, or choose scope='global'."
            )
        if hasattr(data, "__next__") and (criterion.needs or decided_by_loss(blocks)):
            raise InvalidInputError(
                "`data` is an iterator, which can be read once, but scope='loss' reads "
                "it once more. Give arrays, a list of batches or a tf.data.Dataset."
            )
        return
    by_loss = bool(blocks) and decided_by_loss(blocks)
    if hasattr(data, "__next__") and criterion.needs and by_loss:
        raise InvalidInputError(
            "`data` is an iterator, which can be read once, but the choice of blocks "
            f"and importance={criterion.name!r} both look at it. Give arrays, a list "
            "of batches or a tf.data.Dataset."
        )
    if data is None or criterion.needs or by_loss:
        return
    looking = sorted(name for name, other in CRITERIA.items() if other.needs)
    raise InvalidInputError(
        f"`data` would not be looked at: importance={criterion.name!r} goes by the "
        f"weights alone. Leave `data` out, or choose one of {looking} or a function of "
        "a ChannelGroup and its statistics."
    )


def check_finite(model: keras.Model) -> None:
    """Refuses a model with weights that are NaN or infinite.

    Args:
        model: The model.

    Raises:
        InvalidInputError: Names the first such variable.
    """
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


def check_exclude(
    exclude: str | Collection[str], graph: ChannelGraph
) -> frozenset[str]:
    """The names of the layers that lose no channel.

    Args:
        exclude: See `make_plan`.
        graph: The channels of the model.

    Raises:
        InvalidInputError: There is no layer of such a name.
    """
    if isinstance(exclude, str):
        exclude = [exclude]
    unknown = [name for name in exclude if name not in graph.layers]
    if unknown:
        raise InvalidInputError(
            f"`exclude` names {unknown}, which are no layers of model "
            f"'{graph.model.name}'. Layers of nested models are called 'model/layer'."
        )
    return frozenset(exclude)
