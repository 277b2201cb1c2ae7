"""Gradients of a loss for chosen weights, on any backend."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_sda.data.fit.array_structures import map_arrays


def loss_gradients(
    model: keras.Model,
    variables: Sequence[keras.Variable],
    loss: Callable[[Any, Any], Any],
) -> Callable[[Any, Any], list[np.ndarray | None]]:
    """Returns a function of one batch that gives the gradients of the loss.

    The model runs at inference: no dropout, and batch normalization uses its moving
    statistics, which do not change. Weights need not be trainable.

    Args:
        model: A functional model.
        variables: Weights of the model.
        loss: Function of the outputs and the targets that returns a scalar.

    Returns:
        Function of inputs and targets that returns one array per variable, None
        where the loss does not depend on it.

    Example:

    >>> import keras
    >>> from keras_sda.pruning.criteria.loss.loss_gradients import loss_gradients
    >>> x = keras.Input((1,))
    >>> model = keras.Model(x, keras.layers.Dense(1, use_bias=False)(x))
    >>> gradients = loss_gradients(
    ...     model, model.weights, lambda y, target: keras.ops.sum(y - target)
    ... )
    >>> float(gradients(np.array([[3.0]]), np.array([[0.0]]))[0].item())
    3.0
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _tensorflow(model, variables, loss)
    if backend == "jax":
        return _jax(model, variables, loss)
    return _torch(model, variables, loss)


def _tensorflow(model, variables, loss):
    import tensorflow as tf

    values = [variable.value for variable in variables]

    def gradients(inputs, targets):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for value in values:
                tape.watch(value)
            result = loss(model(inputs, training=False), targets)
        found = tape.gradient(result, values)
        return [None if g is None else tf.convert_to_tensor(g).numpy() for g in found]

    return gradients


def _jax(model, variables, loss):
    import jax

    wanted = {id(variable): index for index, variable in enumerate(variables)}

    def values_of(kind, chosen):
        return [
            chosen[wanted[id(v)]] if id(v) in wanted else v.value
            for v in getattr(model, f"{kind}_variables")
        ]

    @jax.jit
    def step(chosen, inputs, targets):
        def function(chosen):
            outputs, _ = model.stateless_call(
                values_of("trainable", chosen),
                values_of("non_trainable", chosen),
                inputs,
                training=False,
            )
            return loss(outputs, targets)

        return jax.grad(function)(chosen)

    def gradients(inputs, targets):
        chosen = [variable.value for variable in variables]
        return [np.asarray(g) for g in step(chosen, inputs, targets)]

    return gradients


def _torch(model, variables, loss):
    import torch

    values = [variable.value for variable in variables]

    def gradients(inputs, targets):
        before = [value.requires_grad for value in values]
        try:
            for value in values:
                value.requires_grad_(True)
            with torch.enable_grad():
                result = loss(
                    model(inputs, training=False),
                    map_arrays(keras.ops.convert_to_tensor, targets),
                )
                found = torch.autograd.grad(result, values, allow_unused=True)
        finally:
            for value, required in zip(values, before, strict=True):
                value.requires_grad_(required)
        return [
            None if g is None else keras.ops.convert_to_numpy(g.detach()) for g in found
        ]

    return gradients
