"""Parameters and multiply-accumulates of a model as a function of its channels."""

import math

import keras
import numpy as np

from keras_sda.analysis import count_macs
from keras_sda.analysis.macs.layer_macs import attention_products
from keras_sda.graph import ChannelGraph, layer_calls
from keras_sda.utils import InvalidInputError

_WITH_PRODUCTS = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)


class ModelCost:
    """Counts what is left when channels go, without building the smaller model.

    Parameters are exact. Multiply-accumulates are those of `keras_sda.analysis`, scaled
    by the kept share of every kernel; they are exact where a layer has one kernel or
    all its kernels run at one resolution.

    Args:
        graph: The channels of the model, with an `input_shape` where it is open.

    Attributes:
        params: Parameters of the whole model.
        macs: Multiply-accumulates of one sample in the whole model.
        uncounted: Classes of the layers by their names whose multiply-accumulates are
            missing in `macs`, because no rule knows them. Those without a kernel are
            left out: what they do is cheap.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning.budget.model_cost import ModelCost
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4)(x)
    >>> cost = ModelCost(ChannelGraph(keras.Model(x, keras.layers.Dense(2)(y))))
    >>> cost.params, cost.macs
    (46, 40)
    """

    def __init__(self, graph: ChannelGraph):
        self._classes = graph.units.classes
        self._axes = []  # units of every axis of a weight that follows channels
        self._weights = []  # (number of values, positions in _axes)
        self._kernels = []  # (multiply-accumulates, positions in _axes)
        macs = {}
        products = []  # of layers whose kernels do different numbers of them
        self.uncounted: dict[str, str] = {}
        for call in layer_calls(graph.model, graph.input_shape):
            if type(call.layer) in _WITH_PRODUCTS:
                products += attention_products(call)
                continue
            number = count_macs(call)
            weights = getattr(call.layer, "weights", ())
            if number is None and any(len(weight.shape) > 1 for weight in weights):
                self.uncounted[call.name] = type(call.layer).__name__
            macs[id(call.layer)] = macs.get(id(call.layer), 0) + (number or 0)
        counted = set()
        by_variable = {}  # positions in _axes, by axis
        for record in graph.layers.values():
            for axis in record.axes:
                mine = by_variable.setdefault(id(axis.variable), {})
                mine[axis.axis] = len(self._axes)
                self._axes.append(axis.units)
            bookkeeping = {
                id(x) for x in getattr(record.layer, "bookkeeping_weights", ())
            }
            counted |= bookkeeping
            for variable in getattr(record.layer, "weights", ()):
                if id(variable) in bookkeeping:
                    continue
                axes = [*by_variable.get(id(variable), {}).values()]
                size = math.prod(variable.shape)
                counted.add(id(variable))
                self._weights.append((size, axes))
            # What `layer_calls` counts may be the layer that this one wraps.
            for part in getattr(record.layer, "_flatten_layers", tuple)():
                self._add_kernels(part, macs, by_variable)
        for number, variable, axes in products:
            mine = by_variable.get(id(variable), {})
            self._kernels.append((number, [mine[a] for a in axes if a in mine]))
        self._fixed_macs = sum(macs.values())
        self._fixed_params = sum(
            math.prod(weight.shape)
            for weight in graph.model.weights
            if id(weight) not in counted
        )
        nothing = np.zeros(len(graph.units.pinned), bool)
        self.params, self.macs = self.count(nothing)

    def _add_kernels(self, layer, macs, by_variable):
        # The bias of a GRU or of an attention head has two axes, and no products.
        left_out = {id(x) for x in getattr(layer, "bookkeeping_weights", ())}
        kernels = [
            (math.prod(variable.shape), [*by_variable.get(id(variable), {}).values()])
            for variable in layer.weights
            if len(variable.shape) > 1
            and variable.name != "bias"
            and id(variable) not in left_out
        ]
        if not kernels or id(layer) not in macs:
            return
        share = macs.pop(id(layer)) / sum(size for size, _ in kernels)
        self._kernels += [(share * size, axes) for size, axes in kernels]

    def check_counted(self, argument: str) -> None:
        """Refuses a target where it would not mean the whole model.

        Args:
            argument: Name of the argument that is the target.

        Raises:
            InvalidInputError: The multiply-accumulates of a layer are unknown.
        """
        if not self.uncounted:
            return
        named = [f"{name} ({kind})" for name, kind in self.uncounted.items()]
        more = f" and {len(named) - 8} more" if len(named) > 8 else ""
        raise InvalidInputError(
            f"`{argument}` needs the multiply-accumulates of every layer, and nobody "
            f"knows those of {', '.join(named[:8])}{more}. Say what they are with "
            "keras_sda.analysis.register_macs_rule(layer_class, rule) or a "
            "`compute_macs(input_shape, output_shape)` method (returning 0 leaves "
            "the layer out), or give a target in parameters or latency."
        )

    def count(self, removed: np.ndarray) -> tuple[int, int]:
        """Parameters and multiply-accumulates without the marked classes."""
        stays = ~removed[self._classes]
        kept = [stays[units].mean() if len(units) else 1.0 for units in self._axes]
        params = self._fixed_params + sum(
            size * math.prod(kept[axis] for axis in axes)
            for size, axes in self._weights
        )
        macs = self._fixed_macs + sum(
            share * math.prod(kept[axis] for axis in axes)
            for share, axes in self._kernels
        )
        return round(params), round(macs)
