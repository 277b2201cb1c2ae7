"""What closed gates turn into constants."""

import keras
import numpy as np

from keras_sda.graph import ModelGraph
from keras_sda.search.surgery.prepared_model import CallKey, channel_axis
from keras_sda.search.surgery.surgery_layers import AlignedAdd, FixedGate
from keras_sda.utils import InvalidInputError

# Size of maps whose size is open: a constant does not depend on it.
_SIZE = 32


def fold_constants(model: keras.Model) -> dict[CallKey, tuple[list[int], np.ndarray]]:
    """Finds the terms of sums that are the same for every input.

    A gate without an open channel leaves zeros, which the layers behind it turn into
    one number per channel. Where that is added to a shortcut, the branch can go.

    Args:
        model: What `prepared_model` returns, with the masks of the gates.

    Returns:
        By layer name and number of the call of a sum: the positions of its constant
        terms and their sum, one number per channel.

    Raises:
        InvalidInputError: The output of the model is a constant.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.layers import ScaledSigmoidGate
    >>> from keras_sda.search.surgery.fold_constants import fold_constants
    >>> from keras_sda.search.surgery.prepared_model import prepared_model
    >>> x = keras.Input((2,))
    >>> y = ScaledSigmoidGate(name="gate")(keras.layers.Dense(2)(x))
    >>> y = keras.layers.Add(name="sum")([x, y])
    >>> closed = prepared_model(keras.Model(x, y), {"gate": np.zeros(2, bool)})
    >>> fold_constants(closed)[("sum", 0)][0]
    [1]

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022) does not treat this.
    """
    graph = ModelGraph(model)
    if not any(_is_closed(node) for node in graph.nodes):
        return {}
    _refuse_constant_output(graph)
    values = {}
    folds = {}
    for node in graph.nodes:
        known = [id(tensor) in values for tensor in node.input_tensors]
        if _is_closed(node):
            tensor = node.output_tensors[0]
            values[id(tensor)] = np.zeros(_shape(tensor), "float32")
        elif known and all(known):
            for tensor, value in zip(
                node.output_tensors, _evaluate(node, values), strict=True
            ):
                values[id(tensor)] = value
        elif type(node.layer) is AlignedAdd and any(known):
            maps = [values.get(id(tensor)) for tensor in node.input_tensors]
            positions = [n for n, value in enumerate(maps) if _is_even(value)]
            if positions:
                total = sum(_per_channel(maps[n]) for n in positions)
                folds[node.name, node.call_index] = positions, total
    return folds


def _is_closed(node):
    return type(node.layer) is FixedGate and not any(node.layer.mask)


def _refuse_constant_output(graph):
    closed = {node.index for node in graph.nodes if _is_closed(node)}
    if not _is_constant(graph, closed):
        return
    alone = [index for index in sorted(closed) if _is_constant(graph, {index})]
    guilty = alone or _least(graph, closed)
    before = [graph.nodes[graph.nodes[index].inputs[0][0]].name for index in guilty]
    # A gate that the writers of a stream share is there once for each of them.
    names = list(dict.fromkeys(graph.nodes[index].name for index in guilty))
    where = f"behind layer {before[0]!r}"
    if not alone:
        where = f"on the terms of layer {_meeting(graph, guilty)!r}"
    raise InvalidInputError(
        f"All gates {where} are closed ({_few(names)}), "
        "and nothing leads around it: the network would be a constant. Close less: a "
        "lower `lambda_arch`, a higher `target_macs`, or gates that leave "
        f"this layer out (exclude=[{before[0]!r}])."
    )


def _least(graph, closed):
    """Some closed gates that are enough, none of which can be spared."""
    enough = set(closed)
    for index in sorted(closed, reverse=True):
        if _is_constant(graph, enough - {index}):
            enough.discard(index)
    return sorted(enough)


def _meeting(graph, closed):
    """The first layer behind these gates that everything goes through."""
    for index in sorted(_constants(graph, set(closed)) - set(closed)):
        if _is_constant(graph, {index}):
            return graph.nodes[index].name
    return graph.nodes[graph.outputs[0][0]].name


def _few(names, count=6):
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _is_constant(graph, closed):
    constant = _constants(graph, closed)
    return any(source in constant for source, _ in graph.outputs)


def _constants(graph, closed):
    """The nodes that are made of closed ones alone, and these."""
    constant = set()
    for node in graph.nodes:
        if node.index in closed or (
            node.inputs and all(source in constant for source, _ in node.inputs)
        ):
            constant.add(node.index)
    return constant


def _shape(tensor):
    return [1, *(size or _SIZE for size in tensor.shape[1:])]


def _evaluate(node, values):
    def value_of(item):
        if isinstance(item, keras.KerasTensor):
            return keras.ops.cast(values[id(item)], item.dtype)
        return item

    args, kwargs = keras.tree.map_structure(value_of, (node.args, node.kwargs))
    outputs = keras.tree.flatten(node.layer(*args, **kwargs))
    return [
        keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))
        for output in outputs
    ]


def _per_channel(value):
    axis = channel_axis() % value.ndim
    return np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis])[0]


def _is_even(value):
    """Whether a map has one number per channel; padding can make borders differ."""
    if value is None:
        return False
    axis = channel_axis() % value.ndim
    rows = np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis])
    return bool(np.ptp(rows, axis=0).max() <= 1e-6 * max(np.abs(rows).max(), 1e-6))
