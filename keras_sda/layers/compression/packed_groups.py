"""What the two packed layers of self-grouping have in common."""

import operator
import types
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from keras_sda.layers.compression.take_channels import take_channels
from keras_sda.layers.convolution.add_bias import add_bias
from keras_sda.layers.convolution.linear_part import LinearPart
from keras_sda.utils import InvalidInputError


class PackedGroups:
    """Groups of filters that read lists of channels, and the order of what they make.

    Mixed into `PackedConv2D` and `PackedDense`.

    Args:
        channels: For every group the input channels that it reads, all different; an
            empty list for filters that read nothing and give their bias.
        sizes: For every group its number of filters.
        order: For every output channel the filter that it is, counted through the
            groups. Defaults to `None`, the filters group by group.

    Raises:
        InvalidInputError: The lists do not fit together.

    Example:

    >>> from keras_sda.layers.compression.packed_groups import PackedGroups
    >>> groups = PackedGroups()
    >>> groups.set_lists([[0, 1], [1, 2]], [3, 1], None)
    >>> groups.num_filters
    4
    """

    def set_lists(
        self,
        channels: Sequence[Sequence[int]],
        sizes: Sequence[int],
        order: Sequence[int] | None,
    ) -> None:
        """Checks and keeps the lists."""
        try:
            self.sizes = list(map(operator.index, sizes))
            self.channels = [[operator.index(p) for p in own] for own in channels]
            self.order = None if order is None else list(map(operator.index, order))
        except TypeError as error:
            raise InvalidInputError(
                f"{type(self).__name__}: `channels` must be a list of lists of places, "
                "`sizes` a list of integers and `order` a list of places or None. "
                f"Received: channels={channels!r:.80}, sizes={sizes!r:.80}, "
                f"order={order!r:.80}."
            ) from error
        self.num_filters = sum(self.sizes)
        name = type(self).__name__
        if len(self.sizes) != len(self.channels) or min(self.sizes, default=0) < 1:
            raise InvalidInputError(
                f"{name}: `sizes` must give a positive number of filters for each of "
                f"the {len(self.channels)} lists in `channels`. Received: "
                f"sizes={self.sizes}."
            )
        for own in self.channels:
            if len(set(own)) != len(own) or min(own, default=0) < 0:
                raise InvalidInputError(
                    f"{name}: `channels` must hold lists of different places from 0 "
                    f"up. Received: {own}."
                )
        if not any(self.channels):
            raise InvalidInputError(
                f"{name}: `channels` is empty in all groups. A layer that reads "
                "nothing is a constant: leave it out."
            )
        if self.order is not None and sorted(self.order) != list(
            range(self.num_filters)
        ):
            raise InvalidInputError(
                f"{name}: `order` must hold each of 0..{self.num_filters - 1} once. "
                f"Received: {self.order}."
            )

    # Of the layer of Keras.
    name: str
    use_bias: bool
    kernel_initializer: keras.Initializer
    add_weight: Callable[..., keras.Variable]

    def check_channels(self, count: int | None) -> None:
        """Refuses inputs with too few channels."""
        highest = max(max(own, default=0) for own in self.channels)
        if count is None or highest >= count:
            raise InvalidInputError(
                f"`channels` of layer {self.name!r} goes up to {highest}, its input "
                f"has {count} channels."
            )

    def add_kernels(self, window: tuple[int, ...]) -> None:
        """One kernel for every group that reads something, then the bias."""
        self.kernels = [
            self.add_weight(
                name=f"kernel_{number}",
                shape=(*window, len(own), size),
                initializer=self.kernel_initializer,
            )
            for number, (own, size) in enumerate(
                zip(self.channels, self.sizes, strict=True)
            )
            if own
        ]
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.num_filters,), initializer="zeros"
            )

    @property
    def filter_places(self) -> list[np.ndarray]:
        """For every kernel the output channels of its filters."""
        places = np.arange(self.num_filters)
        if self.order is not None:
            places = np.argsort(self.order)
        parts = np.split(places, np.cumsum(self.sizes)[:-1])
        return [part for part, own in zip(parts, self.channels, strict=True) if own]

    def linear_parts(self) -> list[LinearPart]:
        """The kernel of every group, with the channels that it reads."""
        window = ("kernel_size", "strides", "padding", "dilation_rate", "data_format")
        alike = {key: getattr(self, key) for key in window if hasattr(self, key)}
        parts = []
        for kernel, own in zip(self.kernels, filter(None, self.channels), strict=True):

            def read(x, own=own):
                axis = 1 if alike.get("data_format") == "channels_first" else -1
                return take_channels(x[0], own, axis % len(x[0].shape))

            layer = types.SimpleNamespace(
                kernel=kernel, use_bias=False, bias=None, activation=None, **alike
            )
            parts.append(LinearPart(kernel.name, layer, read))
        return parts

    def scaled_weights(self, scale: np.ndarray, offset: np.ndarray) -> list[np.ndarray]:
        """Kernels and bias that give y * scale + offset for every output channel y."""
        pairs = zip(self.kernels, self.filter_places, strict=True)
        bias = 0.0 if self.bias is None else _double(self.bias)
        kernels = [_double(kernel) * scale[places] for kernel, places in pairs]
        return [*kernels, bias * scale + offset]

    def reader(self, inputs, axis):
        """Function that returns the channels of a group.

        Where several groups gather, all channels are put in front once: rows are
        gathered far faster than single numbers.
        """
        rank = len(inputs.shape)
        scattered = [own for own in self.channels if own and not _is_range(own)]
        rows = None
        if len(scattered) > 1:
            order = [axis, *[k for k in range(rank) if k != axis]]
            rows = ops.transpose(inputs, order)
            back = np.argsort(order).tolist()

        def read(own):
            if own == list(range(inputs.shape[axis])):
                return inputs
            if rows is None or _is_range(own):
                return take_channels(inputs, own, axis)
            return ops.transpose(ops.take(rows, np.array(own, "int32"), axis=0), back)

        return read

    def grouped(self, inputs, axis, function):
        """Applies `function` of inputs and kernel to every group, and joins them."""
        kernels, biases = iter(self.kernels), self._biases()
        read, made = self.reader(inputs, axis), []
        for own, bias in zip(self.channels, biases, strict=True):
            x = function(read(own), next(kernels)) if own else None
            # Added here, it can become a part of the convolution.
            made.append(x if x is None or bias is None else add_bias(x, bias, axis))
        like = next(x for x in made if x is not None)
        for number, (x, size) in enumerate(zip(made, self.sizes, strict=True)):
            if x is None:
                # Zeros in the shape of the others, whatever the batch is.
                one = ops.zeros_like(ops.take(like, np.zeros(size, "int32"), axis=axis))
                bias = biases[number]
                made[number] = one if bias is None else add_bias(one, bias, axis)
        outputs = made[0] if len(made) == 1 else ops.concatenate(made, axis=axis)
        if self.order is not None and self.order != list(range(self.num_filters)):
            outputs = take_channels(outputs, self.order, axis)
        if self.activation is not None:
            outputs = self.activation(outputs)
        return outputs

    def _biases(self):
        """The bias of every group, to be added to its outputs; None without one."""
        if self.bias is None:
            return [None] * len(self.sizes)
        bias = self.bias
        if self.order is not None:
            bias = ops.take(bias, np.argsort(self.order).astype("int32"), axis=0)
        ends = np.cumsum(self.sizes).tolist()
        return [
            bias[end - size : end] for end, size in zip(ends, self.sizes, strict=True)
        ]

    def connections(self) -> int:
        """Pairs of a filter and a channel that it reads."""
        return sum(
            len(own) * size for own, size in zip(self.channels, self.sizes, strict=True)
        )

    def lists(self) -> dict:
        """The arguments of `set_lists`, for a config."""
        return {"channels": self.channels, "sizes": self.sizes, "order": self.order}


def _is_range(own):
    return own == list(range(own[0], own[0] + len(own)))


def _double(variable):
    return ops.convert_to_numpy(variable).astype("float64")
