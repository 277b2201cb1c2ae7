"""Grouped 2D convolution that is fast on CPU and never compiled through XLA."""

import concurrent.futures
import functools
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sda.layers.convolution.add_bias import add_bias
from keras_sda.utils import InvalidInputError
from keras_sda.utils.check_arguments import check_arguments

_IMPLEMENTATIONS = ("auto", "split", "native")


@keras.saving.register_keras_serializable(package="keras_sda")
class GroupedConv2D(keras.layers.Conv2D):
    """2D convolution whose filters read one group of the input channels each.

    Use it wherever `groups` is larger than one. `keras.layers.Conv2D(groups=...)` on
    the TensorFlow backend wraps every call in XLA: slow to train on CPU, and an
    exported model then needs a server that compiles. This layer gives the same
    numbers and holds the same kernel variable, without either.

    Args:
        filters: Integer, number of output channels, a multiple of `groups`.
        kernel_size: Integer or two integers, size of the window in pixels.
        strides: Integer or two integers. Defaults to `(1, 1)`.
        padding: `"valid"` or `"same"`. Defaults to `"valid"`.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to the Keras
            setting.
        dilation_rate: Integer or two integers. Defaults to `(1, 1)`.
        groups: Integer, number of groups. Group `g` of the filters reads group `g`
            of the input channels. Defaults to `1`.
        implementation: How the groups are computed.
            `"split"`: one dense convolution per group. Runs everywhere, in every
            dtype.
            `"native"`: the grouped operation of the backend. On TensorFlow that is
            the plain operation without XLA, which on CPU exists for float32 and
            bfloat16 where oneDNN is on (by default on Linux and CPUs with AVX-512
            VNNI, AVX-VNNI or AMX; else with `TF_ENABLE_ONEDNN_OPTS=1`).
            `"auto"`: the native operation where a trial run (forward, gradient, and
            with a bias inside a graph) agrees with the split form, else the split
            form; where every group is one channel, the depthwise operation.
            Defaults to `"auto"`.
        **kwargs: Further arguments of `keras.layers.Conv2D`: `activation`,
            `use_bias`, initializers, regularizers, constraints, `name`, `dtype`.

    Input shape:
        `(batch, height, width, channels)`, channels a multiple of `groups`.

    Output shape:
        `(batch, new_height, new_width, filters)`.

    Raises:
        InvalidInputError: `groups` does not divide `filters` or the input channels,
            or `implementation` is unknown.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.layers import GroupedConv2D
    >>> layer = GroupedConv2D(16, 3, groups=4, padding="same")
    >>> layer(np.ones((2, 8, 8, 8), "float32")).shape
    TensorShape([2, 8, 8, 16])
    >>> tuple(layer.kernel.shape)  # height, width, channels / groups, filters
    (3, 3, 2, 16)

    Source: grouped convolutions of SDA-ResNet (arXiv 2209.10327, `groups=8`).
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
        implementation: str = "auto",
        **kwargs,
    ):
        if implementation not in _IMPLEMENTATIONS:
            raise InvalidInputError(
                f"`implementation` must be one of {_IMPLEMENTATIONS}. "
                f"Received: implementation={implementation!r}."
            )
        check_arguments("count", filters=filters, groups=groups)
        check_arguments(
            "side",
            kernel_size=kernel_size,
            strides=strides,
            dilation_rate=dilation_rate,
        )
        check_arguments("padding", padding=padding)
        check_arguments("data_format", data_format=data_format)
        if filters % groups:
            raise InvalidInputError(
                "`groups` must be a positive integer that divides `filters`. "
                f"Received: groups={groups}, filters={filters}. Choose `filters` as "
                "a multiple of `groups`."
            )
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
        self.implementation = implementation

    def build(self, input_shape):
        channel_axis = 1 if self.data_format == "channels_first" else -1
        channels = input_shape[channel_axis]
        if channels is None or channels % self.groups:
            raise InvalidInputError(
                f"The number of input channels must be a multiple of `groups`. "
                f"Received: input_shape={tuple(input_shape)}, groups={self.groups} "
                f"(layer {self.name!r}). Choose `groups` as a divisor of {channels}."
            )
        super().build(input_shape)

    def call(self, inputs):
        outputs = self.convolution_op(inputs, self.kernel)
        if self.use_bias:
            axis = 1 if self.data_format == "channels_first" else -1
            outputs = add_bias(outputs, self.bias, axis)
        return outputs if self.activation is None else self.activation(outputs)

    def convolution_op(self, inputs, kernel):
        if self.groups == 1:
            return self._convolve(inputs, kernel)
        if self._is_depthwise(inputs):
            return self._depthwise(inputs, kernel)
        if self._use_native():
            return self._native(inputs, kernel)
        return self._split(inputs, kernel)

    def _convolve(self, inputs, kernel):
        return ops.conv(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )

    def _split(self, inputs, kernel):
        channel_axis = 1 if self.data_format == "channels_first" else -1
        outputs = [
            self._convolve(x, k)
            for x, k in zip(
                ops.split(inputs, self.groups, axis=channel_axis),
                ops.split(kernel, self.groups, axis=-1),
                strict=True,
            )
        ]
        return ops.concatenate(outputs, axis=channel_axis)

    def _native(self, inputs, kernel):
        if keras.backend.backend() != "tensorflow":
            return self._convolve(inputs, kernel)
        import tensorflow as tf  # `ops.conv` would wrap this call in XLA

        return tf.nn.conv2d(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding.upper(),
            dilations=self.dilation_rate,
            data_format="NCHW" if self.data_format == "channels_first" else "NHWC",
        )

    def _is_depthwise(self, inputs):
        channel_axis = 1 if self.data_format == "channels_first" else -1
        return (
            self.implementation == "auto"
            and inputs.shape[channel_axis] == self.groups
            # The operation of TensorFlow knows neither oblong nor dilated strides.
            and self.strides[0] == self.strides[1]
            and (self.strides[0] == 1 or self.dilation_rate == (1, 1))
        )

    def _depthwise(self, inputs, kernel):
        height, width, _, filters = kernel.shape
        kernel = ops.reshape(
            kernel, (height, width, self.groups, filters // self.groups)
        )
        return ops.depthwise_conv(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )

    def _use_native(self):
        if self.implementation != "auto":
            return self.implementation == "native"
        return _native_is_right(
            keras.backend.backend(), self.compute_dtype, self.data_format
        )

    def compute_macs(self, input_shape: Any, output_shape: Any) -> int:
        """Multiply-accumulates of one sample, for `keras_sda.analysis.profile`."""
        positions = output_shape[1:3]
        if self.data_format == "channels_first":
            positions = output_shape[2:4]
        height, width = self.kernel_size
        channels = self.kernel.shape[-2]
        return height * width * channels * self.filters * positions[0] * positions[1]

    def follow_channels(self, call: Any) -> Any:
        """Reads channels and makes new ones; groups have to keep equal numbers."""
        return call.follow_as(keras.layers.Conv2D)

    def scaled_weights(self, scale: np.ndarray, offset: np.ndarray) -> list[np.ndarray]:
        """Kernel and bias that give y * scale + offset for every output channel y."""
        kernel, bias = ops.convert_to_numpy(self.kernel).astype("float64"), 0.0
        if self.use_bias:
            bias = ops.convert_to_numpy(self.bias).astype("float64")
        return [kernel * scale, bias * scale + offset]

    def portable(self) -> keras.layers.Layer:
        """The layer with one dense convolution per group, which runs everywhere."""
        return type(self).from_config({**self.get_config(), "implementation": "split"})

    def get_config(self):
        return {**super().get_config(), "implementation": self.implementation}


@functools.lru_cache(maxsize=32)
def _native_is_right(backend, dtype, data_format):
    """Whether the native grouped operation may stand in for the split form here."""
    if backend == "torch":
        return True
    if backend == "jax":
        import jax

        # The gradient of XLA on CPU is a plain loop; on accelerators it is fast.
        return jax.default_backend() != "cpu"
    if backend == "tensorflow":
        # A thread of its own is outside of graphs, tapes and strategies.
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            return executor.submit(_trial, dtype, data_format).result()
    return False


def _trial(dtype, data_format):
    """Runs native against split, forward and backward, inside a graph with a bias."""
    import tensorflow as tf

    generator = np.random.default_rng(0)
    shape = (2, 16, 9, 9) if data_format == "channels_first" else (2, 9, 9, 16)
    inputs = tf.constant(generator.normal(size=shape), dtype)
    kernel = tf.constant(generator.normal(size=(3, 3, 4, 32)), dtype)
    bias = tf.constant(generator.normal(size=(32,)), dtype)
    order = "NCHW" if data_format == "channels_first" else "NHWC"

    @tf.function(jit_compile=False)
    def run(implementation, inputs, kernel, bias):
        layer = GroupedConv2D(
            32,
            3,
            strides=2,
            groups=4,
            data_format=data_format,
            implementation=implementation,
            dtype=dtype,
        )
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = layer.convolution_op(inputs, kernel)
            outputs = tf.nn.relu(tf.nn.bias_add(outputs, bias, data_format=order))
            loss = tf.reduce_sum(tf.square(tf.cast(outputs, "float32")))
        return [outputs, *tape.gradient(loss, [inputs, kernel])]

    try:
        native = run("native", inputs, kernel, bias)
        split = run("split", inputs, kernel, bias)
    except (tf.errors.OpError, ValueError):
        return False
    tolerance = 0.05 if dtype in ("bfloat16", "float16") else 1e-3
    for a, b in zip(native, split, strict=True):
        a, b = tf.cast(a, "float32"), tf.cast(b, "float32")
        if float(tf.reduce_max(tf.abs(a - b))) > tolerance * float(
            tf.reduce_max(tf.abs(b))
        ):
            return False
    return True
