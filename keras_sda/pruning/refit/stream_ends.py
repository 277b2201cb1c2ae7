"""Where what a kernel makes joins a residual stream that has lost blocks."""

import collections
import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from keras_sda.graph import GraphRunner, RunnerCall, sum_terms
from keras_sda.pruning.refit.find_kernels import ReadingKernel

_IDENTITIES = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
)


@dataclasses.dataclass(frozen=True, eq=False)
class StreamEnd:
    """A tensor that a kernel can set right, because it adds to it.

    Attributes:
        small: Number of the tensor in the runner of the pruned model.
        whole: Number of what it has to be in the runner of the whole one.
        scales: What a change of each channel of the kernel is multiplied by on the way.
    """

    small: int
    whole: int
    scales: np.ndarray


def stream_ends(
    kernels: Sequence[ReadingKernel], small: GraphRunner, whole: GraphRunner
) -> dict[str, StreamEnd]:
    """For kernels that can mend what blocks leave out of a stream: the place to look.

    A kernel that is added to a stream, with nothing but normalization in between, can
    add what the stream lacks. Where a block went, those before it aim at what stood
    behind it.

    Args:
        kernels: Those that are fitted one after the other, in this order.
        small: Runs the pruned model.
        whole: Runs the one with all blocks.

    Returns:
        A `StreamEnd` by name of the layer, for the last kernel before each of these
        tensors: whatever else they hold is settled by then.

    Source: He, Zhang and Sun (arXiv 1707.06168), section 3.3, aim the last layer of a
    residual branch at the sum.
    """
    finder = _Finder(small, whole)
    found: dict[int, tuple[str, StreamEnd]] = {}
    for kernel in kernels:
        end = finder.end(kernel)
        if end is not None:
            found[end.small] = (kernel.name, end)
    order = {kernel.small_calls[0].index: k for k, kernel in enumerate(kernels)}
    return {
        name: end
        for name, end in found.values()
        if kernels[finder.last_before(end.small, order)].name == name
    }


class _Finder:
    def __init__(self, small, whole):
        self._small, self._whole = small, whole
        self._made_by = {n: call for call in small.calls for n in call.outputs}
        count = collections.Counter(map(_key, whole.calls))
        self._calls = {_key(x): x for x in whole.calls if count[_key(x)] == 1}
        self._left = set(map(_key, small.calls))

    def end(self, kernel) -> StreamEnd | None:
        call = kernel.small_calls[0]
        if kernel.owner or not _is_linear(call.layer):
            return None
        scales = np.ones(int(kernel.made.sum()))
        is_first = getattr(call.layer, "data_format", "") == "channels_first"
        while True:
            number = call.outputs[0]
            step = self._next(number)
            if step is None or number in self._small.outputs:
                break
            scale = _scale(step, is_first)
            if scale is None and sum_terms(step.layer, step.node.args) is None:
                break
            call = step
            if scale is None:
                break  # The sum itself.
            scales = scales * scale
        is_sum = sum_terms(call.layer, call.node.args) is not None
        whole = self._counterpart(call)
        if whole is None or not (is_sum or whole not in self._outputs_of(call)):
            return None
        return StreamEnd(call.outputs[0], whole, scales)

    def _next(self, number) -> RunnerCall | None:
        readers = self._small.readers(number)
        return readers[0] if len(readers) == 1 else None

    def _outputs_of(self, call):
        key = _key(call)
        return self._calls[key].outputs if key in self._calls else ()

    def _counterpart(self, call) -> int | None:
        """What all readers of the tensor read in the whole model."""
        if not self._outputs_of(call):
            return None
        number = self._outputs_of(call)[0]
        while (later := self._behind(number)) is not None:
            number = later
        return number

    def _behind(self, number) -> int | None:
        """The sum behind a tensor whose other terms went, if only it stays."""
        sums = self._lost_sums(number)
        if sums is not None:
            return sums[0].outputs[0] if len(sums) == 1 else None
        readers = self._whole.readers(number)
        if len(readers) != 1 or number in self._whole.outputs:
            return None
        if not _is_relu(readers[0].layer):
            return None
        sums = self._lost_sums(readers[0].outputs[0])
        if not sums or len(sums) > 1:
            return None
        # The rectifier behind the sum does what the one before it did.
        behind = self._whole.readers(sums[0].outputs[0])
        alike = len(behind) == 1 and _is_relu(behind[0].layer)
        return sums[0].outputs[0] if alike else None

    def _lost_sums(self, number):
        """The sums that read a tensor and went; None if something else may read it."""
        readers = self._whole.readers(number)
        if not readers or number in self._whole.outputs:
            return None
        if any(_key(call) in self._left or _is_operation(call) for call in readers):
            return None
        return [x for x in readers if sum_terms(x.layer, x.node.args) is not None]

    def last_before(self, number, order) -> int:
        """The last of the kernels that a tensor of the small model depends on."""
        open_, seen, last = [number], set(), -1
        while open_:
            call = self._made_by.get(open_.pop())
            if call is None or call.index in seen:
                continue
            seen.add(call.index)
            last = max(last, order.get(call.index, -1))
            open_ += call.inputs
        return last


def _is_operation(call):
    return not isinstance(call.layer, keras.layers.Layer)


def _key(call):
    """Operations may have other names in copies of a model, if they are not shared."""
    return id(call.layer) if _is_operation(call) else call.name


def _is_linear(layer):
    return layer.activation in (None, keras.activations.linear)


def _is_relu(layer):
    if type(layer) is keras.layers.ReLU:
        return not (layer.max_value or layer.negative_slope or layer.threshold)
    return getattr(layer, "activation", None) is keras.activations.relu and isinstance(
        layer, keras.layers.Activation
    )


def _scale(call, is_first):
    """What a layer multiplies every channel by, where that is all but an offset."""
    layer = call.layer
    if type(layer) in _IDENTITIES or (
        type(layer) is keras.layers.Activation and _is_linear(layer)
    ):
        return 1.0
    if not isinstance(layer, keras.layers.BatchNormalization):
        return None
    if call.node.kwargs.get("training") or call.node.kwargs.get("mask") is not None:
        return None
    rank = len(call.node.output_tensors[0].shape)
    if layer.axis % rank != (1 if is_first else rank - 1):
        return None
    variance = keras.ops.convert_to_numpy(layer.moving_variance).astype("float64")
    scale = 1 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * keras.ops.convert_to_numpy(layer.gamma).astype("float64")
    return scale
