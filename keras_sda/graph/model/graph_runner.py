"""Run a functional model piece by piece, from values that were kept."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras

from keras_sda.graph.model.as_functional import graph_of
from keras_sda.graph.model.keras_internals import at_inference, standardized_inputs
from keras_sda.graph.model.model_graph import GraphNode, ModelGraph, takes_inputs


@dataclasses.dataclass(frozen=True, eq=False)
class RunnerCall:
    """One call of a layer; those inside nested models stand among the others.

    Attributes:
        index: Position in the order of execution.
        name: Name of the layer, with the names of nested models before it.
        node: The `GraphNode`.
        inputs: Numbers of the tensors that it reads, in the order of its arguments.
        outputs: Numbers of the tensors that it makes.
    """

    index: int
    name: str
    node: GraphNode
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def layer(self) -> Any:
        """The layer or `keras.Operation`."""
        return self.node.layer


class GraphRunner:
    """Computes any tensors of a functional model from any that are known.

    Use it to look at layers one after the other without running the whole model for
    each: keep the values of a cut, go on from there. Tensors are numbers; those of the
    inputs come first. Models run at inference, and nested ones are entered.

    Args:
        model: A functional or built sequential model.

    Attributes:
        calls: List of `RunnerCall` in the order of execution.
        inputs: Numbers of the inputs of the model.
        outputs: Numbers of its outputs.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.graph import GraphRunner
    >>> x = keras.Input((2,))
    >>> y = keras.layers.Dense(3, kernel_initializer="ones", name="first")(x)
    >>> runner = GraphRunner(keras.Model(x, keras.layers.Dense(1)(y)))
    >>> values = {runner.inputs[0]: np.ones((1, 2))}
    >>> read = runner.calls[1].inputs[0]
    >>> keras.ops.convert_to_numpy(runner.run(values, [read])[read]).tolist()
    [[2.0, 2.0, 2.0]]
    """

    def __init__(self, model: keras.Model):
        self.calls: list[RunnerCall] = []
        self._shapes: list[tuple] = []
        graph = ModelGraph(model)
        self._graph = graph.model
        self.inputs = [self._new(tensor) for tensor in graph.model.inputs]
        self.outputs = self._read(graph, self.inputs, "")
        self._maker = {n: call.index for call in self.calls for n in call.outputs}
        self._last_use: dict[int, int] = {}
        for call in self.calls:
            for number in call.inputs:
                self._last_use[number] = call.index

    def _new(self, tensor):
        self._shapes.append(tuple(tensor.shape))
        return len(self._shapes) - 1

    def _read(self, graph, inputs, prefix):
        numbers: dict[tuple[int, int], int] = {}
        places = {id(tensor): k for k, tensor in enumerate(graph.model.inputs)}
        for node in graph.nodes:
            read = tuple(numbers[source] for source in node.inputs)
            nested = graph_of(node.layer)
            if node.is_input:
                made = [inputs[places[id(tensor)]] for tensor in node.output_tensors]
            elif nested is not None and _enters(nested, node):
                name = f"{prefix}{node.name}/"
                made = self._read(ModelGraph(nested), read, name)
            else:
                made = [self._new(tensor) for tensor in node.output_tensors]
                self.calls.append(
                    RunnerCall(
                        len(self.calls), prefix + node.name, node, read, tuple(made)
                    )
                )
            for position, number in enumerate(made):
                numbers[node.index, position] = number
        return [numbers[source] for source in graph.outputs]

    def given(self, inputs: Any) -> dict[int, Any]:
        """The values of the inputs, for `run`.

        Args:
            inputs: What the model is called with.
        """
        values = standardized_inputs(self._graph, inputs)
        return dict(zip(self.inputs, values, strict=True))

    def readers(self, number: int) -> list[RunnerCall]:
        """The calls that read a tensor, once per reading."""
        return [call for call in self.calls for n in call.inputs if n == number]

    def frontier(self, position: int) -> list[int]:
        """What has to be kept of the calls before a position to go on from there.

        Args:
            position: Number of calls that are done.

        Returns:
            Numbers of tensors.
        """
        return [
            number
            for number, last in sorted(self._last_use.items())
            if self._maker.get(number, -1) < position <= last
        ]

    def size(self, numbers: Sequence[int]) -> int:
        """How many numbers the tensors hold for one sample.

        Args:
            numbers: Numbers of tensors; axes without a fixed size count once.
        """
        return sum(
            math.prod(size or 1 for size in self._shapes[number][1:])
            for number in numbers
        )

    def run(self, values: Mapping[int, Any], wanted: Collection[int]) -> dict[int, Any]:
        """The values of some tensors.

        Args:
            values: Those that are known, by their number; enough to make the others.
            wanted: Numbers of the tensors that are asked for.

        Returns:
            Tensors of the backend, or what was given, by number.
        """
        needed, open_ = set(), [n for n in wanted if n not in values]
        while open_:
            index = self._maker[open_.pop()]
            if index not in needed:
                needed.add(index)
                open_ += [n for n in self.calls[index].inputs if n not in values]
        found = dict(values)
        left: dict[int, int] = {}
        for index in needed:
            for number in self.calls[index].inputs:
                left[number] = max(left.get(number, 0), index)
        for index in sorted(needed):
            call = self.calls[index]
            made = _carry_out(call, found)
            found.update(zip(call.outputs, made, strict=True))
            for number in set(call.inputs):
                # Large maps go as soon as nobody needs them.
                if left[number] == index and number not in wanted:
                    found.pop(number, None)
        return {number: found[number] for number in wanted}


def _enters(nested, node):
    """Whether a nested model gets its inputs as they are, without a cast."""
    return takes_inputs(nested, node) and all(
        inner.dtype == outer.dtype
        for inner, outer in zip(nested.inputs, node.input_tensors, strict=True)
    )


def _carry_out(call, found):
    given = {
        id(tensor): found[number]
        for tensor, number in zip(call.node.input_tensors, call.inputs, strict=True)
    }

    def value(leaf):
        return given[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf

    args = keras.tree.map_structure(value, call.node.args)
    kwargs = keras.tree.map_structure(value, call.node.kwargs)
    kwargs = at_inference(call.layer, kwargs)
    return keras.tree.flatten(call.layer(*args, **kwargs))
