"""Which channels nobody reads once gates are closed."""

from collections.abc import Iterable, Mapping

import numpy as np

from keras_sda.graph import ChannelTrace
from keras_sda.search.surgery.keeps_zeros import keeps_zeros
from keras_sda.search.surgery.surgery_layers import (
    AlignedAdd,
    ChannelCut,
    ChannelOffset,
)


class ZeroFlow:
    """Follows channels of zeros from the gates that make them to their readers.

    Use it to find out what closed gates allow to remove: a channel may go when every
    layer that reads it gets zeros, or when nobody wants what is made of it.

    Args:
        trace: The channels of a model, with `AlignedAdd` for its sums.

    Attributes:
        readers: After `read`, for every class the first step that reads it while it
            is not zero, or -1.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelTrace
    >>> from keras_sda.search.surgery.zero_flow import ZeroFlow
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(2, name="a")(x)
    >>> trace = ChannelTrace(keras.Model(x, keras.layers.Dense(2, name="b")(y)))
    >>> is_read = ZeroFlow(trace).read({0: np.array([True, False])})
    >>> is_read[trace.steps[0].outputs[0]].tolist()
    [False, True]
    """

    def __init__(self, trace: ChannelTrace):
        self.trace = trace
        self._kinds = [_kind(step) for step in trace.steps]
        self._consumed = [
            [_consumed(step, classes) for classes in step.inputs]
            for step in trace.steps
        ]
        count = len(trace.units.pinned)
        self._all, self._any = np.ones(count, bool), np.zeros(count, bool)
        self.readers = np.full(count, -1)

    def read(
        self,
        closed: Mapping[int, np.ndarray],
        steps: Iterable[int] | None = None,
    ) -> np.ndarray:
        """Marks the classes that are read somewhere while they are not zero.

        Args:
            closed: For steps whose outputs are gated, which positions are closed.
            steps: Follow only these, in order; sums beside them count as read.
                Defaults to `None`, all.
        """
        zeros: dict = {}
        is_read = self.trace.units.pinned.copy()
        self.readers[:] = -1
        # No gate stands inside of a layer.
        inner = np.fromiter(self.trace.inner, int)
        is_read[inner] = True
        self.readers[inner] = np.fromiter(self.trace.inner.values(), int)
        joints = []
        numbers = range(len(self._kinds)) if steps is None else steps
        for number in numbers:
            step, kind = self.trace.steps[number], self._kinds[number]
            known = [zeros.get(source) for source in step.sources]
            self._note_reads(number, known, is_read, steps is not None)
            if kind in ("align", "cut"):
                joints.append((step, known))
            for position, classes in enumerate(step.outputs):
                flags = self._flow(kind, step, known, classes)
                if number in closed:
                    flags = closed[number] | (False if flags is None else flags)
                if flags is not None and flags.any():
                    zeros[number, position] = flags
        if steps is None:
            self._read_through_joints(joints, is_read)
        return is_read

    def _note_reads(self, number, known, is_read, is_part):
        step, kind = self.trace.steps[number], self._kinds[number]
        if kind in ("align", "cut") and not is_part:
            return  # read as far as what they make is
        for classes, zero, consumed in zip(
            step.inputs, known, self._consumed[number], strict=True
        ):
            if consumed is None:
                continue
            classes = classes[consumed] if zero is None else classes[consumed & ~zero]
            is_read[classes] = True
            fresh = classes[self.readers[classes] < 0]
            self.readers[fresh] = number

    def _flow(self, kind, step, known, classes):
        if kind == "" or all(flags is None for flags in known) and kind != "cut":
            return None
        if kind == "align":
            flags = np.ones(len(classes), bool)
            for zero in known:
                flags &= False if zero is None else zero
            return flags
        if kind == "cut":
            hidden = ~np.array(step.node.layer.mask)
            return hidden if known[0] is None else hidden | known[0]
        if kind == "offset":
            return known[0] & (np.array(step.node.layer.offsets) == 0)
        if kind == "all":
            table, change = self._all, np.logical_and
        else:
            table, change = self._any, np.logical_or
        default = kind == "all"
        for own, zero in zip(step.inputs, known, strict=True):
            change.at(table, own, False if zero is None else zero)
        flags = table[classes]
        for own in step.inputs:
            table[own] = default
        return flags

    def _read_through_joints(self, joints, is_read):
        before = -1
        while before != is_read.sum():
            before = is_read.sum()
            for step, known in reversed(joints):
                made = is_read[step.outputs[0]]
                if isinstance(step.node.layer, ChannelCut):
                    made = made & np.array(step.node.layer.mask)
                for classes, zero in zip(step.inputs, known, strict=True):
                    wanted = made if zero is None else made & ~zero
                    is_read[classes[wanted]] = True


def _kind(step):
    layer = step.node.layer
    if type(layer) is AlignedAdd:
        made = not np.isin(step.outputs[0], np.concatenate(step.inputs)).any()
        return "align" if made else "all"
    if type(layer) is ChannelCut:
        return "cut"
    if type(layer) is ChannelOffset:
        return "offset"
    return keeps_zeros(step.node)


def _consumed(step, classes):
    """Which channels of an input the step reads, or None."""
    if step.record is None or any(axis.role == "reads" for axis in step.record.axes):
        return np.ones(len(classes), bool)
    handed_on = np.concatenate([np.zeros(0, int), *step.outputs])
    consumed = ~np.isin(classes, handed_on)
    return consumed if consumed.any() else None
