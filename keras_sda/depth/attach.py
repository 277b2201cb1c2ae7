"""Add selective depth attention to a functional model."""

from collections.abc import Sequence

import keras
from absl import logging

from keras_sda.depth.explicit_stages import explicit_stages
from keras_sda.depth.find_stages import (
    DepthStage,
    explain,
    find_stages,
    is_residual_addition,
    no_stage_error,
)
from keras_sda.graph import (
    ModelGraph,
    clone_edited,
    expand_known_blocks,
    graph_of,
    unwrapped,
)
from keras_sda.layers import SelectiveDepthAttention
from keras_sda.utils import InvalidInputError


def attach(
    model: keras.Model,
    stages: str | Sequence[Sequence[str]] = "auto",
    reduction: float = 16,
    min_width: int = 64,
    start: str = "last",
) -> keras.Model:
    """Returns a model whose stages weigh the outputs of all their blocks.

    Use it on a residual network that you have, trained or not, before fine-tuning.
    The mix of all block outputs takes the place of the last one; the activation or
    normalisation that followed the last block follows the mix.

    Known to work: ResNet, ResNetV2, MobileNetV2, MobileNetV3, EfficientNet,
    EfficientNetV2, ConvNeXt and Xception of `keras.applications`, and the
    `ResNetBackbone` of KerasHub.

    Args:
        model: A functional or built sequential model, such as those of
            `keras.applications`. It is not changed.
        stages: `"auto"` finds them (see `find_stages`), or a list of stages, each a
            list of the names of at least two layers whose outputs have one shape, in
            order. Defaults to `"auto"`.
        reduction: See `SelectiveDepthAttention`. Defaults to `16`.
        min_width: See `SelectiveDepthAttention`. Defaults to `64`.
        start: `"last"`: every stage starts by passing on its last block (weight
            0.99999), so the new model predicts what the old one does; training with
            Adam, AdamW or their like opens the other blocks. `"uniform"`: the random
            start of the paper, for training from scratch and for SGD. Defaults to
            `"last"`.

    Returns:
        A functional `keras.Model` with its own copy of the weights, not compiled. The
        new layers are called `stage1_sda`, `stage2_sda`, ...; all others keep their
        names. Inputs and outputs are those of `model`.

    Raises:
        InvalidInputError: `model` is subclassed or not built, no stage was found, the
            residual blocks are inside a nested model, or `stages` does not name
            stages.

    Example:

    >>> import keras
    >>> from keras_sda.depth import attach
    >>> model = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3))
    >>> attended = attach(model)
    >>> [layer.name for layer in attended.layers if layer.name.endswith("_sda")]
    ['stage1_sda', 'stage2_sda', 'stage3_sda', 'stage4_sda', 'stage5_sda']

    Source: arXiv 2209.10327 (IEEE TAI 2024), the selective depth attention module.
    The start at the last block is ours.
    """
    if start not in ("last", "uniform"):
        raise InvalidInputError(
            f"`start` must be 'last' or 'uniform'. Received: start={start!r}."
        )
    model = expand_known_blocks(unwrapped(model))
    graph = ModelGraph(model)
    if isinstance(stages, str):
        if stages != "auto":
            raise InvalidInputError(
                "`stages` must be 'auto' or a list of lists of layer names. "
                f"Received: stages={stages!r}."
            )
        chosen = _automatic_stages(model, graph)
    else:
        chosen = explicit_stages(graph, stages)
    attentions = {
        stage.nodes[-1]: SelectiveDepthAttention(
            reduction=reduction,
            min_width=min_width,
            activation=None,
            data_format=_data_format(graph),
            dtype=getattr(graph.nodes[stage.nodes[-1]].layer, "dtype_policy", None),
            name=name,
        )
        for stage, name in zip(chosen, _new_names(graph, len(chosen)), strict=True)
    }
    attended = _insert(model, graph, chosen, attentions)
    if start == "last":
        for attention in attentions.values():
            attention.start_at_last_block()
    return attended


def _automatic_stages(model, graph) -> list[DepthStage]:
    _refuse_nested(graph)
    found = find_stages(model)
    usable = [stage for stage in found if not stage.reason]
    if not usable:
        raise no_stage_error(graph, found)
    for number, stage in enumerate(usable, 1):
        logging.info(
            "stage%d_sda: %d blocks %s, %s to %s",
            number,
            len(stage.blocks),
            stage.shape,
            stage.blocks[0],
            stage.blocks[-1],
        )
    if len(usable) < len(found):
        logging.info("without depth attention: %s", explain(found))
    return usable


def _refuse_nested(graph):
    for node in graph.nodes:
        inner = graph_of(node.layer)
        if inner is None:
            continue
        if any(is_residual_addition(part) for part in ModelGraph(inner).nodes):
            calls = graph.num_calls[node.name]
            shared = f" and is called {calls} times" if calls > 1 else ""
            raise InvalidInputError(
                f"`model` '{graph.model.name}' holds the residual blocks in the nested "
                f"model {node.name!r}, which is one layer here{shared}. Attach depth "
                f"attention to it first: inner = attach(model.get_layer("
                f"{node.name!r})), then build the outer model on `inner`."
            )


def _data_format(graph):
    for node in graph.nodes:
        data_format = getattr(node.layer, "data_format", None)
        if isinstance(data_format, str):
            return data_format
    return None


def _new_names(graph, count):
    taken = {node.name for node in graph.nodes}
    number = 0
    while count:
        number += 1
        if f"stage{number}_sda" not in taken:
            count -= 1
            yield f"stage{number}_sda"


def _insert(model, graph, stages, attentions):
    """Clones the model and lets the readers of last blocks read the mix instead."""
    nodes = {(node.name, node.call_index): node.index for node in graph.nodes}
    wanted = {index for stage in stages for index in stage.nodes}
    last = {stage.nodes[-1]: stage for stage in stages}
    num_calls, outputs = {}, {}

    def call(layer, new, args, kwargs):
        result = new(*args, **kwargs)
        call_index = num_calls.get(layer.name, 0)
        num_calls[layer.name] = call_index + 1
        index = nodes[layer.name, call_index]
        if index in wanted:
            outputs[index] = result
        if index in last:
            maps = [outputs[block] for block in last[index].nodes]
            return attentions[index](maps)
        return result

    return clone_edited(model, call=call)
