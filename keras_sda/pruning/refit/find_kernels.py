"""Which kernels of a pruned model can be fitted anew, and why others cannot."""

import dataclasses
import types
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_sda.graph import ChannelGraph, GraphRunner, RunnerCall
from keras_sda.graph.rules.channel_call import READS
from keras_sda.graph.rules.channel_rules import own_rule
from keras_sda.layers import GroupedConv2D, SelfGroupedConv2D, SelfGroupedDense
from keras_sda.layers.convolution.linear_part import LinearPart

_KINDS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Dense,
    GroupedConv2D,
)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_MASKED = SelfGroupedConv2D, SelfGroupedDense
_INSIDE = "it is called inside another layer"
# Their normal equations are solved as a whole: (taps * channels)^2 numbers.
MOST_FEATURES = 4608


def _first(inputs: Sequence[Any]) -> Any:
    return inputs[0]


@dataclasses.dataclass(eq=False)
class ReadingKernel:
    """A kernel, in the whole model and in the pruned one.

    Attributes:
        name: Name of the layer; for a kernel inside of it, with its own behind it.
        whole, small: The layers, or what stands for a kernel inside, see `LinearPart`.
        whole_calls, small_calls: The calls of the layers.
        kept: For every channel that the whole kernel reads, whether it is still there;
            for grouped convolutions those of one group.
        made: For every channel that it makes, likewise.
        groups: Number of groups.
        shift: What can take up a constant: the weight, and the sign. None where
            nothing can.
        mask: Of shape (channels, filters), which channels a filter of the small
            kernel reads; None for all.
        owner: Name of the layer; empty where it is `name`.
        reads: What the whole and the small kernel are multiplied by, as functions of
            the inputs of a call. Defaults to the first one.
    """

    name: str
    whole: Any
    small: Any
    whole_calls: list[RunnerCall]
    small_calls: list[RunnerCall]
    kept: np.ndarray
    made: np.ndarray
    groups: int = 1
    shift: tuple[keras.Variable, int] | None = None
    mask: np.ndarray | None = None
    owner: str = ""
    reads: tuple[Callable[[Sequence[Any]], Any], Callable[[Sequence[Any]], Any]] = (
        _first,
        _first,
    )

    def whole_input(self, value: Callable[[int], Any], call: int = 0) -> Any:
        """What the whole kernel is multiplied by.

        Args:
            value: Gives the tensors of the model by their numbers.
            call: Which call. Defaults to the first.
        """
        return self.reads[0]([value(n) for n in self.whole_calls[call].inputs])

    def small_input(self, value: Callable[[int], Any]) -> Any:
        """What the small kernel is multiplied by in its first call.

        Args:
            value: Gives the tensors of the model by their numbers.
        """
        return self.reads[1]([value(n) for n in self.small_calls[0].inputs])

    @property
    def loses(self) -> bool:
        """Whether channels that it reads are gone."""
        if self.mask is None:
            return not self.kept.all()
        return bool(self.values()[..., ~self.mask].any())

    def values(self) -> np.ndarray:
        """The whole kernel, with zeros where a mask of its own cuts."""
        if isinstance(self.whole, _MASKED):
            return self.whole.masked_kernel()
        return keras.ops.convert_to_numpy(self.whole.kernel)

    def parts(self) -> list[tuple[Any, Any]]:
        """What is fitted together, as indices of rows and of columns.

        Rows are the taps by the channels of the small kernel, and one behind them if
        there is a `shift`; columns its filters. Without a mask that is everything at
        once, else for every mask what it lets through and the filters that have it.
        """
        if self.mask is None:
            return [(slice(None), slice(None))]
        taps = int(np.prod(self.small.kernel.shape[:-2]))
        patterns, owners = np.unique(self.mask.T, axis=0, return_inverse=True)
        constant = [True] if self.shift is not None else []
        return [
            (
                np.flatnonzero([*np.tile(pattern, taps), *constant]),
                np.flatnonzero(owners.reshape(-1) == number),
            )
            for number, pattern in enumerate(patterns)
        ]


