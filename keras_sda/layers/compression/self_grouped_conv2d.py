"""2D convolution whose filters read a learned subset of the input channels."""

import math
from typing import Any

import keras
from keras import ops

from keras_sda.layers.compression.self_grouped import SelfGrouped
from keras_sda.layers.convolution.add_bias import add_bias
from keras_sda.utils import InvalidInputError
from keras_sda.utils.check_arguments import check_arguments


@keras.saving.register_keras_serializable(package="keras_sda")
class SelfGroupedConv2D(SelfGrouped, keras.layers.Conv2D):
    """2D convolution with a mask over its (channel, filter) connections.

    Use it to train a self-grouped network: filters of one group read the same input
    channels, and what the mask cuts gets no gradient. It costs as much as the dense
    layer; `keras_sda.grouping` sets the groups and makes the small model.

    Args:
        filters: Integer, number of output channels.
        kernel_size: Integer or two integers, size of the window in pixels.
        strides: Integer or two integers. Defaults to `(1, 1)`.
        padding: `"valid"` or `"same"`. Defaults to `"valid"`.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to the Keras
            setting.
        dilation_rate: Integer or two integers. Defaults to `(1, 1)`.
        groups: Must be 1, the default: the mask makes the groups.
        **kwargs: Further arguments of `keras.layers.Conv2D`: `activation`,
            `use_bias`, initializers, regularizers, constraints, `name`, `dtype`.

    Weights: kernel, bias, then mask (channels, filters) and labels (filters,), which
    are not trainable, start at ones and zeros and are saved with the model. A
    regularizer sees the whole kernel, cut connections included, as the authors' does.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, new_height, new_width, filters)`.

    Raises:
        InvalidInputError: `groups` is not 1, or LoRA or quantization is asked for.

    Example:

    >>> import numpy as np
    >>> from keras_sda.layers import SelfGroupedConv2D
    >>> layer = SelfGroupedConv2D(4, 3, padding="same")
    >>> layer.build((None, 8, 8, 6))
    >>> mask = np.zeros((6, 4))
    >>> mask[:3, :2] = mask[2:, 2:] = 1  # two groups, which share channel 2
    >>> layer.set_groups(mask, labels=[0, 0, 1, 1])
    >>> layer(np.ones((1, 8, 8, 6), "float32")).shape
    TensorShape([1, 8, 8, 4])

    Source: arXiv 2009.13803 (Neural Networks 132, 2020), the masked convolution.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, int] = (1, 1),
        groups: int = 1,
        **kwargs,
    ):
        if groups != 1:
            raise InvalidInputError(
                f"`groups` must be 1: the mask makes the groups. Received: "
                f"groups={groups}. Use layers.GroupedConv2D for groups of neighbours."
            )
        if kwargs.pop("lora_rank", None) or kwargs.pop("lora_alpha", None):
            raise InvalidInputError(
                "`lora_rank` is not available: what LoRA adds to the kernel would not "
                "be masked. Leave it out."
            )
        check_arguments("count", filters=filters)
        check_arguments(
            "side",
            kernel_size=kernel_size,
            strides=strides,
            dilation_rate=dilation_rate,
        )
        check_arguments("padding", padding=padding)
        check_arguments("data_format", data_format=data_format)
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            groups=groups,
            **kwargs,
        )

    def call(self, inputs):
        outputs = self.convolution_op(inputs, self.kernel)
        if self.use_bias:
            axis = 1 if self.data_format == "channels_first" else -1
            outputs = add_bias(outputs, self.bias, axis)
        return outputs if self.activation is None else self.activation(outputs)

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, ops.multiply(kernel, self.mask))

    def compute_macs(self, input_shape: Any, output_shape: Any) -> int:
        """Multiply-accumulates of the dense layer, for `analysis.profile`."""
        return math.prod(output_shape) * math.prod(self.kernel.shape[:-1])

    def follow_channels(self, call: Any) -> Any:
        """Reads channels and makes new ones; the mask has an axis for either."""
        return self.follow_masked(call, keras.layers.Conv2D)
