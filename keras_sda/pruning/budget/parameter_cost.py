"""Parameters of a model as a function of its channels."""

import math

import keras
import numpy as np

from keras_sda.graph import ChannelGraph, Kept


def weight_axes(graph: ChannelGraph) -> dict[int, dict[int, np.ndarray]]:
    """Which units lie along the axes of the weights of a model.

    Args:
        graph: The channels of the model.

    Returns:
        By the id of a weight the units by axis, where these follow channels.
    """
    found: dict[int, dict[int, np.ndarray]] = {}
    for record in graph.layers.values():
        for axis in record.axes:
            found.setdefault(id(axis.variable), {})[axis.axis] = axis.units
    return found


class ParameterCost:
    """Counts the parameters that are left when channels go; a `Cost`, and exact.

    Args:
        graph: The channels of the model.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning.budget.parameter_cost import ParameterCost
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4)(x)
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(2)(y)))
    >>> ParameterCost(graph).count(graph.kept())
    46
    """

    name = "params"

    def __init__(self, graph: ChannelGraph):
        axes = weight_axes(graph)
        self._weights = []  # (what it costs as a whole, units of its axes)
        counted = set()
        for record in graph.layers.values():
            weights = getattr(record.layer, "weights", ())
            bookkeeping = getattr(record.layer, "bookkeeping_weights", ())
            counted |= {id(x) for x in (*weights, *bookkeeping)}
            left_out = {id(x) for x in bookkeeping}
            self._weights += [
                (self._size(weight), [*axes.get(id(weight), {}).values()])
                for weight in weights
                if id(weight) not in left_out
            ]
        rest = [weight for weight in graph.model.weights if id(weight) not in counted]
        self._fixed = sum(map(self._size, rest))

    def _size(self, weight: keras.Variable) -> int:
        return math.prod(weight.shape)

    def count(self, kept: Kept) -> int:
        """Parameters without the channels that go."""
        return round(
            self._fixed
            + sum(
                size * math.prod(kept.share(units) for units in axes)
                for size, axes in self._weights
            )
        )
