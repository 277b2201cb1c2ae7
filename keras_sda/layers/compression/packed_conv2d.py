"""2D convolution in groups of any size, each with its own list of channels."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_sda.layers.compression.packed_groups import PackedGroups
from keras_sda.utils import InvalidInputError


@keras.saving.register_keras_serializable(package="keras_sda")
class PackedConv2D(PackedGroups, keras.layers.Layer):
    """2D convolution that holds and computes only the kept weights of its groups.

    `keras_sda.grouping.pack` puts it in the place of a `SelfGroupedConv2D` where that
    is faster than the dense convolution. Neighbouring channels are read as a slice,
    others are gathered.

    Args:
        channels: For every group the input channels that it reads; an empty list for
            filters without channels, which give their bias.
        sizes: For every group its number of filters.
        kernel_size: Integer or two integers, size of the window in pixels.
        order: For every output channel the filter that it is, counted through the
            groups. Defaults to `None`, the filters group by group.
        strides: Integer or two integers. Defaults to `(1, 1)`.
        padding: `"valid"` or `"same"`. Defaults to `"valid"`.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to the Keras
            setting.
        dilation_rate: Integer or two integers. Defaults to `(1, 1)`.
        activation: Defaults to none.
        use_bias: Defaults to `True`.
        kernel_initializer: Defaults to `"glorot_uniform"`.
        **kwargs: `name`, `dtype`, `trainable`.

    Weights: `kernel_0`, `kernel_1`, ... of shape (height, width, channels of the group,
    filters of the group), then the bias.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, new_height, new_width, sum(sizes))`.

    Raises:
        InvalidInputError: The lists do not fit together or to the input, or another
            argument is wrong.

    Example:

    >>> import numpy as np
    >>> from keras_sda.layers import PackedConv2D
    >>> layer = PackedConv2D([[0, 1, 2], [2, 5]], sizes=[4, 2], kernel_size=3)
    >>> layer(np.ones((1, 8, 8, 6), "float32")).shape
    TensorShape([1, 6, 6, 6])
    >>> [tuple(kernel.shape) for kernel in layer.kernels]
    [(3, 3, 3, 4), (3, 3, 2, 2)]

    Source: arXiv 2009.13803 (Neural Networks 132, 2020), diverse group convolution;
    the authors' code masks and does not pack.
    """

    def __init__(
        self,
        channels: Sequence[Sequence[int]],
        sizes: Sequence[int],
        kernel_size: int | tuple[int, int],
        order: Sequence[int] | None = None,
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, int] = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.set_lists(channels, sizes, order)
        self.kernel_size = _pair(kernel_size, "kernel_size")
        self.strides = _pair(strides, "strides")
        self.dilation_rate = _pair(dilation_rate, "dilation_rate")
        if padding not in ("valid", "same"):
            raise InvalidInputError(
                f"`padding` must be 'valid' or 'same'. Received: padding={padding!r}."
            )
        self.padding = padding
        self.data_format = data_format or keras.config.image_data_format()
        if self.data_format not in ("channels_last", "channels_first"):
            raise InvalidInputError(
                "`data_format` must be 'channels_last' or 'channels_first'. Received: "
                f"data_format={data_format!r}."
            )
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    @property
    def axis(self) -> int:
        """The channel axis."""
        return 1 if self.data_format == "channels_first" else 3

    @property
    def filters(self) -> int:
        """Number of output channels."""
        return self.num_filters

    def build(self, input_shape):
        self.check_channels(input_shape[self.axis])
        self.add_kernels(self.kernel_size)

    def call(self, inputs):
        def convolve(x, kernel):
            return ops.conv(
                x,
                kernel,
                strides=self.strides,
                padding=self.padding,
                dilation_rate=self.dilation_rate,
                data_format=self.data_format,
            )

        return self.grouped(inputs, self.axis, convolve)

    def compute_output_shape(self, input_shape):
        dense = keras.layers.Conv2D(
            self.num_filters,
            self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )
        return dense.compute_output_shape(input_shape)

    def compute_macs(self, input_shape: Any, output_shape: Any) -> int:
        """Multiply-accumulates of one sample, for `keras_sda.analysis.profile`."""
        places = list(output_shape[1:])
        del places[self.axis - 1]
        height, width = self.kernel_size
        return height * width * self.connections() * places[0] * places[1]

    def get_config(self):
        return {
            **super().get_config(),
            **self.lists(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def _pair(value, name):
    pair = (value, value) if isinstance(value, int) else value
    if (
        not isinstance(pair, (tuple, list))
        or len(pair) != 2
        or not all(isinstance(size, int) and size > 0 for size in pair)
    ):
        raise InvalidInputError(
            f"`{name}` must be one or two positive integers. Received: "
            f"{name}={value!r}."
        )
    return tuple(pair)
