"""Dense layer whose units read a learned subset of the input features."""

import math
from typing import Any

import keras
from keras import ops

from keras_sda.layers.compression.self_grouped import SelfGrouped
from keras_sda.utils import InvalidInputError
from keras_sda.utils.check_arguments import check_arguments


@keras.saving.register_keras_serializable(package="keras_sda")
class SelfGroupedDense(SelfGrouped, keras.layers.Dense):
    """Dense layer with a mask over its (feature, unit) connections.

    Use it as `SelfGroupedConv2D`, for dense layers: units of one group read the same
    input features, and what the mask cuts gets no gradient.

    Args:
        units: Integer, size of the output.
        **kwargs: Further arguments of `keras.layers.Dense`: `activation`, `use_bias`,
            initializers, regularizers, constraints, `name`, `dtype`.

    Weights: kernel, bias, then mask (features, units) and labels (units,), which are
    not trainable, start at ones and zeros and are saved with the model.

    Input shape:
        `(batch, ..., features)`.

    Output shape:
        `(batch, ..., units)`.

    Raises:
        InvalidInputError: LoRA or quantization is asked for.

    Example:

    >>> import numpy as np
    >>> from keras_sda.layers import SelfGroupedDense
    >>> layer = SelfGroupedDense(2, use_bias=False, kernel_initializer="ones")
    >>> layer.build((None, 3))
    >>> layer.set_groups([[1, 0], [1, 0], [0, 1]], labels=[0, 1])
    >>> layer(np.ones((1, 3), "float32")).numpy().tolist()
    [[2.0, 1.0]]

    Source: arXiv 2009.13803 (Neural Networks 132, 2020), fully connected layers.
    """

    def __init__(self, units: int, **kwargs):
        if kwargs.pop("lora_rank", None) or kwargs.pop("lora_alpha", None):
            raise InvalidInputError(
                "`lora_rank` is not available: what LoRA adds to the kernel would not "
                "be masked. Leave it out."
            )
        if kwargs.pop("quantization_config", None):
            raise InvalidInputError(
                "`quantization_config` is not available in a masked layer. Pack the "
                "model before quantizing it."
            )
        check_arguments("count", units=units)
        super().__init__(units, **kwargs)

    def call(self, inputs, training=None):
        x = ops.matmul(inputs, ops.multiply(self.kernel, self.mask))
        if self.bias is not None:
            x = ops.add(x, self.bias)
        if self.activation is not None:
            x = self.activation(x)
        return x

    def quantize(self, mode=None, type_check=True, config=None):
        """Refuses as every layer does that has no quantized form."""
        return super().quantize(mode, type_check=True, config=config)

    def compute_macs(self, input_shape: Any, output_shape: Any) -> int:
        """Multiply-accumulates of the dense layer, for `analysis.profile`."""
        return math.prod(output_shape) * input_shape[-1]

    def follow_channels(self, call: Any) -> Any:
        """Reads channels and makes new ones; the mask has an axis for either."""
        return self.follow_masked(call, keras.layers.Dense)
