"""Selective depth attention: a stage weighs the outputs of all its blocks."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sda.layers.attention.inner_dense import inner_dense
from keras_sda.layers.convolution.batch_normalization import batch_normalization
from keras_sda.layers.convolution.linear_part import LinearPart
from keras_sda.utils import InvalidInputError
from keras_sda.utils.check_arguments import check_arguments

# Scale of the squeezed units where a layer starts at its last block.
_START_SCALE = 10.0


@keras.saving.register_keras_serializable(package="keras_sda")
class SelectiveDepthAttention(keras.layers.Layer):
    """Mixes the outputs of the blocks of a stage, per image and per channel.

    Put one at the end of every stage of a residual network and give it the sums of
    all blocks, before their last activation. Blocks of different depth have different
    receptive fields, so the network chooses the scale that suits the image.

    The steps: sum the maps and average over the positions, squeeze to
    `max(int(channels / reduction), min_width)` units, normalise, ReLU, one projection
    to a logit per block and channel, softmax over the blocks, weighted sum of the
    maps, activation. Feature maps are never stacked, and pooling, softmax and
    everything between run in float32 under every dtype policy.

    Args:
        reduction: Number, ratio of channels to squeezed units. Defaults to `16`.
        min_width: Integer, least number of squeezed units. Defaults to `64`.
        activation: Activation of the mixed map. Defaults to `"relu"`.
        synchronized: Whether the normalisation of the squeezed units takes its
            statistics over all replicas. Defaults to `False`.
        momentum: Momentum of that normalisation. Defaults to `0.9`.
        epsilon: Epsilon of that normalisation. Defaults to `1e-5`.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to the Keras
            setting.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape:
        A list of K tensors of one shape `(batch, height, width, channels)`. K may be
        one: the layer is then the activation alone, with the weights of the method.

    Output shape:
        `(batch, height, width, channels)`.

    Raises:
        InvalidInputError: An argument is out of range, or the inputs are no list of
            equal shapes.

    Note:
        In training the normalisation sees one vector per image, so train with more
        than one image per device (or `synchronized=True`).

    Example:

    >>> import numpy as np
    >>> from keras_sda.layers import SelectiveDepthAttention
    >>> blocks = [np.ones((2, 8, 8, 16), "float32") * k for k in range(3)]
    >>> layer = SelectiveDepthAttention()
    >>> layer(blocks).shape
    TensorShape([2, 8, 8, 16])
    >>> layer.compute_attention(blocks).shape  # sums to one over axis 1
    TensorShape([2, 3, 16])

    Source: arXiv 2209.10327 (IEEE TAI 2024), the selective depth attention module.
    """

    def __init__(
        self,
        reduction: float = 16,
        min_width: int = 64,
        activation: str | Callable | None = "relu",
        synchronized: bool = False,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        data_format: str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_arguments("number", reduction=reduction, epsilon=epsilon)
        check_arguments("count", min_width=min_width)
        check_arguments("data_format", data_format=data_format)
        self.reduction = reduction
        self.min_width = min_width
        self.activation = keras.activations.get(activation)
        self.synchronized = bool(synchronized)
        self.momentum = momentum
        self.epsilon = epsilon
        self.data_format = keras.config.image_data_format()
        if data_format is not None:
            self.data_format = data_format
        self.channel_axis = -1 if self.data_format == "channels_last" else 1

    def build(self, input_shape):
        shapes = self._check_shapes(input_shape)
        channels = shapes[0][self.channel_axis]
        self.num_blocks = len(shapes)
        self.channels = channels
        self.width = max(int(channels / self.reduction), self.min_width)
        # Small and sensitive: these stay in float32 whatever the policy of the layer.
        self.squeeze = inner_dense(
            self.width,
            channels,
            "squeeze",
            use_bias=False,
            kernel_initializer=keras.initializers.RandomNormal(
                stddev=(2 / self.width) ** 0.5
            ),
        )
        self.squeeze_bn = batch_normalization(
            synchronized=self.synchronized,
            momentum=self.momentum,
            epsilon=self.epsilon,
            dtype="float32",
            name="squeeze_bn",
        )
        self.squeeze_bn.build((None, self.width))
        bound = self.width**-0.5
        self.expand = inner_dense(
            self.num_blocks * channels,
            self.width,
            "expand",
            # He by fan-out of one block's projection, as each is a layer of its own.
            kernel_initializer=keras.initializers.RandomNormal(
                stddev=(2 / channels) ** 0.5
            ),
            bias_initializer=keras.initializers.RandomUniform(-bound, bound),
        )

    def _check_shapes(self, input_shape):
        shapes = input_shape
        if not isinstance(shapes, (list, tuple)) or not all(
            isinstance(shape, (list, tuple)) for shape in shapes
        ):
            raise InvalidInputError(
                "`inputs` must be a list of the outputs of the blocks of a stage. "
                f"Received one tensor of shape {shapes} (layer {self.name!r}). "
                "Pass a list, even for a single block."
            )
        if any(len(shape) != 4 for shape in shapes) or any(
            tuple(shape[1:]) != tuple(shapes[0][1:]) for shape in shapes
        ):
            raise InvalidInputError(
                "`inputs` must be tensors of one shape (batch, height, width, "
                f"channels). Received shapes {[tuple(s) for s in shapes]} (layer "
                f"{self.name!r}). Collect the blocks of one stage only."
            )
        if shapes[0][self.channel_axis] is None:
            raise InvalidInputError(
                "The number of channels must be known. Received shapes "
                f"{[tuple(s) for s in shapes]} (layer {self.name!r})."
            )
        return shapes

    def _pool(self, x):
        """Mean over the positions in float32, shape (batch, channels)."""
        x = ops.cast(x, "float32")
        axes = (1, 2) if self.channel_axis == -1 else (2, 3)
        size = [x.shape[axis] for axis in axes]
        if keras.backend.backend() == "tensorflow" and None not in size:
            # The pooling kernel is about three times as fast as the reduction on CPU.
            x = ops.average_pool(
                x, tuple(size), strides=1, data_format=self.data_format
            )
            return ops.squeeze(x, axis=axes)
        return ops.mean(x, axis=axes)

    def compute_attention(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the weight of every block, per image and channel.

        Args:
            inputs: List of K tensors `(batch, height, width, channels)`.
            training: Whether batch statistics are used. Defaults to `False`.

        Returns:
            float32 tensor `(batch, K, channels)` that sums to one over axis 1.
        """
        if not self.built:
            self.build([tuple(x.shape) for x in inputs])
        hidden = self._hidden(inputs, training)
        logits = ops.reshape(self.expand(hidden), (-1, self.num_blocks, self.channels))
        if self.num_blocks == 1:
            # The softmax over one block; Keras warns about it, training needs the zero
            # gradients.
            return 0.0 * logits + 1.0
        return ops.softmax(logits, axis=1)

    def _pooled(self, inputs):
        """The sum of the means of all blocks."""
        pooled = self._pool(inputs[0])
        for x in inputs[1:]:
            pooled = pooled + self._pool(x)
        return pooled

    def _hidden(self, inputs, training=False):
        hidden = self.squeeze(self._pooled(inputs))
        return ops.relu(self.squeeze_bn(hidden, training=training))

    def linear_parts(self) -> list[LinearPart]:
        """Its two projections, each with what it reads."""
        return [
            LinearPart("squeeze", self.squeeze, self._pooled),
            LinearPart("expand", self.expand, self._hidden),
        ]

    def start_at_last_block(self, other_weight: float = 1e-5) -> None:
        """Makes the layer pass on the map of the last block, nearly alone.

        Use it where the layer joins a trained network, which goes on from its last
        blocks. The weights are then the same for all images. Their gradients are
        small in proportion to `other_weight`: optimizers that scale gradients (Adam,
        AdamW, ...) open the other blocks within some hundred steps, plain SGD hardly
        does.

        Args:
            other_weight: Weight of all other blocks together, between 0 and 1. The
                smaller it is, the closer is the output to the last map and the later
                do the weights start to move. Defaults to `1e-5`.
        """
        if not 0 < other_weight < 1:
            raise InvalidInputError(
                "`other_weight` must lie between 0 and 1, such as 1e-5. "
                f"Received: other_weight={other_weight}."
            )
        bias = np.zeros((self.num_blocks, self.channels), "float32")
        odds = (1 - other_weight) / other_weight
        bias[-1] = np.log(odds * max(self.num_blocks - 1, 1))
        # Without this, unnormalised features would outweigh the biases.
        self.expand.kernel.assign(np.zeros(self.expand.kernel.shape, "float32"))
        self.expand.bias.assign(bias.reshape(-1))
        # Changes no output while the kernel is zero, but makes its gradients larger.
        self.squeeze_bn.gamma.assign(np.full(self.width, _START_SCALE, "float32"))

    def call(self, inputs, training=None):
        attention = self.compute_attention(inputs, training=training)
        attention = ops.cast(attention, self.compute_dtype)
        positions = (1, 2) if self.channel_axis == -1 else (2, 3)
        outputs = None
        for k, x in enumerate(inputs):
            x = x * ops.expand_dims(attention[:, k], positions)
            outputs = x if outputs is None else outputs + x
        return self.activation(outputs)

    def compute_output_shape(self, input_shape):
        return tuple(self._check_shapes(input_shape)[0])

    def compute_macs(self, input_shape: Any, output_shape: Any) -> int:
        """Multiply-accumulates of one sample, for `keras_sda.analysis.profile`."""
        return self.channels * self.width * (self.num_blocks + 1)

    @property
    def keeps_zeros(self) -> bool:
        """Whether a channel that is zero in all blocks is zero behind the layer."""
        return not np.any(ops.convert_to_numpy(self.activation(ops.zeros((1, 1)))))

    def follow_channels(self, call: Any) -> Any:
        """Couples the blocks that it weighs: one weight per channel and block."""
        axis = call.channel_axis
        units = call.units(0, axis)
        for position in range(1, len(call.inputs)):
            call.couple(units, call.units(position, axis))
        call.index(self.squeeze.kernel, 0, units, "reads")
        normalization = self.squeeze_bn
        hidden = call.new_units(self.width)
        call.index(self.squeeze.kernel, 1, hidden, "writes")
        call.index(normalization.gamma, 0, hidden, "writes")
        call.index(normalization.beta, 0, hidden, "writes")
        call.index(normalization.moving_mean, 0, hidden, "carries")
        call.index(normalization.moving_variance, 0, hidden, "carries")
        call.index(self.expand.kernel, 0, hidden, "reads")
        call.pin(hidden, "the squeezed units of depth attention are few")
        # Logits of removed channels weigh nothing that is left.
        logits = np.tile(units, self.num_blocks)
        call.index(self.expand.kernel, 1, logits, "carries")
        call.index(self.expand.bias, 0, logits, "carries")
        # The width must not follow the smaller number of channels.
        call.configure("min_width", lambda kept: self.width)
        return call.channels(axis, units)

    def get_config(self):
        return {
            **super().get_config(),
            "reduction": self.reduction,
            "min_width": self.min_width,
            "activation": keras.activations.serialize(self.activation),
            "synchronized": self.synchronized,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "data_format": self.data_format,
        }
