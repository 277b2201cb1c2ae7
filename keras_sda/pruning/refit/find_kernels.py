"""Which kernels of a pruned model can be fitted anew, and why others cannot."""

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_sda.graph import ChannelGraph, GraphRunner, RunnerCall
from keras_sda.graph.rules.channel_call import READS
from keras_sda.layers import GroupedConv2D, SelfGroupedConv2D, SelfGroupedDense

_KINDS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Dense,
    GroupedConv2D,
)
_MASKED = SelfGroupedConv2D, SelfGroupedDense
# Their normal equations are solved as a whole: (taps * channels)^2 numbers.
MOST_FEATURES = 4608


@dataclasses.dataclass(eq=False)
class ReadingKernel:
    """A kernel, in the whole model and in the pruned one.

    Attributes:
        name: Name of the layer.
        whole, small: The layers.
        whole_calls, small_calls: Their calls.
        kept: For every channel that the whole kernel reads, whether it is still there;
            for grouped convolutions those of one group.
        made: For every channel that it makes, likewise.
        groups: Number of groups.
        shift: What can take up a constant: the weight, and the sign. None where
            nothing can.
        mask: Of shape (channels, filters), which channels a filter of the small
            kernel reads; None for all.
    """

    name: str
    whole: keras.Layer
    small: keras.Layer
    whole_calls: list[RunnerCall]
    small_calls: list[RunnerCall]
    kept: np.ndarray
    made: np.ndarray
    groups: int = 1
    shift: tuple[keras.Variable, int] | None = None
    mask: np.ndarray | None = None

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
        The kernels; and by the name of a layer that reads removed channels and cannot
        be fitted, why not.
    """
    calls, small_calls = _by_layer(whole), calls_by_name(small)
    found, reasons = [], {}
    for name, record in graph.layers.items():
        reads = [axis for axis in record.axes if axis.role == READS]
        loses = any(removed[graph.units.classes[axis.units]].any() for axis in reads)
        if not reads:
            continue
        mine = calls.get(id(record.layer), [])
        if mine and name not in small_calls:
            continue  # it is gone with its branch
        reason = _why_not(record.layer, mine, small_calls.get(name, []))
        if not reason:
            kernel = _kernel(graph, removed, record, mine, small_calls[name], small)
            if kernel.small.kernel.shape == _cut_shape(kernel):
                found.append(kernel)
                continue
            reason = "its kernel changes in another way than by losing rows"
        if loses:
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
                shift=_find_shift(others[name], small),
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


def _why_not(layer, calls, small_calls, kinds=_KINDS):
    if not calls or len(calls) != len(small_calls):
        return "it is called inside another layer"
    for one in (layer, small_calls[0].layer):
        if type(one) not in kinds:
            return f"nobody knows how to fit a {type(one).__name__}"
    if getattr(layer, "quantization_mode", None) or getattr(
        layer, "lora_enabled", False
    ):
        return "its kernel is quantized or has LoRA"
    if layer.kernel_constraint is not None:
        return "its kernel has a constraint, which a fit does not keep"
    features = np.prod(layer.kernel.shape[:-1])
    if features > MOST_FEATURES:
        return f"its kernel has {features:,} inputs, more than {MOST_FEATURES:,}"
    return ""


def _kernel(graph, removed, record, calls, small_calls, small):
    layer = record.layer
    gone = removed[graph.units.classes]

    def stays(axis):
        units = record.axis_units(layer.kernel, axis)
        count = layer.kernel.shape[axis]
        return np.ones(count, bool) if units is None else ~gone[units]

    return ReadingKernel(
        record.name,
        layer,
        small_calls[0].layer,
        calls,
        small_calls,
        kept=stays(-2),
        made=stays(-1),
        groups=getattr(layer, "groups", 1),
        shift=_find_shift(small_calls, small),
    )


def _cut_shape(kernel):
    taps = kernel.whole.kernel.shape[:-2]
    return (*taps, int(kernel.kept.sum()), int(kernel.made.sum()))


def _find_shift(calls, runner):
    """A bias, or the moving mean of the normalization that alone reads the layer."""
    layer = calls[0].layer
    if layer.use_bias:
        return None if layer.bias_constraint is not None else (layer.bias, 1)
    if len(calls) > 1 or not _is_linear(layer):
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
