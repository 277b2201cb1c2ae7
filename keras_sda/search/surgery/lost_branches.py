"""Which parts of a model go because gates close a branch altogether."""

import math
from collections.abc import Mapping

import numpy as np

from keras_sda.graph import ChannelTrace, ModelGraph
from keras_sda.search.surgery.surgery_layers import AlignedAdd, FixedGate


class LostBranches:
    """Follows closed gates to the sums that lose a term, and back to its start.

    Use it to know what `derive` takes out without building its model. A layer behind a
    closed gate is constant if all that it reads is. A sum loses its constant terms, and
    with them goes everything that nobody else reads.

    Args:
        trace: The channels of a model, with `AlignedAdd` for its sums and `FixedGate`
            for its gates.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelTrace
    >>> from keras_sda.layers import ScaledSigmoidGate
    >>> from keras_sda.search.surgery.lost_branches import LostBranches
    >>> from keras_sda.search.surgery.prepared_model import prepared_model
    >>> x = keras.layers.Dense(3, name="first")(keras.Input((2,)))
    >>> y = keras.layers.Dense(5, name="inner")(x)
    >>> y = ScaledSigmoidGate(name="gate")(keras.layers.Dense(3)(y))
    >>> y = keras.layers.Add(name="sum")([x, y])
    >>> trace = ChannelTrace(prepared_model(keras.Model(x, y)))
    >>> wanted, _ = LostBranches(trace).at({"gate": 0.0})
    >>> wanted[trace.steps[0].outputs[0]]
    array([0., 0., 0., 0., 0.])
    """

    def __init__(self, trace: ChannelTrace):
        ends = {index for index, _ in ModelGraph(trace.model).outputs}
        self._steps = []  # what it is, its name, numbers of the steps that it reads
        self._ends = []
        kinds = {FixedGate: "gate", AlignedAdd: "sum"}
        for number, step in enumerate(trace.steps):
            kind = kinds.get(type(step.node.layer), "")
            sources = [None if s is None else s[0] for s in step.sources]
            self._steps.append((kind, step.name, sources))
            if step.node.index in ends:
                self._ends.append(number)
        self._num_classes = len(trace.units.pinned)
        self._places = _places(trace)

    def at(
        self, is_open: Mapping[str, float]
    ) -> tuple[np.ndarray, dict[str, list[float]]]:
        """What is left of the model.

        Args:
            is_open: For every gate, by name, whether a channel is open: 0, 1, or the
                probability of it.

        Returns:
            For every class of channels whether something that has it stays; by sum, for
            every term whether all others are constant. Both as numbers from 0 to 1;
            sums without constant terms may be left out.
        """
        wanted_classes = np.ones(self._num_classes)
        if all(value == 1 for value in is_open.values()):
            return wanted_classes, {}
        constant = self._forwards(is_open)
        wanted = self._backwards(constant)
        for numbers, classes in self._places:
            wanted_classes[classes] = max(wanted[number] for number in numbers)
        alone = {}
        for kind, name, sources in self._steps:
            if kind == "sum":
                terms = [0.0 if s is None else constant[s] for s in sources]
                alone[name] = [
                    (1 - term) * math.prod(terms[:place] + terms[place + 1 :])
                    for place, term in enumerate(terms)
                ]
        return wanted_classes, alone

    def _forwards(self, is_open):
        """Which steps return constants."""
        constant = []
        for kind, name, sources in self._steps:
            is_known = sources and None not in sources
            fixed = math.prod(constant[s] for s in sources) if is_known else 0.0
            if kind == "gate":
                fixed = 1 - is_open.get(name, 1.0) * (1 - fixed)
            constant.append(fixed)
        return constant

    def _backwards(self, constant):
        """Which steps something that stays reads."""
        unwanted = [1.0] * len(self._steps)
        for number in self._ends:
            unwanted[number] = 0.0
        for number in reversed(range(len(self._steps))):
            kind, _, sources = self._steps[number]
            wanted = 1 - unwanted[number]
            for source in sources:
                if source is None:
                    continue
                reads = wanted
                if kind == "sum":
                    # A sum of constants alone goes as a whole, or not at all.
                    reads *= 1 - constant[source] * (1 - constant[number])
                unwanted[source] *= 1 - reads
        return [1 - value for value in unwanted]


def _places(trace):
    """Classes of channels, together where the same steps return them."""
    where = {}
    for number, step in enumerate(trace.steps):
        for one in np.unique(np.concatenate([np.zeros(0, int), *step.outputs])):
            where.setdefault(int(one), []).append(number)
    together = {}
    for one, numbers in where.items():
        together.setdefault(tuple(numbers), []).append(one)
    return [(numbers, np.array(classes)) for numbers, classes in together.items()]