def find_kernels(
    graph: ChannelGraph, removed: np.ndarray, whole: GraphRunner, small: GraphRunner
) -> tuple[list[ReadingKernel], dict[str, str]]:
    """Finds the kernels that can be fitted, in the order in which they run.

    Args:
        graph: The channels of the whole model.
        removed: Boolean array over the classes of `graph.units`.
        whole: Runs the whole model.
        small: Runs the one without these channels.

    Returns:
        The kernels; and by the name of a layer, or of a kernel inside, that reads
        removed channels and cannot be fitted, why not.
    """
    calls, small_calls = _by_layer(whole), calls_by_name(small)
    found, reasons = [], {}
    for name, record in graph.layers.items():
        reads = [axis.units for axis in record.axes if axis.role == READS]
        if not reads and own_rule(record.layer, "linear_parts") is None:
            continue  # Its kernel, if it has one, is not all that it multiplies by.
        mine = calls.get(id(record.layer), [])
        if mine and name not in small_calls:
            continue  # it is gone with its branch
        parts, reason = _parts(record.layer, mine, small_calls.get(name, []))
        for part, small_part in parts:
            kernel = _kernel(graph, removed, record, part, small_part)
            kernel.whole_calls, kernel.small_calls = mine, small_calls[name]
            why_not = _why_no_fit(part.layer)
            if not why_not and kernel.small.kernel.shape != _cut_shape(kernel):
                why_not = "its kernel changes in another way than by losing rows"
            if not why_not:
                is_all = not part.name
                kernel.shift = _find_shift(
                    kernel.small, kernel.small_calls, small, is_all
                )
                found.append(kernel)
            elif kernel.loses:
                reasons[kernel.name] = why_not
        if reason and any(removed[graph.units.classes[units]].any() for units in reads):
            reasons[name] = reason
    return sorted(found, key=lambda kernel: kernel.whole_calls[0].index), reasons


def find_masked_kernels(
    whole: GraphRunner, small: GraphRunner
) -> tuple[list[ReadingKernel], dict[str, str]]:
    """`find_kernels` for a model whose filters read some channels by a mask.

    Args:
        whole: Runs the model before.
        small: Runs one of the same layers, some of which have masks.

    Returns:
        See `find_kernels`; the layers without masks are among the kernels.
    """
    others = calls_by_name(small)
    found, reasons = [], {}
    for name, calls in calls_by_name(whole).items():
        layer = calls[0].layer
        # Operations have other names in every copy of a model.
        if getattr(layer, "kernel", None) is None or name not in others:
            continue
        small_layer = others[name][0].layer
        reason = _why_not(layer, calls, others[name], (*_KINDS, *_MASKED))
        if not reason and len(calls) > 1:
            reason = "it is called several times"
        if reason:
            if isinstance(small_layer, _MASKED):
                reasons[name] = reason
            continue
        mask = None
        if isinstance(small_layer, _MASKED):
            mask = keras.ops.convert_to_numpy(small_layer.mask) > 0
        channels, filters = layer.kernel.shape[-2:]
        found.append(
            ReadingKernel(
                name,
                layer,
                small_layer,
                calls,
                others[name],
                kept=np.ones(channels, bool),
                made=np.ones(filters, bool),
                groups=getattr(layer, "groups", 1),
                shift=_find_shift(small_layer, others[name], small),
                mask=mask,
            )
        )
    return found, reasons


def _by_layer(runner):
    calls: dict[int, list] = {}
    for call in runner.calls:
        calls.setdefault(id(call.layer), []).append(call)
    return calls


def calls_by_name(runner: GraphRunner) -> dict[str, list[RunnerCall]]:
    """The calls of every layer, under its first name, as in a `ChannelGraph`.

    Args:
        runner: Runs the model.
    """
    calls: dict[str, list] = {}
    for mine in _by_layer(runner).values():
        calls.setdefault(mine[0].name, []).extend(mine)
    return calls


