"""Multiply-accumulates of Keras layers, one function per kind of layer.

Shapes include the leading axis (one sample, times whatever the graph moves into it).
Convolutions are counted at every output position, padding included, as the papers do.
"""

import math

import keras

from keras_sda.graph import LayerCall, attention_projections


def zero(call: LayerCall) -> int:
    """Layers that hold no convolution, dense product or attention product."""
    return 0


def _channels(shape, data_format):
    return shape[1] if data_format == "channels_first" else shape[-1]


def convolution(call: LayerCall) -> int:
    """Each output element sums a window over the channels of its group."""
    layer = call.layer
    channels = _channels(call.batch_input_shapes[0], layer.data_format)
    window = math.prod(layer.kernel_size) * channels // layer.groups
    return math.prod(call.batch_output_shapes[0]) * window


def transposed_convolution(call: LayerCall) -> int:
    """Each input element is spread over a window of all filters."""
    layer = call.layer
    window = math.prod(layer.kernel_size) * layer.filters
    return math.prod(call.batch_input_shapes[0]) * window


def depthwise_convolution(call: LayerCall) -> int:
    """Each output element sums a window of one channel."""
    return math.prod(call.batch_output_shapes[0]) * math.prod(call.layer.kernel_size)


def separable_convolution(call: LayerCall) -> int:
    """A depthwise convolution, then a pointwise one at the same positions."""
    layer = call.layer
    output_shape = call.batch_output_shapes[0]
    positions = math.prod(output_shape) // layer.filters
    channels = _channels(call.batch_input_shapes[0], layer.data_format)
    width = channels * layer.depth_multiplier
    return positions * width * (math.prod(layer.kernel_size) + layer.filters)


def dense(call: LayerCall) -> int:
    """Each output element is one dot product with the last input axis."""
    return math.prod(call.batch_output_shapes[0]) * call.batch_input_shapes[0][-1]


def _index_sizes(terms, shapes):
    """Size of every index of an einsum; `.1`, `.2`, ... are those of an ellipsis."""
    sizes = {}
    for term, shape in zip(terms, shapes, strict=True):
        left, _, right = term.partition("...")
        num_free = len(shape) - len(left) - len(right)
        indices = [*left, *(f".{num_free - i}" for i in range(num_free)), *right]
        for index, size in zip(indices, shape, strict=True):
            sizes[index] = max(size, sizes.get(index, 1))  # Size 1 broadcasts.
    return sizes


def einsum_product(equation: str, shapes: list[tuple]) -> int | None:
    """MACs of an einsum: every index once; nothing if no index is summed.

    The order in which three or more operands are contracted is up to the backend, so
    their count is unknown: `None`.
    """
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) > 2:
        return None
    if not arrow:
        letters = [letter for term in terms for letter in term.replace("...", "")]
        output = "".join(letter for letter in letters if letters.count(letter) == 1)
    sizes = _index_sizes(terms, shapes)
    summed = [index for index in sizes if len(index) == 1 and index not in output]
    if len(terms) == 1 or not summed:
        return 0
    return math.prod(sizes.values())


def einsum_dense(call: LayerCall) -> int:
    """The product of all index sizes; those of the kernel occur in other terms."""
    inputs, _, output = call.layer.equation.replace(" ", "").partition("->")
    shapes = [call.batch_input_shapes[0], call.batch_output_shapes[0]]
    return math.prod(_index_sizes([inputs.split(",")[0], output], shapes).values())


def reversible_embedding(call: LayerCall) -> int:
    """A table look-up, or in reverse a dense product with the table."""
    if not call.arguments.get("reverse", False):
        return 0
    return math.prod(call.batch_input_shapes[0]) * call.layer.input_dim


def dot(call: LayerCall) -> int:
    """A batched matrix product over the axes of a `Dot` layer."""
    axes = call.layer.axes
    shape = call.batch_input_shapes[0]
    return (
        math.prod(call.batch_output_shapes[0])
        * shape[axes if isinstance(axes, int) else axes[0]]
    )


