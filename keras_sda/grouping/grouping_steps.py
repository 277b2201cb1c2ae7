"""The steps of a fine-tuning scheme, as data."""

import dataclasses
import math

from keras_sda.grouping.check_rates import check_rates
from keras_sda.utils import InvalidInputError

SCHEMES = ("global", "local_global", "local")


@dataclasses.dataclass(frozen=True)
class GroupingStep:
    """One grouping and the training after it.

    Attributes:
        name: `"global"`, or `"local_10"`, `"local_20"` and so on, by the share of
            connections that the step cuts, in per cent.
        conv_rate, dense_rate: Shares that are cut after the step.
        epochs: Epochs of fine-tuning after it.
        groups: Whether it cuts anything; the last step of `"local_global"` only
            trains.
    """

    name: str
    conv_rate: float
    dense_rate: float
    epochs: int
    groups: bool = True


def grouping_steps(
    scheme: str = "global",
    conv_rate: float = 0.7,
    dense_rate: float = 0.6,
    local_epochs: int = 0,
    global_epochs: int = 0,
    step: float = 0.1,
) -> list[GroupingStep]:
    """Lists what a fine-tuning scheme does.

    Use it to see what `group_and_fine_tune` would do. In the stepped schemes both
    rates rise together; a kind of layer whose rate is reached stays as it is, as the
    published dense layers do at 60 %.

    Args:
        scheme: `"global"`: one step. `"local"`: steps of `step`. `"local_global"`:
            those, then a training of the result. Defaults to `"global"`.
        conv_rate: Share that convolutions lose. Defaults to `0.7`.
        dense_rate: Share that dense layers lose. Defaults to `0.6`.
        local_epochs: Epochs after each small step. Defaults to `0`.
        global_epochs: Epochs of the last training. Defaults to `0`.
        step: Share per step. Defaults to `0.1`.

    Returns:
        The steps in order.

    Raises:
        InvalidInputError: An argument is none of these.

    Example:

    >>> from keras_sda.grouping import grouping_steps
    >>> steps = grouping_steps("local_global", conv_rate=0.3, dense_rate=0.2)
    >>> [(x.name, x.conv_rate, x.dense_rate) for x in steps]
    [('local_10', 0.1, 0.1), ('local_20', 0.2, 0.2), ('local_30', 0.3, 0.2),
     ('global', 0.3, 0.2)]

    Source: arXiv 2009.13803, local and global fine-tuning.
    """
    check_rates(conv_rate, dense_rate)
    _check(scheme, local_epochs, global_epochs, step)
    rates = float(conv_rate), float(dense_rate)
    if scheme == "global":
        return [GroupingStep("global", *rates, global_epochs)]
    highest = max(rates)
    count = math.ceil(round(highest / step, 9))
    steps = []
    for number in range(1, count + 1):
        # Multiplied and rounded, so that 3 * 0.1 is 0.3.
        share = min(round(number * step, 9), highest)
        reached = min(share, rates[0]), min(share, rates[1])
        name = f"local_{round(100 * share, 4):g}"
        steps.append(GroupingStep(name, *reached, local_epochs))
    if scheme == "local_global":
        steps.append(GroupingStep("global", *rates, global_epochs, groups=False))
    return steps


def _check(scheme, local_epochs, global_epochs, step):
    if scheme not in SCHEMES:
        raise InvalidInputError(
            f"`scheme` must be one of {SCHEMES}. Received: scheme={scheme!r}."
        )
    for name, value in (
        ("local_epochs", local_epochs),
        ("global_epochs", global_epochs),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InvalidInputError(
                f"`{name}` must be an integer from 0 up. Received: {name}={value!r}."
            )
    is_number = isinstance(step, (int, float)) and not isinstance(step, bool)
    if not is_number or not 0.001 <= step < 1:
        raise InvalidInputError(
            "`step` must be a share from 0.001 to below 1, such as 0.1 for 10 points. "
            f"Received: step={step!r}."
        )
