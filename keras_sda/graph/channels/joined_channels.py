"""Tensors joined along their channels, and whether some of these can go."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_sda.graph.channels.channel_graph import ChannelGraph
from keras_sda.graph.model.keras_internals import all_layers
from keras_sda.graph.model.model_graph import GraphNode, ModelGraph
from keras_sda.utils import InvalidInputError


def joined_terms(layer: Any, args: tuple) -> list[keras.KerasTensor] | None:
    """The tensors that a concatenation joins, or None.

    Args:
        layer: A layer or operation.
        args: The arguments of its call.

    Example:

    >>> import keras
    >>> from keras_sda.graph.channels.joined_channels import joined_terms
    >>> x, y = keras.Input((4,)), keras.Input((2,))
    >>> len(joined_terms(keras.layers.Concatenate(), ([x, y],)))
    2
    """
    is_layer = isinstance(layer, keras.layers.Layer)
    is_one = (
        type(layer) is keras.layers.Concatenate
        if is_layer
        else type(layer).__name__ == "Concatenate"
    )
    if not is_one or not args or not isinstance(args[0], (list, tuple)):
        return None
    terms = list(args[0])
    return terms if all(isinstance(x, keras.KerasTensor) for x in terms) else None


def joined_classes(
    graph: ChannelGraph, places: Sequence[tuple[GraphNode, int]]
) -> np.ndarray | None:
    """The classes of the channels of a term; None where it is joined otherwise.

    Args:
        graph: The channels of the model.
        places: The concatenations that read the term, and as which of theirs.
    """
    found = []
    for node, position in places:
        axis = node.layer.axis % len(node.output_tensors[0].shape)
        for inputs in graph.call_inputs[id(node.layer), node.call_index]:
            if any(channels.axis != axis for channels in inputs):
                return None
            found.append(inputs[position].units)
    return np.unique(graph.units.classes[np.concatenate(found)])


class JoinedChannels:
    """Answers whether the channels of a term can be taken from all that reads them.

    Args:
        model: The model. Its channels are looked up once somebody asks.
    """

    def __init__(self, model: keras.Model):
        self._model = model

    @functools.cached_property
    def _channels(self):
        return ChannelGraph(self._model)

    def why_not(
        self,
        graph: ModelGraph,
        places: Sequence[tuple[GraphNode, int]],
        layers: Sequence[keras.layers.Layer],
    ) -> str:
        """Why the channels of a term stay; empty where they can go.

        Args:
            graph: What the places are nodes of.
            places: The concatenations that read the term, and as which of theirs.
            layers: What would go with it.
        """
        try:
            channels = self._channels
        except InvalidInputError as error:
            return str(error)[:300]
        classes = joined_classes(channels, places)
        if classes is None:
            return "it is joined along another axis than that of the channels"
        for label in classes[channels.units.pinned[classes]]:
            name, reason = channels.units.reasons[int(label)]
            return f"its channels stay: {reason} ({name})"
        gone = np.zeros(len(channels.units.pinned), bool)
        gone[classes] = True
        goes = _ids(layers)
        makers = [
            record
            for record in channels.layers.values()
            if id(record.layer) not in goes
            and gone[channels.units.classes[record.made]].any()
        ]
        if makers:
            behind = _ids(
                node.layer
                for node in graph.nodes
                if any(graph.depends_on(node.index, place.index) for place, _ in places)
            )
            for record in makers:
                if id(record.layer) not in behind:
                    return f"its channels belong together with those of {record.name!r}"
        emptied = channels.emptied_by(gone, goes)
        return f"nothing would be left of what {emptied!r} works on" if emptied else ""


def _ids(layers):
    found = set()
    for layer in layers:
        found.add(id(layer))
        if isinstance(layer, keras.layers.Layer):
            found |= {id(inner) for inner in all_layers(layer)}
    return found
