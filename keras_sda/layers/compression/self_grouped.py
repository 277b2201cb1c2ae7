"""What the two masked layers of self-grouping have in common."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sda.utils import InvalidInputError


class SelfGrouped:
    """Mask and labels of a layer whose filters read some of the input channels.

    Mixed into `SelfGroupedConv2D` and `SelfGroupedDense`, in front of the layer of
    Keras.

    Attributes:
        mask: Non-trainable weight of shape (channels, filters), 1.0 where the filter
            reads the channel.
        labels: Non-trainable integer weight of shape (filters,), the group of each
            filter.

    Example:

    >>> from keras_sda.layers import SelfGroupedDense
    >>> from keras_sda.layers.compression.self_grouped import SelfGrouped
    >>> isinstance(SelfGroupedDense(4), SelfGrouped)
    True
    """

    # Of the layer of Keras.
    name: str
    built: bool
    kernel: keras.Variable

    def build(self, input_shape):
        """Makes the mask and the labels beside what the stock layer makes."""
        if getattr(self, "quantization_mode", None):
            raise InvalidInputError(
                f"Layer {self.name!r} ({type(self).__name__}) does not run quantized. "
                f"Received: dtype={self.dtype_policy.name!r}. Use a floating-point "
                "policy; pack the model before quantizing it."
            )
        super().build(input_shape)
        channels, filters = self.kernel.shape[-2:]
        self.mask = self.add_weight(
            name="mask",
            shape=(channels, filters),
            initializer="ones",
            trainable=False,
        )
        self.labels = self.add_weight(
            name="labels",
            shape=(filters,),
            initializer="zeros",
            dtype="int32",
            trainable=False,
        )

    @property
    def bookkeeping_weights(self) -> list[keras.Variable]:
        """Weights that are no parameters: `keras_sda.analysis.profile` skips them."""
        return [self.mask, self.labels] if self.built else []

    @property
    def is_grouped(self) -> bool:
        """Whether groups have been set: some connection is cut, or a label not 0."""
        mask, labels = map(ops.convert_to_numpy, (self.mask, self.labels))
        return bool((mask == 0).any() or (labels != 0).any())

    def masked_kernel(self) -> np.ndarray:
        """The kernel with zeros where the mask cuts, as an array."""
        kernel = ops.convert_to_numpy(self.kernel)
        return kernel * ops.convert_to_numpy(self.mask).astype(kernel.dtype)

    def set_groups(self, mask, labels=None) -> None:
        """Sets which filter reads which channel.

        Args:
            mask: Zeros and ones of shape (channels, filters).
            labels: Group of each filter, integers from 0 of shape (filters,).
                Defaults to `None`, the labels that it has.

        Raises:
            InvalidInputError: The layer is not built, a shape is wrong or a value is
                not allowed.
        """
        if not self.built:
            raise InvalidInputError(
                f"Layer {self.name!r} is not built, so its channels are unknown. Call "
                "it, or `build(input_shape)`, before `set_groups`."
            )
        mask = np.asarray(mask)
        if mask.shape != tuple(self.mask.shape):
            raise InvalidInputError(
                f"`mask` must have the shape (channels, filters) = "
                f"{tuple(self.mask.shape)} of layer {self.name!r}. Received: shape "
                f"{mask.shape}. Transpose a mask of (filters, channels)."
            )
        if not np.isin(mask, (0, 1)).all():
            raise InvalidInputError(
                f"`mask` of layer {self.name!r} must hold zeros and ones only."
            )
        if labels is not None:
            labels = np.asarray(labels)
            if labels.shape != tuple(self.labels.shape) or not np.issubdtype(
                labels.dtype, np.integer
            ):
                raise InvalidInputError(
                    f"`labels` must be {self.labels.shape[0]} integers, one for each "
                    f"filter of layer {self.name!r}. Received: shape {labels.shape}, "
                    f"dtype {labels.dtype}."
                )
            if labels.size and labels.min() < 0:
                raise InvalidInputError(
                    f"`labels` of layer {self.name!r} must not be negative. Received: "
                    f"{int(labels.min())}."
                )
            self.labels.assign(labels.astype("int32"))
        self.mask.assign(mask.astype("float32"))

    def follow_masked(self, call: Any, layer_class: type) -> Any:
        """Follows channels as a layer of Keras does; mask and labels go with them.

        Args:
            call: What a channel rule gets.
            layer_class: The layer of Keras with this kernel.
        """
        units = call.units(0, call.channel_axis)
        outputs = call.follow_as(layer_class)
        call.index(self.mask, 0, units, "carries")
        call.index(self.mask, 1, outputs.units, "carries")
        call.index(self.labels, 0, outputs.units, "carries")
        return outputs

    def enable_lora(self, *args, **kwargs):
        """Refuses: a low-rank addition to the kernel would not be masked."""
        raise InvalidInputError(
            f"Layer {self.name!r} ({type(self).__name__}) has no LoRA: what it adds to "
            "the kernel would not be masked. Train the kernel itself."
        )

    def save_own_variables(self, store):
        """Stores mask and labels beside kernel and bias."""
        # Keras would store the kernel and the bias only.
        for name, variable in self._stored():
            store[name] = variable

    def load_own_variables(self, store):
        """Reads what `save_own_variables` stored."""
        wanted = dict(self._stored())
        if set(store.keys()) != set(wanted):
            raise InvalidInputError(
                f"The file of weights holds {sorted(store.keys())} for layer "
                f"{self.name!r} ({type(self).__name__}), which needs {sorted(wanted)}. "
                "Load the weights into the model that they were saved from; make a "
                "masked model of a dense one with `grouping.self_group`."
            )
        for name, variable in wanted.items():
            variable.assign(store[name])

    def _stored(self):
        if not self.built:
            return []
        plain = [self.kernel] + ([self.bias] if self.use_bias else [])
        numbered = [(str(number), value) for number, value in enumerate(plain)]
        return [*numbered, ("mask", self.mask), ("labels", self.labels)]
