"""Squeeze-and-excitation: channels weighed by what the whole image shows."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_sda.layers.attention.inner_dense import inner_dense
from keras_sda.layers.convolution.linear_part import LinearPart
from keras_sda.utils.check_arguments import check_arguments


@keras.saving.register_keras_serializable(package="keras_sda")
class SqueezeExcite2D(keras.layers.Layer):
    """Scales every channel by a gate that sees the mean of all channels.

    Put it after the last normalisation of a residual block, before the shortcut is
    added. The mean over the positions and the gate are computed in float32 under
    every dtype policy.

    Args:
        bottleneck_filters: Integer, width of the hidden layer.
        activation: Activation of the hidden layer. Defaults to `"relu"`.
        gate_activation: Activation of the gate. Defaults to `"sigmoid"`.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to the Keras
            setting.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        The same.

    Raises:
        InvalidInputError: `bottleneck_filters` is not positive.

    Example:

    >>> import numpy as np
    >>> from keras_sda.layers import SqueezeExcite2D
    >>> SqueezeExcite2D(4)(np.ones((2, 8, 8, 16), "float32")).shape
    TensorShape([2, 8, 8, 16])

    Source: arXiv 1709.01507, section 3; as the trunk of SDA-SENet in arXiv 2209.10327.
    """

    keeps_zeros = True  # the layer multiplies

    def __init__(
        self,
        bottleneck_filters: int,
        activation: str | Callable | None = "relu",
        gate_activation: str | Callable | None = "sigmoid",
        data_format: str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_arguments("count", bottleneck_filters=bottleneck_filters)
        check_arguments("data_format", data_format=data_format)
        self.bottleneck_filters = bottleneck_filters
        self.activation = keras.activations.get(activation)
        self.gate_activation = keras.activations.get(gate_activation)
        self.data_format = data_format or keras.config.image_data_format()
        self.channel_axis = -1 if self.data_format == "channels_last" else 1

    def build(self, input_shape):
        self.channels = input_shape[self.channel_axis]
        # PyTorch's default start, as the authors' classifiers have it.
        self.squeeze = _dense(
            self.bottleneck_filters, self.activation, self.channels, "squeeze"
        )
        self.excite = _dense(
            self.channels, self.gate_activation, self.bottleneck_filters, "excite"
        )

    def call(self, inputs):
        axes = (1, 2) if self.channel_axis == -1 else (2, 3)
        hidden = self.squeeze(self._pooled(inputs))
        gate = ops.cast(self.excite(hidden), self.compute_dtype)
        return inputs * ops.expand_dims(gate, axes)

    def _pooled(self, inputs):
        axes = (1, 2) if self.channel_axis == -1 else (2, 3)
        return ops.mean(ops.cast(inputs, "float32"), axis=axes)

    def linear_parts(self) -> list[LinearPart]:
        """Its two dense layers, each with what it reads."""
        return [
            LinearPart("squeeze", self.squeeze, lambda x: self._pooled(x[0])),
            LinearPart(
                "excite", self.excite, lambda x: self.squeeze(self._pooled(x[0]))
            ),
        ]

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_macs(self, input_shape: Any, output_shape: Any) -> int:
        """Multiply-accumulates of one sample, for `keras_sda.analysis.profile`."""
        return 2 * self.channels * self.bottleneck_filters

    def follow_channels(self, call: Any) -> Any:
        """Passes channels on; the bottleneck between them can narrow by itself."""
        axis = call.channel_axis
        units = call.units(0, axis)
        hidden = call.new_units(self.bottleneck_filters)
        call.index(self.squeeze.kernel, 0, units, "reads")
        call.index(self.squeeze.kernel, 1, hidden, "writes")
        call.index(self.squeeze.bias, 0, hidden, "writes")
        call.index(self.excite.kernel, 0, hidden, "reads")
        call.index(self.excite.kernel, 1, units, "carries")
        call.index(self.excite.bias, 0, units, "carries")
        call.configure("bottleneck_filters", lambda kept: kept.count(hidden))
        return call.channels(axis, units)

    def get_config(self):
        return {
            **super().get_config(),
            "bottleneck_filters": self.bottleneck_filters,
            "activation": keras.activations.serialize(self.activation),
            "gate_activation": keras.activations.serialize(self.gate_activation),
            "data_format": self.data_format,
        }


def _dense(units, activation, fan_in, name):
    bound = fan_in**-0.5
    return inner_dense(
        units,
        fan_in,
        name,
        activation=activation,
        kernel_initializer=keras.initializers.VarianceScaling(
            1 / 3, "fan_in", "uniform"
        ),
        bias_initializer=keras.initializers.RandomUniform(-bound, bound),
    )
