"""The terms of sums, and which of them stand beside a shortcut."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras

from keras_sda.graph.model.as_functional import distributed_model, graph_of
from keras_sda.graph.model.keras_internals import mask_of
from keras_sda.graph.model.model_graph import GraphNode, ModelGraph


@dataclasses.dataclass(frozen=True, eq=False)
class ResidualBranch:
    """One term of a sum, with what else would go if the sum lost it.

    Attributes:
        model: The model whose graph holds the sum, or one nested in it.
        path: Names of the nested models on the way to it, with `"/"` behind each.
        sum: The node of the sum.
        position: Which of its terms this is.
        end: The node that makes the term.
        layers: Layers of that graph which would go: what nobody else reads, and the
            sum itself where one other term is left.
        why_not: Why the term cannot go; empty where it can.
    """

    model: Any
    path: str
    sum: GraphNode
    position: int
    end: GraphNode
    layers: tuple[keras.layers.Layer, ...]
    why_not: str = ""


def residual_branches(model: keras.Model) -> list[ResidualBranch]:
    """Lists the terms of all sums of a model, and says which can be left out.

    Use it to find whole blocks that can go. A term can where the sum goes on to hold
    what the term is made of: another term of the same shape leads back to a tensor that
    it depends on, over other sums and over layers without weights, such as activations,
    pooling and dropout. Beside a projection it cannot.

    Args:
        model: A functional or built sequential model. Nested ones are entered; what
            is no graph (layers with a `call` of their own) is not.

    Returns:
        A `ResidualBranch` per term, in the order of execution.

    Raises:
        InvalidInputError: The model has no readable graph.

    Example:

    >>> import keras
    >>> from keras_sda.graph import residual_branches
    >>> x = keras.Input((4,), name="x")
    >>> y = keras.layers.Dense(4, name="dense")(x)
    >>> y = keras.layers.Add(name="sum")([x, y])
    >>> one, other = residual_branches(keras.Model(x, y))
    >>> one.why_not
    'no layer with weights would go with it'
    >>> other.end.name, [layer.name for layer in other.layers]  # an output stays
    ('dense', ['dense'])
    """
    return list(_branches(model, "", set()))


def sum_terms(layer: Any, args: tuple) -> list[keras.KerasTensor] | None:
    """The tensors of a sum of tensors of one shape, or None.

    Use it wherever sums are looked for: this is the one answer to what is one.

    Args:
        layer: A layer or operation.
        args: The arguments of its call.

    Example:

    >>> import keras
    >>> from keras_sda.graph import sum_terms
    >>> x, y = keras.Input((4,)), keras.Input((4,))
    >>> len(sum_terms(keras.layers.Add(), ([x, y],)))
    2
    """
    if isinstance(layer, keras.layers.Layer):
        if type(layer) is not keras.layers.Add:
            return None
        terms = list(args[0])
    else:
        if type(layer).__name__ != "Add" or len(args) != 2:
            return None
        terms = list(args)
    if not all(isinstance(term, keras.KerasTensor) for term in terms):
        return None
    shapes = {tuple(term.shape) for term in terms}
    return terms if len(shapes) == 1 and len(terms) > 1 else None


def hands_on(node: GraphNode, term: keras.KerasTensor, is_output: bool) -> bool:
    """Whether a sum of which one term is left can be that term itself.

    Args:
        node: The sum.
        term: What is left.
        is_output: Whether the sum is an output of its model, whose name is that of its
            layer.
    """
    return not is_output and term.dtype == node.output_tensors[0].dtype


def _branches(model, path, seen) -> Iterator[ResidualBranch]:
    graph = ModelGraph(model)
    for node in graph.nodes:
        layer = node.layer
        nested = layer if graph_of(layer) is not None else distributed_model(layer)
        if nested is not None and id(nested) not in seen:
            seen.add(id(nested))  # All of its calls lose a term together.
            through = f"{layer.name}/" if nested is not layer else ""
            yield from _branches(nested, f"{path}{through}{nested.name}/", seen)
        terms = None if node.is_input else sum_terms(layer, node.args)
        for position in range(len(terms or ())):
            index, _ = node.inputs[position]
            layers = _layers_that_go(graph, node, position)
            why_not = _why_not(graph, node, position, layers)
            yield ResidualBranch(
                model, path, node, position, graph.nodes[index], layers, why_not
            )


def _why_not(graph, node, position, layers):
    sources = [source for source, _ in node.inputs]
    own = sources[position]
    others = sources[:position] + sources[position + 1 :]
    if not any(layer.weights for layer in layers):
        return "no layer with weights would go with it"
    ends = set()
    for other in others:
        starts, stops = _ways_back(graph, other)
        if any(graph.depends_on(own, start) for start in starts):
            return _mask_note(node, position)
        ends |= stops
    holds = [
        f"{graph.nodes[index].name!r} ({type(graph.nodes[index].layer).__name__})"
        for index in sorted(ends)[:4]
    ]
    return f"no shortcut stands beside it, but {' and '.join(holds)}"


def _ways_back(graph, index):
    """What a term holds without weights in between, and where these ways end."""
    found, stops, ways = set(), set(), [index]
    while ways:
        index = ways.pop()
        if index in found:
            continue
        found.add(index)
        node = graph.nodes[index]
        passes = not node.is_input and (
            sum_terms(node.layer, node.args) is not None
            or len(node.inputs) == 1
            and not getattr(node.layer, "weights", ())
            and graph_of(node.layer) is None
        )
        if passes:
            ways += [source for source, _ in node.inputs]
        else:
            stops.add(index)
    return found, stops


def _mask_note(node, position):
    """A sum ends a mask where one of its terms has none; the others would not."""
    masks = [mask_of(tensor) for tensor in node.input_tensors]
    left = masks[:position] + masks[position + 1 :]
    ends = mask_of(node.output_tensors[0]) is None
    if ends and all(mask is not None for mask in left):
        return "without it the mask of the other terms would reach what reads the sum"
    return ""


def _layers_that_go(graph, node, position):
    is_output = {index for index, _ in graph.outputs}
    alive, ways = set(), list(is_output)
    without = [source for source, _ in node.inputs]
    del without[position]
    while ways:
        index = ways.pop()
        if index in alive:
            continue
        alive.add(index)
        sources = [source for source, _ in graph.nodes[index].inputs]
        ways += without if index == node.index else sources
    left = [x for k, x in enumerate(node.input_tensors) if k != position]
    if len(left) == 1 and hands_on(node, left[0], node.index in is_output):
        alive.discard(node.index)
    stays = {id(graph.nodes[index].layer) for index in alive}
    gone = {
        id(other.layer): other.layer
        for other in graph.nodes
        if id(other.layer) not in stays and isinstance(other.layer, keras.layers.Layer)
    }
    return tuple(x for x in gone.values() if not isinstance(x, keras.layers.InputLayer))