def _parts(layer, calls, small_calls):
    """The kernels of a layer in both models, or why they are not looked at."""
    if not calls or len(calls) != len(small_calls):
        return [], _INSIDE
    one, other = _linear_parts(layer), _linear_parts(small_calls[0].layer)
    if not one or len(one) != len(other):
        return [], f"nobody knows how to fit a {type(layer).__name__}"
    return list(zip(one, other, strict=True)), ""


def _linear_parts(layer) -> list[LinearPart]:
    if type(layer) in _KINDS:
        return [LinearPart("", layer, _first)]
    if type(layer) in _SEPARABLE:
        return [_pointwise(layer)]
    own = own_rule(layer, "linear_parts")
    return own() if own is not None and layer.built else []


def _pointwise(layer):
    """The second half of a separable convolution, which reads that of the first."""

    def read(inputs):
        dtype = layer.compute_dtype
        return keras.ops.depthwise_conv(
            keras.ops.cast(inputs[0], dtype),
            keras.ops.cast(layer.depthwise_kernel, dtype),
            strides=layer.strides,
            padding=layer.padding,
            data_format=layer.data_format,
            dilation_rate=layer.dilation_rate,
        )

    ones = (1,) * layer.rank
    pointwise = types.SimpleNamespace(
        kernel=layer.pointwise_kernel, kernel_constraint=layer.pointwise_constraint,
        kernel_size=ones, strides=ones, dilation_rate=ones, padding="valid",
        data_format=layer.data_format, activation=layer.activation,
        use_bias=layer.use_bias, bias=layer.bias, bias_constraint=layer.bias_constraint,
    )  # fmt: skip
    return LinearPart("", pointwise, read)


def _why_not(layer, calls, small_calls, kinds):
    if not calls or len(calls) != len(small_calls):
        return _INSIDE
    for one in (layer, small_calls[0].layer):
        if type(one) not in kinds:
            return f"nobody knows how to fit a {type(one).__name__}"
    return _why_no_fit(layer)


def _why_no_fit(layer):
    if getattr(layer, "quantization_mode", None) or getattr(
        layer, "lora_enabled", False
    ):
        return "its kernel is quantized or has LoRA"
    if getattr(layer, "kernel_constraint", None) is not None:
        return "its kernel has a constraint, which a fit does not keep"
    features = np.prod(layer.kernel.shape[:-1])
    if features > MOST_FEATURES:
        return f"its kernel has {features:,} inputs, more than {MOST_FEATURES:,}"
    return ""


def _kernel(graph, removed, record, part, small_part):
    variable = part.layer.kernel
    gone = removed[graph.units.classes]

    def stays(axis):
        units = record.axis_units(variable, axis)
        count = variable.shape[axis]
        return np.ones(count, bool) if units is None else ~gone[units]

    return ReadingKernel(
        f"{record.name}/{part.name}" if part.name else record.name,
        part.layer,
        small_part.layer,
        [],
        [],
        kept=stays(-2),
        made=stays(-1),
        groups=getattr(part.layer, "groups", 1),
        owner=record.name if part.name else "",
        reads=(part.read, small_part.read),
    )


def _cut_shape(kernel):
    taps = kernel.whole.kernel.shape[:-2]
    return (*taps, int(kernel.kept.sum()), int(kernel.made.sum()))


def _find_shift(layer, calls, runner, is_all=True):
    """A bias, or the moving mean of the normalization that alone reads the layer."""
    if layer.use_bias:
        free = getattr(layer, "bias_constraint", None) is None
        return (layer.bias, 1) if free else None
    if len(calls) > 1 or not is_all or not _is_linear(layer):
        return None
    readers = runner.readers(calls[0].outputs[0])
    if len(readers) != 1 or calls[0].outputs[0] in runner.outputs:
        return None
    normal = readers[0].layer
    if not isinstance(normal, keras.layers.BatchNormalization):
        return None
    if sum(call.layer is normal for call in runner.calls) > 1:
        return None
    rank = len(calls[0].node.output_tensors[0].shape)
    is_first = getattr(layer, "data_format", None) == "channels_first"
    if normal.axis % rank != (1 if is_first else rank - 1):
        return None
    return normal.moving_mean, -1


def _is_linear(layer):
    return layer.activation in (None, keras.activations.linear)
