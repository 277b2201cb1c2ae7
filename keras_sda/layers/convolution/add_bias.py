"""A bias along any axis, added where it belongs."""

from typing import Any

from keras import ops


def add_bias(inputs: Any, bias: Any, axis: int) -> Any:
    """Adds one number per channel.

    Use it in layers instead of `ops.add` with a bias of shape `(1, channels, 1, 1)`:
    Keras 3.15 on TensorFlow takes that for a bias of the last axis where the map is as
    wide as it has channels.

    Args:
        inputs: Tensor of two or more dimensions.
        bias: Vector with an entry per channel.
        axis: Channel axis of `inputs`.

    Returns:
        A tensor of the shape of `inputs`.

    Example:

    >>> from keras import ops
    >>> from keras_sda.layers.convolution.add_bias import add_bias
    >>> y = add_bias(ops.zeros((1, 2, 2)), ops.array([1.0, 2.0]), axis=1)
    >>> ops.convert_to_numpy(y)[0].tolist()
    [[1.0, 1.0], [2.0, 2.0]]
    """
    rank = len(inputs.shape)
    if axis % rank == rank - 1:
        # A vector: with oneDNN a bias of shape (1, 1) is refused.
        return ops.add(inputs, bias)
    shape = [1] * rank
    shape[axis] = -1
    # The bias comes first: only a second argument is taken for one.
    return ops.add(ops.reshape(bias, shape), inputs)
