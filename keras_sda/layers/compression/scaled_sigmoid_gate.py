"""Channel gates: a scaled sigmoid that hardens into a step."""

from typing import Any

import keras
from keras import ops

from keras_sda.utils import InvalidInputError
from keras_sda.utils.check_arguments import check_arguments

_MODES = ("soft", "binary", "bypass")


@keras.saving.register_keras_serializable(package="keras_sda")
class ScaledSigmoidGate(keras.layers.Layer):
    """Multiplies every channel by a gate sigmoid(beta * s) with one number `s` each.

    Put one between a batch normalisation and its activation. While `beta` grows, the
    soft gates turn into a step function; channels whose gate closes can be removed.
    `keras_sda.search` places the gates, trains them and removes the channels.

    The mode is a variable, so changing it does not trace a training step anew, and it
    is saved, resumed and mirrored like a weight:

    * `"soft"`: the input times sigmoid(beta * s), for learning the gates;
    * `"binary"`: the input times a mask of zeros and ones, for what comes after;
    * `"bypass"`: the input, for training the weights before.

    Args:
        mode: Mode at the start. Defaults to `"bypass"`.
        beta: Scale of the sigmoid at the start. Defaults to `1`.
        axis: Channel axis. Defaults to that of the Keras image data format.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape:
        Any, with a channel axis of known size.

    Output shape:
        The same.

    Raises:
        InvalidInputError: The mode is unknown, `beta` is not positive, or the number of
            channels is not known.

    Example:

    >>> import numpy as np
    >>> from keras_sda.layers import ScaledSigmoidGate
    >>> gate = ScaledSigmoidGate(mode="soft")
    >>> float(gate(np.ones((1, 2, 2, 4)))[0, 0, 0, 0])  # s starts at 0
    0.5
    >>> gate.set_mode("bypass")
    >>> float(gate(np.ones((1, 2, 2, 4)))[0, 0, 0, 0])
    1.0

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022), the channel gate.
    """

    keeps_zeros = True

    def __init__(
        self, mode: str = "bypass", beta: float = 1.0, axis: int | None = None, **kwargs
    ):
        super().__init__(**kwargs)
        check_arguments("number", beta=beta)
        self._check_mode(mode)
        self._initial_mode = mode
        self._initial_beta = float(beta)
        if axis is None:
            last = keras.config.image_data_format() == "channels_last"
            axis = -1 if last else 1
        self.axis = axis

    def build(self, input_shape):
        rank = len(input_shape)
        channels = input_shape[self.axis] if -rank < self.axis < rank else None
        if channels is None:
            raise InvalidInputError(
                "The number of channels must be known. Received: input shape "
                f"{tuple(input_shape)} (layer {self.name!r}, axis {self.axis})."
            )
        self.channels = channels
        # Small and sensitive: float32 whatever the policy of the layer, in `call` too.
        self.s = self.add_weight(
            name="s",
            shape=(channels,),
            initializer="zeros",
            dtype="float32",
            autocast=False,
        )
        self.mask = self.add_weight(
            name="mask",
            shape=(channels,),
            initializer="ones",
            dtype="float32",
            autocast=False,
            trainable=False,
        )
        self.beta = self.add_weight(
            name="beta",
            shape=(),
            initializer=keras.initializers.Constant(self._initial_beta),
            dtype="float32",
            autocast=False,
            trainable=False,
        )
        self.mode_index = self.add_weight(
            name="mode",
            shape=(),
            initializer=keras.initializers.Constant(_MODES.index(self._initial_mode)),
            dtype="int32",
            trainable=False,
        )

    def _check_mode(self, mode):
        if mode not in _MODES:
            raise InvalidInputError(
                f"`mode` must be one of {_MODES}. Received: mode={mode!r}."
            )

    @property
    def mode(self) -> str:
        """The present mode."""
        return _MODES[int(ops.convert_to_numpy(self.mode_index))]

    def set_mode(self, mode: str) -> None:
        """Sets the mode, also of a compiled model."""
        self._check_mode(mode)
        self.mode_index.assign(_MODES.index(mode))

    def gates(self) -> Any:
        """The soft gates sigmoid(beta * s), float32 of shape (channels,)."""
        # The sigmoid of the backends is stable at the thousands that beta * s reaches.
        return ops.sigmoid(self.beta * self.s)

    def factors(self) -> Any:
        """What the channels are multiplied by in the present mode."""
        # JAX takes no variables for the branches of `where`.
        mask = ops.convert_to_tensor(self.mask)
        factors = ops.where(ops.equal(self.mode_index, 0), self.gates() * mask, mask)
        return ops.where(ops.equal(self.mode_index, 2), ops.ones_like(mask), factors)

    def call(self, inputs, training=None):
        if keras.backend.backend() != "tensorflow" or not training:
            # One compiled program: the product melts into its neighbours, whereas a
            # branch would cut them apart. At inference there is no gradient to save,
            # and exporters (ONNX, LiteRT) know arithmetic alone.
            return self._multiply(inputs, self.factors())
        # One kernel after the other: a branch saves the pass over the input that a
        # product with ones costs, and the sum for the gradient of `s` with a mask.
        branches = [
            lambda x: self._multiply(x, self.gates() * self.mask),
            lambda x: self._multiply(x, self.mask),
            lambda x: x,
        ]
        return ops.switch(self.mode_index, branches, inputs)

    def _multiply(self, inputs, factors):
        shape = [1] * len(inputs.shape)
        shape[self.axis] = self.channels
        factors = ops.cast(factors, self.compute_dtype)
        return inputs * ops.reshape(factors, shape)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_macs(self, input_shape: Any, output_shape: Any) -> int:
        """Gates are not counted: they are gone once their channels are removed."""
        return 0

    def follow_channels(self, call: Any) -> Any:
        """Passes channels on; gate and mask only weigh them, and go with them."""
        axis = self.axis % len(call.input_shapes[0])
        units = call.units(0, axis)
        call.index(self.s, 0, units, "carries")
        call.index(self.mask, 0, units, "carries")
        return call.channels(axis, units)

    def get_config(self):
        return {
            **super().get_config(),
            "mode": self.mode if self.built else self._initial_mode,
            "beta": self._initial_beta,
            "axis": self.axis,
        }
