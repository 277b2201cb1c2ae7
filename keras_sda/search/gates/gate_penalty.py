"""What all gates of a model add to the loss."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from keras_sda.analysis import LatencyTable
from keras_sda.layers import ScaledSigmoidGate
from keras_sda.search.gates.gate_cost import GateCost
from keras_sda.search.gates.gate_regularizer import gate_regularizer
from keras_sda.utils import InvalidInputError


def gate_penalty(
    gates: Sequence[ScaledSigmoidGate],
    cost: GateCost,
    kind: str = "plain",
    latency_table: LatencyTable | None = None,
) -> Callable[[], Any]:
    """Returns a function that gives the sum of `gate_regularizer` over all gates.

    Args:
        gates: The gates.
        cost: What they cost, for `"macs"` and `"latency"`.
        kind: See `gate_regularizer`. Defaults to `"plain"`.
        latency_table: Times of the layers, for `"latency"` alone. Defaults to `None`.

    Raises:
        InvalidInputError: The kind is unknown, or the table is missing, of another
            model or not asked for.

    Example:

    ```python
    penalty = gate_penalty(channel_gates(gated), GateCost(gated))
    loss = cross_entropy + 1e-4 * penalty()
    ```
    """
    gate_regularizer([0.0], kind, macs=1.0)  # Say at once what is wrong.
    if (kind == "latency") != isinstance(latency_table, LatencyTable):
        raise InvalidInputError(
            "`regularizer='latency'` and `latency_table`, a "
            "keras_sda.analysis.LatencyTable, go together. Received: "
            f"regularizer={kind!r} and latency_table={latency_table!r}."
        )
    weights = cost.weights(latency_table) if kind in ("macs", "latency") else {}

    def penalty():
        return sum(
            gate_regularizer(gate.s, kind, gate.beta, weights.get(gate.name))
            for gate in gates
        )

    return penalty


def gate_schedule(epochs: int, final_beta: float = 1e4) -> list[float]:
    """Returns the scale `beta` of the gates for every epoch of the architecture stage.

    Beta grows by the same factor before every epoch, from 1 before the first to
    `final_beta` in the last: `final_beta ** ((k + 1) / epochs)` in epoch `k`.

    Args:
        epochs: Length of the stage.
        final_beta: Beta of the last epoch. Defaults to `1e4`.

    Returns:
        One number per epoch.

    Raises:
        InvalidInputError: An argument is out of range.

    Example:

    >>> from keras_sda.search.gates.gate_penalty import gate_schedule
    >>> [round(beta) for beta in gate_schedule(4)]
    [10, 100, 1000, 10000]

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022), the scaled sigmoid, and
    the authors' code, which takes ten epochs.
    """
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        raise InvalidInputError(
            f"`epochs` must be a positive integer. Received: epochs={epochs!r}."
        )
    if not isinstance(final_beta, (int, float)) or not 1 < final_beta < math.inf:
        raise InvalidInputError(
            "`final_beta` must be a number above 1, such as 1e4. "
            f"Received: final_beta={final_beta!r}."
        )
    return [float(final_beta ** ((k + 1) / epochs)) for k in range(epochs)]
