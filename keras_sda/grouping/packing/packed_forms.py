"""The layers that may stand for one masked layer."""

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_sda.grouping.packing.filter_lists import (
    FilterList,
    filter_lists,
    merged_lists,
)
from keras_sda.layers import (
    GatherChannels,
    GroupedConv2D,
    PackedConv2D,
    PackedDense,
    SelfGroupedConv2D,
)
from keras_sda.layers.compression.take_channels import shuffled_cells

_SHARED = ("name", "trainable", "dtype", "activation", "use_bias")
_CONVOLUTION = ("kernel_size", "strides", "padding", "data_format", "dilation_rate")
_MERGED = (8, 4, 2)


@dataclasses.dataclass(frozen=True, eq=False)
class PackedForm:
    """One way to compute a masked layer exactly.

    Attributes:
        name: `"dense"` (a plain layer with zeros in its kernel), `"lists"` (a kernel
            per group with its list of channels), `"lists_N"` (groups joined to N) or
            `"grouped"` (a grouped convolution over equal groups).
        layer_class: Class of the layer.
        config: Its config.
        weights: Its weights.
        gather: Places of the channels that are put in front of it, or None.
        order: Places that put its outputs in order, or None.
        connections: Pairs of filter and channel that it computes.
        key: Forms of equal key take equal time.
    """

    name: str
    layer_class: type[keras.layers.Layer]
    config: dict[str, Any]
    weights: list[np.ndarray]
    connections: int
    gather: list[int] | None = None
    order: list[int] | None = None
    key: tuple = ()

    def steps(self, layer: keras.layers.Layer) -> list[keras.layers.Layer]:
        """The layers of the form, in the order in which they are called.

        Args:
            layer: The layer of `config`.
        """
        first = self.config.get("data_format") == "channels_first"

        def move(indices, name):
            if indices is None:
                return []
            # In the dtype of the layer, or a cast would change what its readers get.
            return [
                GatherChannels(
                    indices,
                    axis=1 if first else -1,
                    name=f"{layer.name}_{name}",
                    dtype=layer.dtype_policy,
                )
            ]

        return [
            *move(self.gather, "input_order"),
            layer,
            *move(self.order, "output_order"),
        ]

    def apply(self, x: Any, layer: keras.layers.Layer | None = None) -> Any:
        """Calls the form on a tensor.

        Args:
            x: Its input.
            layer: The layer of `config`. Defaults to a new one.
        """
        for step in self.steps(layer or self.layer_class.from_config(self.config)):
            x = step(x)
        return x


def packed_forms(layer: keras.layers.Layer) -> list[PackedForm]:
    """Lists the forms of a masked layer, the dense one first.

    Args:
        layer: A `SelfGroupedConv2D` or `SelfGroupedDense`.

    Example:

    >>> import numpy as np
    >>> from keras_sda.grouping.packing.packed_forms import packed_forms
    >>> from keras_sda.layers import SelfGroupedDense
    >>> layer = SelfGroupedDense(2)
    >>> layer.build((None, 3))
    >>> layer.set_groups(np.array([[1, 0], [1, 0], [0, 1]]))
    >>> [form.name for form in packed_forms(layer)]
    ['dense', 'lists']
    """
    lists = _lists(layer)
    forms = [dense_form(layer)]
    num_active = sum(bool(own.channels) for own in lists)
    if not num_active:
        return forms  # It is a constant: nothing is faster than nothing to gather.
    grouped = _grouped_form(layer, lists)
    if grouped is not None:
        forms.append(grouped)
    forms.append(list_form(layer, lists))
    for count in _MERGED:
        if count < num_active:
            lists = merged_lists(lists, count)
            forms.append(list_form(layer, lists, f"lists_{count}"))
    return forms


