"""Dense layer in groups of any size, each with its own list of features."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_sda.layers.compression.packed_groups import PackedGroups


@keras.saving.register_keras_serializable(package="keras_sda")
class PackedDense(PackedGroups, keras.layers.Layer):
    """Dense layer that holds and computes only the kept weights of its groups.

    `keras_sda.grouping.pack` puts it in the place of a `SelfGroupedDense` where that is
    faster than the dense layer.

    Args:
        channels: For every group the input features that it reads; an empty list for
            units without features, which give their bias.
        sizes: For every group its number of units.
        order: For every output the unit that it is, counted through the groups.
            Defaults to `None`, the units group by group.
        activation: Defaults to none.
        use_bias: Defaults to `True`.
        kernel_initializer: Defaults to `"glorot_uniform"`.
        **kwargs: `name`, `dtype`, `trainable`.

    Weights: `kernel_0`, `kernel_1`, ... of shape (features of the group, units of the
    group), then the bias.

    Input shape:
        `(batch, ..., features)`.

    Output shape:
        `(batch, ..., sum(sizes))`.

    Raises:
        InvalidInputError: The lists do not fit together or to the input.

    Example:

    >>> import numpy as np
    >>> from keras_sda.layers import PackedDense
    >>> layer = PackedDense([[0, 2], [1]], sizes=[2, 1])
    >>> layer(np.ones((5, 3), "float32")).shape
    TensorShape([5, 3])

    Source: arXiv 2009.13803 (Neural Networks 132, 2020), fully connected layers; the
    authors' code masks and does not pack.
    """

    def __init__(
        self,
        channels: Sequence[Sequence[int]],
        sizes: Sequence[int],
        order: Sequence[int] | None = None,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.set_lists(channels, sizes, order)
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    @property
    def units(self) -> int:
        """Size of the output."""
        return self.num_filters

    def build(self, input_shape):
        self.check_channels(input_shape[-1])
        self.add_kernels(())

    def call(self, inputs):
        if len(inputs.shape) == 2:
            return self.grouped(inputs, 1, ops.matmul)
        # As vectors, once: a product of maps reshapes them for every group.
        shape = ops.shape(inputs)
        vectors = ops.reshape(inputs, (-1, shape[-1]))
        outputs = self.grouped(vectors, 1, ops.matmul)
        return ops.reshape(outputs, (-1, *shape[1:-1], self.num_filters))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.num_filters)

    def compute_macs(self, input_shape: Any, output_shape: Any) -> int:
        """Multiply-accumulates of one sample, for `keras_sda.analysis.profile`."""
        positions = 1
        for size in output_shape[1:-1]:
            positions *= size
        return positions * self.connections()

    def get_config(self):
        return {
            **super().get_config(),
            **self.lists(),
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
