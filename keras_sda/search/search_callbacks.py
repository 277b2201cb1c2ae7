"""What happens between the steps and epochs of a search."""

import math

import keras
import numpy as np

from keras_sda.search.gates.gate_cost import GateCost


class HardenGates(keras.callbacks.Callback):
    """Sets beta of the gates at the start of every epoch, and clears the momentum.

    Args:
        gates: The gates.
        betas: One beta per epoch, see `gate_schedule`.
        fresh: For every variable of the optimizer that is to be cleared, its value at
            the start. Defaults to none.

    Example:

    ```python
    model.fit(data, callbacks=[HardenGates(gates, gate_schedule(10))])
    ```
    """

    def __init__(self, gates, betas, fresh=()):
        super().__init__()
        self.gates, self.betas, self.fresh = gates, betas, list(fresh)

    def on_epoch_begin(self, epoch, logs=None):
        for gate in self.gates:
            gate.beta.assign(self.betas[epoch])
        for variable, value in self.fresh:
            variable.assign(value)


class SteerPrice(keras.callbacks.Callback):
    """Steers the price of open gates so that the search ends at a budget.

    What is measured are the multiply-accumulates of the channels with positive `s`,
    which stay if nothing changes. The price follows the difference to the budget and
    its integral over the stage, exponentially where it is far from zero. It may become
    negative: a search that closes too much by itself is paid for open gates. Early on,
    while beta is small, gates can still come back.

    Args:
        gates: The gates.
        cost: Their `GateCost`.
        target: Multiply-accumulates to end at.
        epochs: Length of the stage.
        scale: Prices below it count as near zero. Defaults to `1e-5`.
        updates: How often per epoch. Defaults to `50`.

    Example:

    ```python
    model.fit(data, epochs=10, callbacks=[SteerPrice(gates, cost, 2e7, 10)])
    ```
    """

    # Each is a factor of e for a difference of a tenth (over a tenth of the stage).
    _INTEGRAL, _PROPORTIONAL = 100.0, 10.0
    _HIGHEST = 1e3

    def __init__(self, gates, cost: GateCost, target, epochs, scale=1e-5, updates=50):
        super().__init__()
        self.gates, self.cost, self.target = gates, cost, target / cost.macs
        self.epochs, self.scale, self.updates = epochs, scale, updates
        self._steps = None

    def on_train_begin(self, logs=None):
        steps = self.params.get("steps")
        self._steps = int(steps) if steps else None

    def on_train_batch_end(self, batch, logs=None):
        if self._steps is None:
            return
        every = max(1, self._steps // self.updates)
        if (batch + 1) % every == 0:
            self._steer(every / self._steps / self.epochs)

    def on_epoch_end(self, epoch, logs=None):
        if self._steps is None:  # nobody knows how long an epoch is
            self._steer(1 / self.epochs)

    def _steer(self, part):
        model = self.model
        difference = hard_macs(self.gates, self.cost) / self.cost.macs - self.target
        memory = float(keras.ops.convert_to_numpy(model.price_memory))
        memory += self._INTEGRAL * part * difference
        model.price_memory.assign(memory)
        value = memory + self._PROPORTIONAL * difference
        value = self.scale * math.sinh(min(max(value, -50), 50))
        model.price.assign(min(max(value, -self._HIGHEST), self._HIGHEST))


def hard_macs(gates, cost: GateCost) -> float:
    """Multiply-accumulates of the channels that stay if beta grows without limit."""
    opened = {}
    for gate in gates:
        s = keras.ops.convert_to_numpy(gate.s)
        opened[gate.name] = (s >= 0) & (keras.ops.convert_to_numpy(gate.mask) > 0)
    return cost.macs_at(opened)


def gate_values(gates) -> dict[str, np.ndarray]:
    """The soft gates by name."""
    return {
        gate.name: keras.ops.convert_to_numpy(gate.gates())
        * keras.ops.convert_to_numpy(gate.mask)
        for gate in gates
    }
