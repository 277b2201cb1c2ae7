"""How what a network costs enters the loss of a search."""

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_sda.utils import InvalidInputError

_FORMS = ("plain", "relative", "power", "log_power")


def cost_loss(
    loss: Any,
    cost: Any,
    reference: float | None = None,
    form: str = "plain",
    price: float = 1.0,
    exponent: float = 1.0,
) -> Any:
    """Returns a loss that grows with what a network costs.

    Use it in a training step of yours that learns which operations or channels a
    network keeps; `cost` may be multiply-accumulates, parameters, bits or times of a
    `LatencyTable`, such as `expected_cost` gives.

    * `"plain"`: `loss + price * cost`;
    * `"relative"`: `loss + price * (cost - reference) / reference`;
    * `"power"`: `loss * (cost / reference) ** exponent` above the reference, the loss
      alone below it;
    * `"log_power"`: `loss * price * (log(cost) / log(reference)) ** exponent`.

    Args:
        loss: The loss of the task, a scalar.
        cost: What the network costs, a scalar that gradients may flow through.
        reference: What it is to cost, in the same unit; all forms but `"plain"` need
            it. Defaults to `None`.
        form: One of the four. Defaults to `"plain"`.
        price: Weight of the cost. Defaults to `1.0`.
        exponent: How hard the cost presses. Defaults to `1.0`.

    Returns:
        A scalar tensor, float32.

    Raises:
        InvalidInputError: The form is unknown, or `reference` is missing or not
            positive (for `"log_power"`, not above 1).

    Example:

    >>> from keras_sda.search import cost_loss
    >>> float(cost_loss(2.0, 100.0, reference=10.0, form="log_power"))
    4.0

    Source: `"log_power"` as in ProxylessNAS (arXiv 1812.00332), `"power"` as in MnasNet
    (arXiv 1807.11626).
    """
    if form not in _FORMS:
        raise InvalidInputError(
            f"`form` must be one of {_FORMS}. Received: form={form!r}."
        )
    loss, cost = ops.cast(loss, "float32"), ops.cast(cost, "float32")
    if form == "plain":
        return loss + price * cost
    least = 1 if form == "log_power" else 0
    is_number = isinstance(reference, (int, float)) and not isinstance(reference, bool)
    if reference is None or not is_number or not least < reference < math.inf:
        raise InvalidInputError(
            f"`form`={form!r} needs `reference`, what the network is to cost, a number "
            f"above {least}. Received: reference={reference!r}."
        )
    if form == "relative":
        return loss + price * (cost - reference) / reference
    if form == "power":
        return loss * ops.maximum(cost / reference, 1.0) ** exponent
    return loss * price * (ops.log(cost) / math.log(reference)) ** exponent


def expected_cost(
    alphas: Sequence[Any], costs: Sequence[Any], fixed: float = 0.0
) -> Any:
    """Returns what a network is expected to cost, each of its choices open.

    Every place of the network has several operations, of which it takes one, with the
    probabilities softmax(alphas).

    Args:
        alphas: For every place the numbers that are learned, one per operation.
        costs: For every place what its operations cost, such as times of a
            `LatencyTable`.
        fixed: What the rest of the network costs. Defaults to `0.0`.

    Returns:
        A scalar tensor, float32; gradients flow to `alphas`.

    Raises:
        InvalidInputError: The lengths differ.

    Example:

    >>> import numpy as np
    >>> from keras_sda.search import expected_cost
    >>> round(float(expected_cost([np.log([1.0, 3.0])], [[2.0, 6.0]], fixed=1.0)), 4)
    6.0

    Source: arXiv 1812.03443 (FBNet) and VPU specific CNNs (Donegan et al., ICPR 2020).
    """
    alphas = [ops.cast(alpha, "float32") for alpha in alphas]
    costs = [ops.cast(cost, "float32") for cost in costs]
    lengths = [alpha.shape[0] for alpha in alphas], [cost.shape[0] for cost in costs]
    if lengths[0] != lengths[1]:
        raise InvalidInputError(
            "`alphas` and `costs` must have one number per operation of every place. "
            f"Received lengths {lengths[0]} and {lengths[1]}."
        )
    total = ops.cast(fixed, "float32")
    for alpha, cost in zip(alphas, costs, strict=True):
        total = total + ops.sum(ops.softmax(alpha) * cost)
    return total
