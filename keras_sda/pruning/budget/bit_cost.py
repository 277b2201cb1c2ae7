"""Bits that the weights of a model take, as a function of its channels."""

from collections.abc import Mapping

import keras

from keras_sda.graph import ChannelGraph
from keras_sda.pruning.budget.parameter_cost import ParameterCost
from keras_sda.utils import InvalidInputError


class BitCost(ParameterCost):
    """Counts the bits of the weights that are left when channels go; a `Cost`.

    Use it where layers are stored in different widths, as after mixed quantisation.

    Args:
        graph: The channels of the model.
        bits: Bits per number, or by the name of a layer; where none are named, those of
            the weight's type. Defaults to `None`, the type of every weight.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning.budget.bit_cost import BitCost
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4, name="hidden")(x)
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(2)(y)))
    >>> BitCost(graph).count(graph.kept()), BitCost(graph, 8).count(graph.kept())
    (1472, 368)
    >>> BitCost(graph, {"hidden": 4}).count(graph.kept())  # 36 numbers of 4, 10 of 32
    464
    """

    name = "bits"

    def __init__(
        self, graph: ChannelGraph, bits: int | Mapping[str, int] | None = None
    ):
        by_layer = bits if isinstance(bits, Mapping) else {}
        unknown = sorted(set(by_layer) - set(graph.layers))
        if unknown:
            raise InvalidInputError(
                f"`bits` names {unknown}, which are no layers of model "
                f"'{graph.model.name}'. It has {', '.join([*graph.layers][:8])} ..."
            )
        self._bits = None if isinstance(bits, Mapping) else bits
        self._by_weight = {
            id(weight): number
            for name, number in by_layer.items()
            for weight in graph.layers[name].layer.weights
        }
        super().__init__(graph)

    def _size(self, weight: keras.Variable) -> int:
        bits = self._by_weight.get(id(weight), self._bits)
        if bits is None:
            bits = 8 * keras.ops.convert_to_numpy(weight).dtype.itemsize
        return bits * super()._size(weight)
