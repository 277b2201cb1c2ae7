"""Activations that change every value on its own."""

import keras

NAMES = frozenset(
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh "
    "leaky_relu linear log_sigmoid mish relu relu6 selu sigmoid silu soft_shrink "
    "softplus softsign sparse_plus sparse_sigmoid squareplus swish tanh tanh_shrink "
    "threshold".split()
)

_LAYERS = (keras.layers.LeakyReLU, keras.layers.ReLU, keras.layers.ELU)


def is_pointwise(activation) -> bool:
    """Whether an activation is known to change every value on its own.

    Args:
        activation: A function of `keras.activations`, an activation layer or None.

    Example:

    >>> import keras
    >>> from keras_sda.graph.rules.pointwise_activations import is_pointwise
    >>> is_pointwise(keras.activations.relu), is_pointwise(keras.activations.softmax)
    (True, False)
    """
    if activation is None or isinstance(activation, _LAYERS):
        return True
    return any(
        activation is getattr(keras.activations, name, None) for name in NAMES
    ) or any(activation is getattr(keras.ops, name, None) for name in NAMES)
