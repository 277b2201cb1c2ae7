"""SGD whose weight decay goes through the momentum, as in the papers."""

import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_sda.graph import variable_index


@keras.saving.register_keras_serializable(package="keras_sda")
class CoupledSGD(keras.optimizers.SGD):
    """Stochastic gradient descent with coupled (L2-style) weight decay.

    Use it to follow a published recipe: there `weight_decay * w` is added to the
    gradient before the momentum. `keras.optimizers.SGD(weight_decay=...)` instead
    shrinks the weights apart from the momentum, so the same number means something
    else.

    Args:
        learning_rate: Float or learning rate schedule. Defaults to 0.01.
        momentum: From 0 to 1. Defaults to 0.
        nesterov: Whether the momentum is Nesterov's. Defaults to False.
        weight_decay: Factor of the weights in the gradient. Defaults to 0.
        decay_exclude: Regular expressions; a variable whose path contains a match is
            not decayed. Defaults to (): every trainable variable is, BatchNormalization
            and biases too, as in the recipe of the SDA networks.
        name: Name of the optimizer.
        **kwargs: Further arguments of `keras.optimizers.SGD`, such as `use_ema`.

    As in Keras, the velocity holds the learning rate, `v = m*v - lr*g; w += v`. Other
    libraries multiply afterwards; the two agree while the rate is constant.

    Example:

    >>> optimizer = CoupledSGD(0.1, momentum=0.9, weight_decay=1e-4)
    >>> optimizer.coupled_weight_decay
    0.0001
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay_exclude: Sequence[str] = (),
        name: str = "coupled_sgd",
        **kwargs,
    ):
        if weight_decay is None or not weight_decay >= 0:
            raise ValueError(
                "`weight_decay` must be a number from 0 up. "
                f"Received: weight_decay={weight_decay!r}."
            )
        super().__init__(
            learning_rate=learning_rate,
            momentum=float(momentum),
            nesterov=nesterov,
            name=name,
            **kwargs,
        )
        self.coupled_weight_decay = float(weight_decay)
        self.decay_exclude = tuple(decay_exclude)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        # Under tf.distribute update_step sees variables without a path.
        self._decayed = [
            not any(re.search(pattern, variable.path) for pattern in self.decay_exclude)
            for variable in variables
        ]

    def update_step(self, gradient, variable, learning_rate):
        decayed = self._decayed[variable_index(self, variable)]
        if self.coupled_weight_decay and decayed:
            gradient = ops.cast(gradient, variable.dtype)
            decay = ops.cast(self.coupled_weight_decay, variable.dtype)
            gradient = ops.add(gradient, ops.multiply(decay, variable))
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        config = super().get_config()
        config["weight_decay"] = self.coupled_weight_decay
        config["decay_exclude"] = list(self.decay_exclude)
        return config
