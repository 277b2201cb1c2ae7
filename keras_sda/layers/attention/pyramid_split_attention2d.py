"""Pyramid split attention: branches of several kernel sizes compete per channel."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sda.layers.attention.inner_dense import inner_dense
from keras_sda.layers.convolution.linear_part import LinearPart
from keras_sda.layers.convolution.pyramidal_conv2d import PyramidalConv2D
from keras_sda.utils import InvalidInputError
from keras_sda.utils.check_arguments import check_arguments


@keras.saving.register_keras_serializable(package="keras_sda")
class PyramidSplitAttention2D(keras.layers.Layer):
    """Weighs the branches of a pyramidal convolution against each other.

    Every branch has `filters / branches` channels and a squeeze-and-excitation of its
    own; a softmax over the branches turns the gates into weights, and the weighted
    branches are concatenated, the largest kernel first.

    Args:
        filters: Integer, output channels, a multiple of the number of branches.
        kernel_sizes: Odd integers, one per branch. Defaults to `(3, 5, 7, 9)`.
        groups: Integers, one per branch. Defaults to `(1, 4, 8, 16)`.
        strides: Integer. Defaults to `1`.
        reduction: Integer, ratio of a branch's channels to the hidden units of its
            gate. Defaults to `16`.
        gate_units: Integer, the hidden units of every gate, in place of `reduction`.
            Defaults to `None`.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to the Keras
            setting.
        implementation: How the groups are computed, see `GroupedConv2D`. Defaults to
            `"auto"`.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), filters)`.

    Raises:
        InvalidInputError: `filters` is no multiple of the number of branches.

    Example:

    >>> import numpy as np
    >>> from keras_sda.layers import PyramidSplitAttention2D
    >>> layer = PyramidSplitAttention2D(64)
    >>> layer(np.ones((2, 8, 8, 64), "float32")).shape
    TensorShape([2, 8, 8, 64])

    Source: arXiv 2105.14447; separate gates per branch reproduce the parameter counts
    of SDA-EPSANet in arXiv 2209.10327.
    """

    def __init__(
        self,
        filters: int,
        kernel_sizes: Sequence[int] = (3, 5, 7, 9),
        groups: Sequence[int] = (1, 4, 8, 16),
        strides: int = 1,
        reduction: int = 16,
        gate_units: int | None = None,
        data_format: str | None = None,
        implementation: str = "auto",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_arguments("count", filters=filters, strides=strides, reduction=reduction)
        check_arguments("counts", kernel_sizes=kernel_sizes, groups=groups)
        if gate_units is not None:
            check_arguments("count", gate_units=gate_units)
        branches = len(kernel_sizes)
        if filters % branches:
            raise InvalidInputError(
                "`filters` must be a multiple of the number of branches. Received: "
                f"filters={filters}, kernel_sizes={tuple(kernel_sizes)}."
            )
        self.filters = filters
        self.kernel_sizes = list(kernel_sizes)
        self.groups = list(groups)
        self.strides = strides
        self.reduction = reduction
        self.gate_units = gate_units
        self.implementation = implementation
        self.data_format = data_format or keras.config.image_data_format()
        self.channel_axis = -1 if self.data_format == "channels_last" else 1
        self.branch_filters = filters // branches
        self.pyramid = PyramidalConv2D(
            [self.branch_filters] * branches,
            self.kernel_sizes,
            self.groups,
            strides,
            data_format=self.data_format,
            implementation=implementation,
            dtype=self.dtype_policy,
            name="pyramid",
        )

    def build(self, input_shape):
        self.pyramid.build(input_shape)
        hidden = self.gate_units or max(self.branch_filters // self.reduction, 1)
        initializer = keras.initializers.VarianceScaling(
            2.0, "fan_out", "untruncated_normal"
        )
        self.gates = []
        for number in range(1, len(self.kernel_sizes) + 1):
            squeeze = inner_dense(
                hidden,
                self.branch_filters,
                f"squeeze{number}",
                activation="relu",
                kernel_initializer=initializer.clone(),
            )
            excite = inner_dense(
                self.branch_filters,
                hidden,
                f"excite{number}",
                activation="sigmoid",
                kernel_initializer=initializer.clone(),
            )
            self.gates.append([squeeze, excite])

    def call(self, inputs):
        axes = (1, 2) if self.channel_axis == -1 else (2, 3)
        branches = self._branches(inputs)
        gates = [
            excite(squeeze(self._pooled(x)))
            for x, (squeeze, excite) in zip(branches, self.gates, strict=True)
        ]
        weights = ops.cast(ops.softmax(ops.stack(gates, axis=1), 1), self.compute_dtype)
        weighted = [
            x * ops.expand_dims(weights[:, k], axes) for k, x in enumerate(branches)
        ]
        return ops.concatenate(weighted[::-1], axis=self.channel_axis)

    def _branches(self, inputs):
        return ops.split(
            self.pyramid(inputs), len(self.kernel_sizes), axis=self.channel_axis
        )

    def _pooled(self, branch):
        axes = (1, 2) if self.channel_axis == -1 else (2, 3)
        return ops.mean(ops.cast(branch, "float32"), axis=axes)

    def linear_parts(self) -> list[LinearPart]:
        """The convolutions of its levels, then the dense layers of its gates."""
        parts = self.pyramid.linear_parts()
        for number, (squeeze, excite) in enumerate(self.gates):

            def read(x, number=number):
                return self._pooled(self._branches(x[0])[number])

            def read_hidden(x, read=read, squeeze=squeeze):
                return squeeze(read(x))

            parts.append(LinearPart(squeeze.name, squeeze, read))
            parts.append(LinearPart(excite.name, excite, read_hidden))
        return parts

    def compute_output_shape(self, input_shape):
        return self.pyramid.compute_output_shape(input_shape)

    def compute_macs(self, input_shape: Any, output_shape: Any) -> int:
        """Multiply-accumulates of one sample, for `keras_sda.analysis.profile`."""
        gates = sum(
            2 * self.branch_filters * squeeze.units for squeeze, _ in self.gates
        )
        return self.pyramid.compute_macs(input_shape, output_shape) + gates

    def follow_channels(self, call: Any) -> Any:
        """Makes new channels per branch, coupled by the softmax between branches."""
        made = self.pyramid.follow_levels(call)
        # The softmax over the branches needs the same channels in all of them.
        for units in made[1:]:
            call.couple(made[0], units)
        for units, (squeeze, excite) in zip(made, self.gates, strict=True):
            call.index(squeeze.kernel, 0, units, "reads")
            call.index(excite.kernel, 1, units, "carries")
            call.index(excite.bias, 0, units, "carries")
        call.configure("filters", lambda kept: sum(map(kept.count, made)))
        # The gates keep their hidden units.
        call.configure("gate_units", lambda kept: self.gates[0][0].units)
        return call.channels(call.channel_axis, np.concatenate(made[::-1]))

    def portable(self) -> keras.layers.Layer:
        """The layer with its groups in the form that runs everywhere."""
        return type(self).from_config({**self.get_config(), "implementation": "split"})

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_sizes": self.kernel_sizes,
            "groups": self.groups,
            "strides": self.strides,
            "reduction": self.reduction,
            "gate_units": self.gate_units,
            "data_format": self.data_format,
            "implementation": self.implementation,
        }
