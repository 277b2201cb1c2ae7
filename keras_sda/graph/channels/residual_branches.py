"""The terms of sums and concatenations, and which stand beside a shortcut."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras

from keras_sda.graph.channels.joined_channels import JoinedChannels, joined_terms
from keras_sda.graph.model.as_functional import distributed_model, graph_of
from keras_sda.graph.model.keras_internals import mask_of
from keras_sda.graph.model.model_graph import GraphNode, ModelGraph


@dataclasses.dataclass(frozen=True, eq=False)
class ResidualBranch:
    """A term of a sum or of a concatenation, with what else would go without it.

    Attributes:
        model: The model whose graph holds the sum, or one nested in it.
        path: Names of the nested models on the way to it, with `"/"` behind each.
        places: The nodes that take the term, and as which of their terms: one sum, or
            all concatenations that read it.
        end: The node that makes the term.
        layers: Layers of that graph which would go: what nobody else reads, and sums
            and concatenations of which one other term is left.
        why_not: Why the term cannot go; empty where it can.
    """

    model: Any
    path: str
    places: tuple[tuple[GraphNode, int], ...]
    end: GraphNode
    layers: tuple[keras.layers.Layer, ...]
    why_not: str = ""

    @property
    def joint(self) -> GraphNode:
        """The first sum or concatenation that takes the term."""
        return self.places[0][0]

    @property
    def is_joined(self) -> bool:
        """Whether it is a term of a concatenation, not of a sum."""
        return sum_terms(self.joint.layer, self.joint.args) is None


def residual_branches(model: keras.Model) -> list[ResidualBranch]:
    """Lists the terms of all sums and concatenations, and which can be left out.

    Use it to find whole blocks that can go. A term can where the sum goes on to hold
    what the term is made of: another term of the same shape leads back to a tensor that
    it depends on, over other sums and over layers without weights, such as activations,
    pooling and dropout. Beside a projection it cannot. For tensors that are joined
    along their channels the same holds (blocks of DenseNet stand beside what they
    read), if the channels can be taken from whatever reads them.

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
    return list(_branches(model, "", set(), JoinedChannels(model)))


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


def _branches(model, path, seen, channels) -> Iterator[ResidualBranch]:
    graph = ModelGraph(model)
    for node in graph.nodes:
        layer = node.layer
        nested = layer if graph_of(layer) is not None else distributed_model(layer)
        if nested is not None and id(nested) not in seen:
            seen.add(id(nested))  # All of its calls lose a term together.
            through = f"{layer.name}/" if nested is not layer else ""
            inside = f"{path}{through}{nested.name}/"
            yield from _branches(nested, inside, seen, channels)
        if node.is_input:
            continue
        terms = sum_terms(layer, node.args)
        for position in range(len(terms or joined_terms(layer, node.args) or ())):
            places = [(node, position)]
            if terms is None:
                places = _all_places(graph, node.inputs[position])
                if places[0] != (node, position):
                    continue  # It was named there.
            index, _ = node.inputs[position]
            layers = _layers_that_go(graph, places)
            why_not = _why_not(graph, places, layers)
            if terms is None and not why_not:
                why_not = channels.why_not(graph, places, layers)
            end = graph.nodes[index]
            yield ResidualBranch(model, path, tuple(places), end, layers, why_not)


def _all_places(graph, source):
    """Where a tensor is joined with others; everywhere, or its layers would stay."""
    return [
        (graph.nodes[reader], position)
        for reader in dict.fromkeys(graph.readers[source[0]])
        if joined_terms(graph.nodes[reader].layer, graph.nodes[reader].args)
        for position, own in enumerate(graph.nodes[reader].inputs)
        if own == source
    ]


def _why_not(graph, places, layers):
    if not any(layer.weights for layer in layers):
        return "no layer with weights would go with it"
    left_out = _positions(places)
    for node, position in places:
        own, _ = node.inputs[position]
        others = [
            source
            for k, (source, _) in enumerate(node.inputs)
            if k not in left_out[node.index]
        ]
        ends = set()
        for other in others:
            starts, stops = _ways_back(graph, other)
            if any(graph.depends_on(own, start) for start in starts):
                break
            ends |= stops
        else:
            holds = [
                f"{graph.nodes[index].name!r} "
                f"({type(graph.nodes[index].layer).__name__})"
                for index in sorted(ends)[:4]
            ]
            beside = f", but {' and '.join(holds)}" if holds else ""
            return f"no shortcut stands beside it{beside}"
        if note := _mask_note(node, position):
            return note
    return ""


def _positions(places):
    """By the index of a node the positions of the terms that it loses."""
    found: dict[int, set[int]] = {}
    for node, position in places:
        found.setdefault(node.index, set()).add(position)
    return found


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
    if sum_terms(node.layer, node.args) is None:
        is_masked = any(mask is not None for mask in masks)
        return "a mask is joined together with it" if is_masked else ""
    left = masks[:position] + masks[position + 1 :]
    ends = mask_of(node.output_tensors[0]) is None
    if ends and all(mask is not None for mask in left):
        return "without it the mask of the other terms would reach what reads the sum"
    return ""


def _layers_that_go(graph, places):
    is_output = {index for index, _ in graph.outputs}
    left_out = _positions(places)
    alive, ways = set(), list(is_output)
    while ways:
        index = ways.pop()
        if index in alive:
            continue
        alive.add(index)
        lost = left_out.get(index, ())
        inputs = enumerate(graph.nodes[index].inputs)
        ways += [source for k, (source, _) in inputs if k not in lost]
    for index, lost in left_out.items():
        node = graph.nodes[index]
        left = [x for k, x in enumerate(node.input_tensors) if k not in lost]
        if len(left) == 1 and hands_on(node, left[0], index in is_output):
            alive.discard(index)
    stays = {id(graph.nodes[index].layer) for index in alive}
    gone = {
        id(other.layer): other.layer
        for other in graph.nodes
        if id(other.layer) not in stays and isinstance(other.layer, keras.layers.Layer)
    }
    return tuple(x for x in gone.values() if not isinstance(x, keras.layers.InputLayer))