def attention_products(
    call: LayerCall,
) -> list[tuple[int, keras.Variable, tuple[int, ...]]]:
    """The products of an attention layer with heads, one by one.

    Args:
        call: The call of a `MultiHeadAttention` or `GroupQueryAttention`.

    Returns:
        For each projection, and for scores and weighted sum together: its
        multiply-accumulates, and the variable and the axes of it that they grow with.
    """
    layer = call.layer
    query = tuple(call.arguments["query"].shape)
    value = tuple(call.arguments["value"].shape)
    key = call.arguments.get("key")
    key = value if key is None else tuple(key.shape)
    inputs = {"query": query, "gate": query, "key": key, "value": value}
    products = []
    for name, dense in attention_projections(layer).items():
        shape = inputs.get(name, call.batch_output_shapes[0])
        positions = math.prod(shape[:-1])
        size = math.prod(dense.kernel.shape)
        axes = tuple(range(len(dense.kernel.shape)))
        products.append((positions * size, dense.kernel, axes))
        if name == "output":
            heads, width, *_ = dense.kernel.shape
            product = heads * (width + _query_width(layer))
            pairs = math.prod(query[:-1]) * _key_positions(layer, key)
            products.append((pairs * product, dense.kernel, (0,)))
    return products


def _query_width(layer):
    return attention_projections(layer)["query"].kernel.shape[-1]


def _key_positions(layer, key):
    axes = getattr(layer, "attention_axes", None) or (1,)
    return math.prod(key[axis] for axis in axes)


def attention_with_heads(call: LayerCall) -> int:
    """The projections, the scores and the weighted sum."""
    return sum(macs for macs, _, _ in attention_products(call))


def _attention_inputs(call):
    shapes = [tuple(tensor.shape) for tensor in call.arguments["inputs"]]
    query, value = shapes[:2]
    return query, value, shapes[2] if len(shapes) > 2 else value


def attention(call: LayerCall) -> int:
    """Scores (a matrix product in `"dot"` mode) and the weighted sum of values."""
    query, value, key = _attention_inputs(call)
    pairs = math.prod(query[:-1]) * key[-2]
    score = query[-1] if call.layer.score_mode == "dot" else 0
    return pairs * (score + value[-1])


def additive_attention(call: LayerCall) -> int:
    """Scores (a product with the learned scale, if any) and the weighted sum."""
    query, value, key = _attention_inputs(call)
    pairs = math.prod(query[:-1]) * key[-2]
    return pairs * ((query[-1] if call.layer.use_scale else 0) + value[-1])


_GATES = {keras.layers.LSTMCell: 4, keras.layers.GRUCell: 3}
_GATES[keras.layers.SimpleRNNCell] = 1


def _cell_macs(cell, width):
    """MACs of one step and the width that goes to the next cell."""
    if type(cell) is keras.layers.StackedRNNCells:
        total = 0
        for inner in cell.cells:
            macs, width = _cell_macs(inner, width)
            if macs is None:
                return None, width
            total += macs
        return total, width
    # The cells that `LSTM(...)` and its like create are the public classes.
    gates = _GATES.get(type(cell))
    if gates is None:
        return None, width
    return gates * cell.units * (width + cell.units), cell.units


def recurrent(call: LayerCall) -> int | None:
    """Kernel and recurrent kernel products at every time step."""
    batch, steps, width = call.batch_input_shapes[0]
    macs, _ = _cell_macs(call.layer.cell, width)
    return None if macs is None else batch * steps * macs


def convolutional_lstm(call: LayerCall) -> int:
    """Input and recurrent convolutions with four gates at every time step."""
    layer = call.layer
    batch, steps = call.batch_input_shapes[0][:2]
    channels_first = layer.cell.data_format == "channels_first"
    channels = call.batch_input_shapes[0][2 if channels_first else -1]
    state = call.batch_output_shapes[0][2 if layer.return_sequences else 1 :]
    window = math.prod(layer.cell.kernel_size)
    return batch * steps * 4 * math.prod(state) * window * (channels + layer.filters)
