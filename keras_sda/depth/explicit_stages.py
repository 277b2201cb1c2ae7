"""Stages that the user names, checked against the graph."""

import difflib
from collections.abc import Sequence

from keras_sda.depth.find_stages import DepthStage
from keras_sda.graph import ModelGraph
from keras_sda.utils import InvalidInputError


def explicit_stages(
    graph: ModelGraph, stages: Sequence[Sequence[str]]
) -> list[DepthStage]:
    """Turns lists of layer names into stages, or says what is wrong with them.

    Args:
        graph: The model.
        stages: For every stage the names of its layers, in the order of the blocks.

    Returns:
        List of `DepthStage` in the order given.

    Raises:
        InvalidInputError: A name is unknown or called more than once, a stage has
            fewer than two blocks, shapes differ, or blocks do not follow each other.

    Example:

    >>> import keras
    >>> from keras_sda.depth.explicit_stages import explicit_stages
    >>> from keras_sda.graph import ModelGraph
    >>> x = keras.Input((8, 8, 4))
    >>> a = keras.layers.ReLU(name="a")(x)
    >>> graph = ModelGraph(keras.Model(x, keras.layers.ReLU(name="b")(a)))
    >>> explicit_stages(graph, [["a", "b"]])[0].shape
    (8, 8, 4)
    """
    is_nested = isinstance(stages, (list, tuple)) and all(
        isinstance(stage, (list, tuple)) and all(isinstance(n, str) for n in stage)
        for stage in stages
    )
    if not is_nested or not stages:
        raise InvalidInputError(
            "`stages` must be 'auto' or a list of lists of layer names, such as "
            f"[['block1_out', 'block2_out']]. Received: stages={stages!r}."
        )
    result, seen = [], {}
    for number, names in enumerate(stages, 1):
        stage = _stage(graph, number, names)
        for name in stage.blocks:
            if name in seen:
                raise InvalidInputError(
                    f"`stages` name layer {name!r} in stage {seen[name]} and in stage "
                    f"{number}. A block belongs to one stage."
                )
            seen[name] = number
        result.append(stage)
    return result


def _stage(graph, number, names):
    if len(names) < 2:
        raise InvalidInputError(
            f"`stages[{number - 1}]` has {len(names)} layer ({list(names)}): there is "
            "nothing to choose from. Name at least two blocks."
        )
    if len(set(names)) < len(names):
        raise InvalidInputError(
            f"`stages[{number - 1}]` names a layer twice: {list(names)}."
        )
    nodes = [_node(graph, number, name) for name in names]
    shapes = [tuple(node.output_tensors[0].shape[1:]) for node in nodes]
    listed = ", ".join(
        f"{name!r} {shape}" for name, shape in zip(names, shapes, strict=True)
    )
    if len(set(shapes)) > 1 or any(len(shape) != 3 for shape in shapes):
        raise InvalidInputError(
            f"`stages[{number - 1}]` must name layers whose outputs have one shape "
            f"(height, width, channels). Received: {listed}. Split the stage where "
            "the resolution or the width changes."
        )
    for earlier, later in zip(nodes, nodes[1:], strict=False):
        if not graph.depends_on(later.index, earlier.index):
            hint = "they are parallel branches"
            if graph.depends_on(earlier.index, later.index):
                hint = "their order is the other way round"
            raise InvalidInputError(
                f"`stages[{number - 1}]`: layer {later.name!r} is not made from the "
                f"output of {earlier.name!r}, {hint}. Name the blocks from the first "
                f"to the last. Received: {listed}."
            )
    return DepthStage(
        tuple(names), shapes[0], nodes=tuple(node.index for node in nodes)
    )


def _node(graph, number, name):
    nodes = [node for node in graph.nodes if node.name == name]
    if not nodes:
        known = [node.name for node in graph.nodes]
        similar = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(map(repr, similar))}?" if similar else ""
        raise InvalidInputError(
            f"`stages[{number - 1}]` names {name!r}, which is no layer of model "
            f"'{graph.model.name}'.{hint}"
        )
    if len(nodes) > 1:
        raise InvalidInputError(
            f"`stages[{number - 1}]` names {name!r}, a shared layer that the model "
            f"calls {len(nodes)} times, so it is not clear which output is meant. "
            "Name a layer that is called once."
        )
    if len(nodes[0].output_tensors) != 1:
        raise InvalidInputError(
            f"`stages[{number - 1}]` names {name!r}, which returns "
            f"{len(nodes[0].output_tensors)} tensors. Name a layer with one output."
        )
    return nodes[0]
