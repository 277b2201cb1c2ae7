"""CBAM: channels first, then positions, weighed by means and maxima."""

from typing import Any

import keras
from keras import ops

from keras_sda.layers.attention.inner_dense import inner_dense
from keras_sda.utils.check_arguments import check_arguments


@keras.saving.register_keras_serializable(package="keras_sda")
class ConvolutionalBlockAttention2D(keras.layers.Layer):
    """Weighs channels by a shared perceptron and positions by one convolution.

    The channel gate is the sigmoid of the perceptron's answer to the mean plus its
    answer to the maximum over the positions; the position gate is the sigmoid of a
    convolution over the mean and the maximum over the channels. None has a bias.

    Args:
        reduction: Integer, ratio of channels to hidden units. Defaults to `8`, which
            reproduces the parameter counts of the depth-attention paper.
        kernel_size: Odd integer, window of the position gate. Defaults to `7`.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to the Keras
            setting.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        The same.

    Raises:
        InvalidInputError: `reduction` is not positive, or `kernel_size` even.

    Example:

    >>> import numpy as np
    >>> from keras_sda.layers import ConvolutionalBlockAttention2D
    >>> layer = ConvolutionalBlockAttention2D()
    >>> layer(np.ones((2, 8, 8, 16), "float32")).shape
    TensorShape([2, 8, 8, 16])

    Source: arXiv 1807.06521, section 3; as the trunk of SDA-CBAM in arXiv 2209.10327.
    """

    def __init__(
        self,
        reduction: int = 8,
        kernel_size: int = 7,
        data_format: str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_arguments("number", reduction=reduction)
        check_arguments("odd", kernel_size=kernel_size)
        check_arguments("data_format", data_format=data_format)
        self.reduction = reduction
        self.kernel_size = kernel_size
        self.data_format = data_format or keras.config.image_data_format()
        self.channel_axis = -1 if self.data_format == "channels_last" else 1

    def build(self, input_shape):
        self.channels = input_shape[self.channel_axis]
        self.hidden_units = max(int(self.channels / self.reduction), 1)
        initializer = keras.initializers.VarianceScaling(
            2.0, "fan_out", "untruncated_normal"
        )
        self.squeeze = inner_dense(
            self.hidden_units,
            self.channels,
            "squeeze",
            activation="relu",
            use_bias=False,
            kernel_initializer=initializer.clone(),
        )
        self.excite = inner_dense(
            self.channels,
            self.hidden_units,
            "excite",
            use_bias=False,
            kernel_initializer=initializer.clone(),
        )
        self.spatial = keras.layers.Conv2D(
            1,
            self.kernel_size,
            padding="same",
            use_bias=False,
            kernel_initializer=initializer.clone(),
            data_format=self.data_format,
            dtype=self.dtype_policy,
            name="spatial",
        )
        shape = list(input_shape)
        shape[self.channel_axis] = 2
        self.spatial.build(tuple(shape))

    def call(self, inputs):
        axes = (1, 2) if self.channel_axis == -1 else (2, 3)
        exact = ops.cast(inputs, "float32")
        logits = self.excite(self.squeeze(ops.mean(exact, axis=axes)))
        logits = logits + self.excite(self.squeeze(ops.max(exact, axis=axes)))
        gate = ops.cast(ops.sigmoid(logits), self.compute_dtype)
        x = inputs * ops.expand_dims(gate, axes)
        axis = self.channel_axis
        maps = [ops.max(x, axis=axis, keepdims=True), ops.mean(x, axis, keepdims=True)]
        return x * ops.sigmoid(self.spatial(ops.concatenate(maps, axis=axis)))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_macs(self, input_shape: Any, output_shape: Any) -> int:
        """Multiply-accumulates of one sample, for `keras_sda.analysis.profile`."""
        axes = (1, 2) if self.channel_axis == -1 else (2, 3)
        positions = input_shape[axes[0]] * input_shape[axes[1]]
        # The perceptron runs twice, on the mean and on the maximum.
        channel = 4 * self.channels * self.hidden_units
        return channel + 2 * self.kernel_size**2 * positions

    def follow_channels(self, call: Any) -> Any:
        """Pins channels: spatial attention looks at all of them at once."""
        return call.pinned_inputs(
            "its spatial attention takes the mean and the maximum over channels"
        )

    def get_config(self):
        return {
            **super().get_config(),
            "reduction": self.reduction,
            "kernel_size": self.kernel_size,
            "data_format": self.data_format,
        }
