"""The nodes of a functional model and the tensors between them."""

import collections
import dataclasses
import functools
from typing import Any

import keras

from keras_sda.graph.model.as_functional import as_functional
from keras_sda.graph.model.keras_internals import input_structure, nodes_in_order


@dataclasses.dataclass(frozen=True, eq=False)
class GraphNode:
    """One call of a layer (or operation) inside one functional model.

    Attributes:
        index: Position in the order of execution.
        layer: The layer or `keras.Operation`.
        call_index: How many calls of the same layer the model makes before this one.
        is_input: Whether the node stands for an input of the model.
        args: Positional arguments of the call, symbolic tensors among them.
        kwargs: Keyword arguments of the call.
        inputs: For every symbolic tensor among the arguments, in order, the index of
            the node that makes it and which of its outputs it is.
        input_tensors: Those symbolic tensors.
        output_tensors: What the call returns, flattened.
    """

    index: int
    layer: Any
    call_index: int
    is_input: bool
    args: tuple
    kwargs: dict
    inputs: tuple[tuple[int, int], ...]
    input_tensors: tuple
    output_tensors: tuple

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.layer.name


class ModelGraph:
    """Reads a functional model into nodes, in the order in which they run.

    Use it to find out what feeds what. Nested models are one node. Calls of the
    layers outside of this model do not count, and neither does what came before the
    inputs of the model.

    Args:
        model: A functional or built sequential model.

    Attributes:
        model: The functional model that was read.
        nodes: List of `GraphNode`.
        outputs: For every output of the model, in order, the index of its node and
            which of the outputs of the node it is.

    Raises:
        InvalidInputError: The model has no readable graph.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ModelGraph
    >>> x = keras.Input((4,), name="x")
    >>> y = keras.layers.Dense(4, name="dense")(x)
    >>> graph = ModelGraph(keras.Model(x, keras.layers.Add(name="sum")([x, y])))
    >>> [(node.name, node.inputs) for node in graph.nodes]
    [('x', ()), ('dense', ((0, 0),)), ('sum', ((0, 0), (1, 0)))]
    >>> graph.readers[0]
    [1, 2]
    """

    def __init__(self, model: keras.Model | keras.Function):
        self.model = as_functional(model)
        self.nodes: list[GraphNode] = []
        sources = {}
        num_calls = collections.Counter()
        for node in nodes_in_order(self.model):
            inputs = [] if node.is_input else node.input_tensors
            if any(id(tensor) not in sources for tensor in inputs):
                continue  # Keras skips these nodes as well.
            index = len(self.nodes)
            self.nodes.append(
                GraphNode(
                    index=index,
                    layer=node.operation,
                    call_index=num_calls[id(node.operation)],
                    is_input=bool(node.is_input),
                    args=() if node.is_input else node.arguments.args,
                    kwargs={} if node.is_input else node.arguments.kwargs,
                    inputs=tuple(sources[id(tensor)] for tensor in inputs),
                    input_tensors=tuple(inputs),
                    output_tensors=tuple(node.outputs),
                )
            )
            num_calls[id(node.operation)] += 1
            for position, tensor in enumerate(node.outputs):
                sources[id(tensor)] = (index, position)
        self.outputs = [sources[id(tensor)] for tensor in self.model.outputs]

    @functools.cached_property
    def readers(self) -> list[list[int]]:
        """For every node, the nodes that read it, once per reading."""
        readers = [[] for _ in self.nodes]
        for node in self.nodes:
            for source, _ in node.inputs:
                readers[source].append(node.index)
        return readers

    @functools.cached_property
    def num_calls(self) -> collections.Counter:
        """How often the model calls the layer of a name."""
        return collections.Counter(node.name for node in self.nodes)

    @functools.cached_property
    def _ancestors(self) -> list[int]:
        """For every node a bit mask of the nodes that it depends on, and itself."""
        masks = []
        for node in self.nodes:
            mask = 1 << node.index
            for source, _ in node.inputs:
                mask |= masks[source]
            masks.append(mask)
        return masks

    def depends_on(self, index: int, other: int) -> bool:
        """Whether the node `index` is the node `other` or is made from its output."""
        return bool(self._ancestors[index] >> other & 1)


def takes_inputs(nested: keras.Function, node: GraphNode) -> bool:
    """Whether the tensors of a call are the inputs of a nested model, in order.

    Args:
        nested: The graph that the call runs.
        node: The call.
    """
    given, struct = node.args[:1], input_structure(nested)
    if given and isinstance(given[0], dict):
        if not (isinstance(struct, dict) and set(struct) == set(given[0])):
            return False
    ranks = [len(tensor.shape) for tensor in nested.inputs]
    return ranks == [len(tensor.shape) for tensor in node.input_tensors]