def packed_form(layer: keras.layers.Layer, name: str) -> PackedForm:
    """One form of a masked layer; no other is made.

    Args:
        layer: A `SelfGroupedConv2D` or `SelfGroupedDense`.
        name: `"dense"`, `"lists"` or `"grouped"`; the last means lists where the groups
            are not of one size. A layer that reads nothing is dense.

    Example:

    >>> from keras_sda.grouping.packing.packed_forms import packed_form
    >>> from keras_sda.layers import SelfGroupedDense
    >>> layer = SelfGroupedDense(2)
    >>> layer.build((None, 3))
    >>> packed_form(layer, "lists").name
    'lists'
    """
    lists = _lists(layer) if name != "dense" else []
    if not any(own.channels for own in lists):
        return dense_form(layer)
    grouped = _grouped_form(layer, lists) if name == "grouped" else None
    return grouped or list_form(layer, lists)


def _lists(layer):
    return filter_lists(keras.ops.convert_to_numpy(layer.mask))


def dense_form(layer: keras.layers.Layer) -> PackedForm:
    """The plain layer, with zeros where the mask cuts."""
    convolution = isinstance(layer, SelfGroupedConv2D)
    kind = keras.layers.Conv2D if convolution else keras.layers.Dense
    weights = [layer.masked_kernel(), *_bias(layer)]
    return PackedForm(
        "dense",
        kind,
        layer.get_config(),
        weights,
        int(np.prod(layer.mask.shape)),
        key=("dense", *layer.mask.shape),
    )


def list_form(
    layer: keras.layers.Layer, lists: list[FilterList], name: str = "lists"
) -> PackedForm:
    """A kernel per list of filters."""
    kernel = layer.masked_kernel()
    filters = np.concatenate([own.filters for own in lists]).astype(int)
    order = np.argsort(filters).tolist()
    config = {
        **_shared(layer),
        "channels": [list(own.channels) for own in lists],
        "sizes": [len(own.filters) for own in lists],
        "order": None if order == list(range(len(order))) else order,
    }
    kernels = [_part(kernel, own) for own in lists if own.channels]
    convolution = isinstance(layer, SelfGroupedConv2D)
    if convolution:
        config["kernel_size"] = layer.kernel_size
    shapes = [(len(x.channels), len(x.filters), _is_range(x.channels)) for x in lists]
    return PackedForm(
        name,
        PackedConv2D if convolution else PackedDense,
        config,
        [*kernels, *_bias(layer)],
        sum(own.cost for own in lists),
        key=("lists", *sorted(shapes), _move(config["order"])),
    )


def _grouped_form(layer, lists):
    """One grouped convolution, where all groups have one size."""
    shapes = {(len(own.channels), len(own.filters)) for own in lists}
    if (
        not isinstance(layer, SelfGroupedConv2D)
        or len(shapes) != 1
        or len(lists) == 1
        or not lists[0].channels
    ):
        return None
    kernel = layer.masked_kernel()
    gather = [place for own in lists for place in own.channels]
    filters = [place for own in lists for place in own.filters]
    order = np.argsort(filters).tolist()
    everything = list(range(layer.mask.shape[0]))
    parts = [_part(kernel, own) for own in lists]
    config = {**layer.get_config(), "groups": len(lists)}
    gather = None if gather == everything else gather
    order = None if order == list(range(len(order))) else order
    bias = [np.asarray(value)[filters] for value in _bias(layer)]
    return PackedForm(
        "grouped",
        GroupedConv2D,
        config,
        [np.concatenate(parts, -1), *bias],
        sum(own.cost for own in lists),
        gather,
        order,
        key=("grouped", len(lists), *shapes, _move(gather), _move(order)),
    )


def _part(kernel, own):
    """The weights between the channels and the filters of a list."""
    return kernel[..., list(own.channels), :][..., list(own.filters)]


def _shared(layer):
    config = layer.get_config()
    names = _SHARED
    if isinstance(layer, SelfGroupedConv2D):
        names += _CONVOLUTION
    return {name: config[name] for name in names}


def _bias(layer):
    return [keras.ops.convert_to_numpy(layer.bias)] if layer.use_bias else []


def _move(indices):
    """How channels are moved, as far as the time depends on it."""
    if indices is None:
        return "none"
    return "shuffle" if shuffled_cells(indices) else "gather"


def _is_range(channels):
    first = channels[0] if channels else 0
    return channels == tuple(range(first, first + len(channels)))
