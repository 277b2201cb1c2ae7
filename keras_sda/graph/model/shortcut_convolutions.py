"""The projections on the shortcuts of residual blocks."""

from keras_sda.graph.model.convolutions import is_convolution
from keras_sda.graph.model.model_graph import ModelGraph


def shortcut_convolutions(graph: ModelGraph) -> dict[str, str]:
    """Finds single convolutions that run beside a longer branch into a sum.

    Use it to tell the shortcut of a residual block from its branch. From the map that
    all terms of a sum are made of, the shortcut takes one convolution and the branch
    two or more.

    Args:
        graph: The nodes of a model.

    Returns:
        For the layers on such a shortcut, the name of the sum.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ModelGraph, shortcut_convolutions
    >>> model = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3),
    ...                                     include_top=False)
    >>> found = shortcut_convolutions(ModelGraph(model))
    >>> found["conv3_block1_0_bn"], "conv3_block1_3_bn" in found
    ('conv3_block1_add', False)
    """
    found = {}
    for node in graph.nodes:
        if not _is_sum(node):
            continue
        sources = [source for source, _ in node.inputs]
        common = [
            index
            for index in range(min(sources) + 1)
            if all(graph.depends_on(source, index) for source in sources)
        ]
        if not common or common[-1] in sources:
            continue
        paths = [_between(graph, common[-1], source) for source in sources]
        counts = [_longest(graph, path) for path in paths]
        for path, count in zip(paths, counts, strict=True):
            if count == 1 and max(counts) > 1:
                for index in path:
                    found[graph.nodes[index].name] = node.name
    return found


def _is_sum(node):
    is_add = type(node.layer).__name__ == "Add" or getattr(node.layer, "is_sum", False)
    return len(node.inputs) > 1 and is_add


def _between(graph, first, last):
    """Nodes behind `first` that `last` is made of, and itself."""
    return [
        index
        for index in range(first + 1, last + 1)
        if graph.depends_on(last, index) and graph.depends_on(index, first)
    ]


def _longest(graph, path):
    """Most convolutions in a row on the way."""
    counts = {}
    for index in path:
        node = graph.nodes[index]
        before = max((counts.get(source, 0) for source, _ in node.inputs), default=0)
        counts[index] = before + is_convolution(node.layer)
    return counts[path[-1]] if path else 0
