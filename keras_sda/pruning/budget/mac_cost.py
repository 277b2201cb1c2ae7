"""Multiply-accumulates of a model as a function of its channels."""

import math

import keras

from keras_sda.analysis import count_macs
from keras_sda.analysis.macs.layer_macs import attention_products
from keras_sda.graph import ChannelGraph, Kept, all_layers, layer_calls
from keras_sda.pruning.budget.parameter_cost import weight_axes
from keras_sda.utils import InvalidInputError

_WITH_PRODUCTS = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)


class MacCost:
    """Counts the multiply-accumulates that are left when channels go; a `Cost`.

    They are those of `keras_sda.analysis` for one sample, scaled by the kept share of
    every kernel; exact where a layer has one kernel or all its kernels run at one
    resolution.

    Args:
        graph: The channels of the model, with an `input_shape` where it is open.

    Attributes:
        uncounted: Classes of the layers by their names whose multiply-accumulates are
            missing, because no rule knows them. Those without a kernel are left out:
            what they do is cheap.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning.budget.mac_cost import MacCost
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4)(x)
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(2)(y)))
    >>> MacCost(graph).count(graph.kept())
    40
    """

    name = "macs"

    def __init__(self, graph: ChannelGraph):
        self._kernels = []  # (multiply-accumulates, units of its axes)
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
        axes = weight_axes(graph)
        for record in graph.layers.values():
            # What `layer_calls` counts may be the layer that this one wraps.
            for part in all_layers(record.layer):
                self._add_kernels(part, macs, axes)
        for number, variable, positions in products:
            mine = axes.get(id(variable), {})
            self._kernels.append((number, [mine[a] for a in positions if a in mine]))
        self._fixed = sum(macs.values())

    def _add_kernels(self, layer, macs, axes):
        # The bias of a GRU or of an attention head has two axes, and no products.
        left_out = {id(x) for x in getattr(layer, "bookkeeping_weights", ())}
        kernels = [
            (math.prod(variable.shape), [*axes.get(id(variable), {}).values()])
            for variable in layer.weights
            if len(variable.shape) > 1
            and variable.name != "bias"
            and id(variable) not in left_out
        ]
        if not kernels or id(layer) not in macs:
            return
        share = macs.pop(id(layer)) / sum(size for size, _ in kernels)
        self._kernels += [(share * size, units) for size, units in kernels]

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

    def count(self, kept: Kept) -> int:
        """Multiply-accumulates of one sample without the channels that go."""
        return round(
            self._fixed
            + sum(
                share * math.prod(kept.share(units) for units in axes)
                for share, axes in self._kernels
            )
        )
