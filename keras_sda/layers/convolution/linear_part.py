"""A kernel inside of a layer, with what it is multiplied by."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, eq=False)
class LinearPart:
    """A kernel inside of a layer, with what it is multiplied by.

    A layer with a method `linear_parts()` that returns a list of these, in the order in
    which they run, has its kernels fitted by `keras_sda.pruning.reconstruct`.

    Attributes:
        name: Name of the part, empty where its output is that of the layer.
        layer: A convolution or dense layer, or what stands for one: with `kernel`,
            `use_bias`, `bias` and `activation`, for a convolution with `kernel_size`,
            `strides`, `padding`, `dilation_rate`, `data_format` and `groups` as well.
        read: Function of the list of tensors that the outer layer is called with;
            returns what the kernel is multiplied by, at inference.

    Example:

    >>> import keras
    >>> from keras_sda.layers.convolution.linear_part import LinearPart
    >>> dense = keras.layers.Dense(2)
    >>> dense.build((None, 3))
    >>> part = LinearPart("squeeze", dense, lambda inputs: inputs[0])
    >>> tuple(part.layer.kernel.shape)
    (3, 2)
    """

    name: str
    layer: Any
    read: Callable[[Sequence[Any]], Any]
