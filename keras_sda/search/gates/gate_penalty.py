"""What all gates of a model add to the loss."""

from collections.abc import Callable, Sequence
from typing import Any

from keras_sda.layers import ScaledSigmoidGate
from keras_sda.search.gates.gate_cost import GateCost
from keras_sda.search.gates.gate_regularizer import gate_regularizer


def gate_penalty(
    gates: Sequence[ScaledSigmoidGate], cost: GateCost, kind: str = "plain"
) -> Callable[[], Any]:
    """Returns a function that gives the sum of `gate_regularizer` over all gates.

    Args:
        gates: The gates.
        cost: What they cost, for `"macs"`.
        kind: See `gate_regularizer`. Defaults to `"plain"`.

    Raises:
        InvalidInputError: The kind is unknown.

    Example:

    ```python
    penalty = gate_penalty(channel_gates(gated), GateCost(gated))
    loss = cross_entropy + 1e-4 * penalty()
    ```
    """
    weights = cost.weights() if kind == "macs" else {}
    gate_regularizer([0.0], kind, macs=1.0)  # Say at once what is wrong.

    def penalty():
        return sum(
            gate_regularizer(gate.s, kind, gate.beta, weights.get(gate.name))
            for gate in gates
        )

    return penalty
