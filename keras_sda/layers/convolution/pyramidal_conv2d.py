"""Pyramidal convolution: one map read by kernels of several sizes."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sda.layers.convolution.grouped_conv2d import GroupedConv2D
from keras_sda.layers.convolution.linear_part import LinearPart
from keras_sda.utils import InvalidInputError
from keras_sda.utils.check_arguments import check_arguments


@keras.saving.register_keras_serializable(package="keras_sda")
class PyramidalConv2D(keras.layers.Layer):
    """Parallel convolutions of several kernel sizes, concatenated in that order.

    Every level reads all input channels (in its own number of groups) and is padded
    alike on all sides, so that the levels fit together at any stride.

    Args:
        filters: Sequence of integers, output channels of every level.
        kernel_sizes: Sequence of odd integers, side of the window of every level in
            pixels.
        groups: Sequence of integers, groups of every level. Defaults to 1 each.
        strides: Integer, stride of all levels. Defaults to `1`.
        kernel_initializer: Initializer of the kernels. Defaults to He by fan-out.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to the Keras
            setting.
        implementation: How the groups are computed, see `GroupedConv2D`. Defaults to
            `"auto"`.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), sum(filters))`.

    Raises:
        InvalidInputError: The sequences differ in length, or a kernel size is even.

    Example:

    >>> import numpy as np
    >>> from keras_sda.layers import PyramidalConv2D
    >>> layer = PyramidalConv2D([8, 8], kernel_sizes=[3, 5], groups=[1, 4], strides=2)
    >>> layer(np.ones((2, 9, 8, 16), "float32")).shape
    TensorShape([2, 5, 4, 16])

    Source: arXiv 2006.11538, section 3; as the trunk of SDA-PyConv in arXiv 2209.10327.
    """

    is_convolution = True

    def __init__(
        self,
        filters: Sequence[int],
        kernel_sizes: Sequence[int],
        groups: Sequence[int] | None = None,
        strides: int = 1,
        kernel_initializer: Any = None,
        data_format: str | None = None,
        implementation: str = "auto",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_arguments("counts", filters=filters, kernel_sizes=kernel_sizes)
        check_arguments("count", strides=strides)
        if groups is not None:
            check_arguments("counts", groups=groups)
        check_arguments("data_format", data_format=data_format)
        self.filters = list(filters)
        self.kernel_sizes = list(kernel_sizes)
        self.groups = list(groups) if groups is not None else [1] * len(self.filters)
        if not len(self.filters) == len(self.kernel_sizes) == len(self.groups) > 0:
            raise InvalidInputError(
                "`filters`, `kernel_sizes` and `groups` must have one entry per level. "
                f"Received: filters={self.filters}, kernel_sizes={self.kernel_sizes}, "
                f"groups={self.groups}."
            )
        if any(size % 2 == 0 for size in self.kernel_sizes):
            raise InvalidInputError(
                "`kernel_sizes` must be odd, so that a window has a middle. Received: "
                f"kernel_sizes={self.kernel_sizes}."
            )
        self.strides = strides
        if kernel_initializer is None:
            kernel_initializer = keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            )
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.implementation = implementation
        self.data_format = data_format or keras.config.image_data_format()
        self.channel_axis = -1 if self.data_format == "channels_last" else 1
        self.levels = [
            GroupedConv2D(
                level_filters,
                size,
                strides=strides,
                # "same" with a stride pads the right and the bottom only.
                padding="same" if strides == 1 else "valid",
                groups=level_groups,
                use_bias=False,
                kernel_initializer=self.kernel_initializer.clone(),
                data_format=self.data_format,
                implementation=implementation,
                dtype=self.dtype_policy,
                name=f"level{number}",
            )
            for number, (level_filters, size, level_groups) in enumerate(
                zip(self.filters, self.kernel_sizes, self.groups, strict=True), 1
            )
        ]

    def build(self, input_shape):
        for level, size in zip(self.levels, self.kernel_sizes, strict=True):
            level.build(self._padded_shape(input_shape, size))

    def _padding(self, size):
        """Pixels to add before and after each axis."""
        if self.strides == 1:
            return [(0, 0)] * 4
        pad = (size // 2, size // 2)
        if self.channel_axis == 1:
            return [(0, 0), (0, 0), pad, pad]
        return [(0, 0), pad, pad, (0, 0)]

    def _padded_shape(self, shape, size):
        return tuple(
            None if side is None else side + sum(pad)
            for side, pad in zip(shape, self._padding(size), strict=True)
        )

    def call(self, inputs):
        outputs = [
            level(self._padded(inputs, size))
            for level, size in zip(self.levels, self.kernel_sizes, strict=True)
        ]
        return ops.concatenate(outputs, axis=self.channel_axis)

    def _padded(self, inputs, size):
        return ops.pad(inputs, self._padding(size)) if self.strides > 1 else inputs

    def linear_parts(self) -> list[LinearPart]:
        """The convolutions of its levels."""
        parts = []
        for level, size in zip(self.levels, self.kernel_sizes, strict=True):

            def read(x, size=size):
                return self._padded(x[0], size)

            parts.append(LinearPart(level.name, level, read))
        return parts

    def compute_output_shape(self, input_shape):
        shape = list(
            self.levels[0].compute_output_shape(
                self._padded_shape(input_shape, self.kernel_sizes[0])
            )
        )
        shape[self.channel_axis] = sum(self.filters)
        return tuple(shape)

    def compute_macs(self, input_shape: Any, output_shape: Any) -> int:
        """Multiply-accumulates of one sample, for `keras_sda.analysis.profile`."""
        return sum(
            level.compute_macs(input_shape, output_shape) for level in self.levels
        )

    def follow_channels(self, call: Any) -> Any:
        """Reads all channels in every level and makes new ones, level by level."""
        made = self.follow_levels(call)
        call.configure("filters", lambda kept: [kept.count(units) for units in made])
        return call.channels(call.channel_axis, np.concatenate(made))

    def follow_levels(self, call: Any) -> list[np.ndarray]:
        """Tells a channel rule of the kernels; returns the new units of every level."""
        units = call.units(0, call.channel_axis)
        made = []
        for level in self.levels:
            new = call.new_units(level.filters)
            reads = units
            if level.groups > 1:
                per_group = units.reshape(level.groups, -1).T
                call.tie(per_group)
                call.tie(new.reshape(level.groups, -1).T)
                reads = per_group[:, 0]
            call.index(level.kernel, -2, reads, "reads")
            call.index(level.kernel, -1, new, "writes")
            made.append(new)
        return made

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
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "data_format": self.data_format,
            "implementation": self.implementation,
        }
