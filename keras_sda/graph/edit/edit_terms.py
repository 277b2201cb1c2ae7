"""Copy a model whose sums and concatenations get other terms."""

import collections
from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_sda.graph.channels.joined_channels import joined_terms
from keras_sda.graph.channels.residual_branches import hands_on, sum_terms
from keras_sda.graph.edit.clone_edited import clone_edited
from keras_sda.graph.model.model_graph import ModelGraph

CallKey = tuple[str, int]
Terms = list[keras.KerasTensor]


def edit_terms(
    model: keras.Model,
    changes: Mapping[int, Mapping[CallKey, Callable[[Terms], Terms]]],
) -> keras.Model:
    """Returns a copy of a model in which sums and concatenations get other terms.

    Use it to leave out residual branches: whatever only a lost term needs is gone. A
    sum of which one term is left hands it on; where that would change the name of an
    output or a type, an `Identity` layer of its name does. A concatenation must keep
    its shape: readers are not changed.

    Args:
        model: A functional or built sequential model. It is not changed.
        changes: By the id of the model (of `model` or of one nested in it), then by
            layer name and number of the call of a sum or concatenation: gets the terms
            of the new one and returns those to take.

    Returns:
        A functional model with its own weights and the layer names of the old one.

    Raises:
        InvalidInputError: The model cannot be copied.

    Example:

    >>> import keras
    >>> from keras_sda.graph import edit_terms
    >>> x = keras.Input((4,), name="x")
    >>> y = keras.layers.Dense(4, name="dense")(x)
    >>> y = keras.layers.Add(name="sum")([x, y])
    >>> model = keras.Model(x, keras.layers.Dense(2, name="top")(y))
    >>> small = edit_terms(model, {id(model): {("sum", 0): lambda terms: terms[:1]}})
    >>> [layer.name for layer in small.layers]
    ['x', 'top']
    """

    def settings(graph):
        own = changes.get(id(graph), {})
        return {"call": _Caller(graph, own)} if own else {}

    return clone_edited(model, nested=settings, **settings(model))


class _Caller:
    """Calls the new layers of one graph."""

    def __init__(self, model, changes):
        graph = ModelGraph(model)
        self._changes = changes
        self._nodes = {(x.name, x.call_index): x for x in graph.nodes}
        self._outputs = {index for index, _ in graph.outputs}
        self._num_calls: collections.Counter = collections.Counter()

    def __call__(self, layer: Any, new: Any, args: tuple, kwargs: dict) -> Any:
        key = layer.name, self._num_calls[layer.name]
        self._num_calls[layer.name] += 1
        if key not in self._changes:
            return new(*args, **kwargs)
        summed = sum_terms(layer, args)
        terms = self._changes[key](list(summed or joined_terms(layer, args) or ()))
        if len(terms) > 1:
            is_list = isinstance(layer, keras.layers.Layer) or not summed
            return new(terms) if is_list else new(*terms)
        node = self._nodes[key]
        if not hands_on(node, terms[0], node.index in self._outputs):
            dtype = node.output_tensors[0].dtype
            return keras.layers.Identity(name=layer.name, dtype=dtype)(terms[0])
        return terms[0]
