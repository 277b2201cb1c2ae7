"""Take away what calls leave behind in layers."""

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import keras
from keras.src.backend.common import global_state

from keras_sda.graph.model.keras_internals import all_layers

_CALLS = ("_inbound_nodes", "_outbound_nodes")


class CallMarks:
    """Remembers how often the layers of a model were called, to forget later calls.

    Use it around code that runs layers of somebody else's model on symbolic tensors:
    every such call leaves a node in the layer, which models made of it later would
    find.

    Args:
        model: A layer or model. What is inside of it counts as well.

    Example:

    >>> import keras
    >>> from keras_sda.graph.model.call_marks import CallMarks
    >>> x, dense = keras.Input((4,)), keras.layers.Dense(4)
    >>> model = keras.Model(x, dense(x))
    >>> marks = CallMarks(model)
    >>> more = dense(dense(x))
    >>> marks.forget([dense])
    >>> dense.output is model.output  # of its only call
    True
    """

    def __init__(self, model: keras.layers.Layer):
        self._counts = [
            (layer, {name: len(getattr(layer, name)) for name in _CALLS})
            for layer in all_layers(model)
        ]

    def forget(self, layers: Collection[keras.layers.Layer]) -> None:
        """Takes the later calls off some layers.

        Args:
            layers: Those that no model needs any more in its new calls.
        """
        ids = {id(layer) for layer in layers}
        for layer, counts in self._counts:
            if id(layer) in ids:
                for name, count in counts.items():
                    del getattr(layer, name)[count:]


@contextlib.contextmanager
def untouched(layer: keras.layers.Layer) -> Iterator[None]:
    """Takes all that calls leave behind in a layer away, and names that were counted.

    Args:
        layer: A layer or model. What is inside of it counts as well.
    """
    uids = global_state.get_global_attribute("object_name_uids")
    uids = None if uids is None else uids.copy()
    kept = [
        (values, list(values))
        for part in all_layers(layer)
        for name in (*_CALLS, "_losses")
        if isinstance(values := getattr(part, name, None), list)
    ]
    try:
        yield
    finally:
        for values, before in kept:
            values[:] = before
        global_state.set_global_attribute("object_name_uids", uids)


def uncalled_copy(operation: keras.Operation) -> Any:
    """An operation of the same settings that no model uses yet.

    Args:
        operation: An operation of `keras.ops`, without state.
    """
    new = object.__new__(type(operation))
    new.__dict__.update(vars(operation), **{name: [] for name in _CALLS})
    return new
