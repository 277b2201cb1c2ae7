"""From what a user asks for to costs and how much of each may be left."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sda.analysis import LatencyTable
from keras_sda.data.fit.array_structures import is_number
from keras_sda.graph import ChannelGraph, Kept
from keras_sda.pruning.budget.cost import Cost
from keras_sda.pruning.budget.mac_cost import MacCost
from keras_sda.pruning.budget.parameter_cost import ParameterCost
from keras_sda.pruning.budget.select_channels import count_text
from keras_sda.pruning.budget.table_latency import TableLatency
from keras_sda.utils import InvalidInputError


def find_targets(
    graph: ChannelGraph,
    macs: float | None = None,
    params: float | None = None,
    budget: Sequence[tuple[Cost, float]] = (),
    latency: float | None = None,
    latency_table: LatencyTable | None = None,
) -> tuple[list[tuple[Cost, float]], list[Cost]]:
    """Turns shares into numbers.

    Args:
        graph: The channels of the model.
        macs: See `make_plan`. Defaults to `None`.
        params: Likewise.
        budget: Likewise. Defaults to none.
        latency: Likewise; without a table it is not looked at. Defaults to `None`.
        latency_table: Likewise. Defaults to `None`.

    Returns:
        Costs with what may be left of each, in its own unit; and all costs that are
        counted, those without a target among them.

    Raises:
        InvalidInputError: More is asked for than there is, or layers cannot be counted.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning.budget.find_targets import find_targets
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4)(x)
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(2)(y)))
    >>> targets, costs = find_targets(graph, macs=0.5)
    >>> targets[0][1], [cost.name for cost in costs]
    (20.0, ['params', 'macs'])
    """
    of_params, of_macs = ParameterCost(graph), MacCost(graph)
    if macs is not None:
        of_macs.check_counted("macs")
    if latency_table is not None:
        budget = [(TableLatency(graph, latency_table), latency), *budget]
    wanted: list[tuple[Cost, Any]] = [(of_macs, macs), (of_params, params), *budget]
    targets: list[tuple[Cost, float]] = []
    for cost, value in wanted:
        if value is None:
            continue
        most = count_left(cost, graph.kept())
        value = value * most if value <= 1 else value
        if value > most:
            value = round(value) if isinstance(most, int) else value
            raise InvalidInputError(
                f"`{cost.name}` must not exceed what the model has. Received: "
                f"{cost.name}={count_text(value)}; '{graph.model.name}' has "
                f"{count_text(most)}. Give a share such as 0.5, or a smaller number."
            )
        targets.append((cost, value))
    return targets, [of_params, of_macs, *(cost for cost, _ in budget)]


def count_left(cost: Cost, kept: Kept) -> float:
    """What a cost says is left, if that is a number.

    Args:
        cost: The cost.
        kept: The channels that stay.

    Raises:
        InvalidInputError: It is no finite number.
    """
    found = cost.count(kept)
    if not is_number(found) or not np.isfinite(found):
        raise InvalidInputError(
            f"`count` of the cost {cost.name!r} in `budget` must return a finite "
            f"number. It returned: {found!r}."
        )
    return found.item() if isinstance(found, np.generic) else found


def check_latency_table(table: Any, latency: float | None) -> None:
    """Refuses a latency table that is none, or that no target goes with.

    Args:
        table: See `make_plan`.
        latency: The target.

    Raises:
        InvalidInputError: It cannot be used.
    """
    if table is not None and not isinstance(table, LatencyTable):
        raise InvalidInputError(
            "`latency_table` must be a keras_sda.analysis.LatencyTable, such as "
            f"LatencyTable.load('phone.csv'). Received: {table!r}."
        )
    if table is not None and latency is None:
        raise InvalidInputError(
            "`latency_table` needs `latency`, what may be left of the time that it "
            "gives, such as latency=0.5. Received: latency=None."
        )


def check_numbers(targets: dict[str, Any], budget: Any = ()) -> None:
    """Refuses targets that are no positive numbers, and costs that are none.

    Args:
        targets: By name of the argument; None where it was not given.
        budget: See `make_plan`.

    Raises:
        InvalidInputError: One of them is not usable.
    """
    # Under the others a plan notes what the cut does to the loss.
    names = {*targets, "loss", "loss_before", "loss_chance"}
    pairs = budget if isinstance(budget, (list, tuple)) else [budget]
    for pair in pairs:
        is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
        if not is_pair or not isinstance(pair[0], Cost) or pair[0].name in names:
            raise InvalidInputError(
                "`budget` must be a list of pairs of a Cost and a target, such as "
                "[(cost, 0.5)], whose costs have a `name` of their own (not macs, "
                f"params, latency or loss) and a function `count`. Received: {pair!r}."
            )
        names.add(pair[0].name)
    for key, value in (*targets.items(), *((c.name, v) for c, v in pairs)):
        is_given = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_given and value > 0 and np.isfinite(value)):
            raise InvalidInputError(
                f"`{key}` must be a share between 0 and 1 or a positive number. "
                f"Received: {key}={value!r}."
            )
