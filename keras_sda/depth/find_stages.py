"""Find the stages of a residual network in its graph."""

import dataclasses
import functools

import keras

from keras_sda.graph import GraphNode, ModelGraph, expand_known_blocks
from keras_sda.layers import SelectiveDepthAttention
from keras_sda.utils import InvalidInputError

# What may lie between the sum of one block and the shortcut of the next.
_PASSING = (
    keras.layers.Activation,
    keras.layers.BatchNormalization,
    keras.layers.Dropout,
    keras.layers.ELU,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.LayerNormalization,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
    keras.layers.SpatialDropout2D,
)
_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)
_POOLING = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)


@dataclasses.dataclass(frozen=True)
class DepthStage:
    """A chain of residual blocks whose outputs have one shape.

    Attributes:
        blocks: Names of the layers whose outputs the blocks hand on, in order.
        shape: Shape of these outputs without the batch axis.
        reason: Why depth attention cannot take the stage; empty where it can.
        nodes: Positions of the blocks in `keras_sda.graph.ModelGraph`.
    """

    blocks: tuple[str, ...]
    shape: tuple[int | None, ...]
    reason: str = ""
    nodes: tuple[int, ...] = dataclasses.field(default=(), repr=False)


def find_stages(model: keras.Model) -> list[DepthStage]:
    """Lists the stages of a functional model: chains of residual additions.

    Use it to see where `attach(stages="auto")` would put depth attention, and why not
    elsewhere. Two additions follow each other when the shortcut of the second is the
    output of the first, with at most activation, normalisation or dropout between.
    So all of a stage have the same resolution and width. The map that the first
    shortcut starts from belongs to the stage where a block made it (MobileNetV2,
    EfficientNet), not where it is only the input of the stage: the image after the
    stem, a pooling or a single down-sampling convolution (ConvNeXt).

    Args:
        model: A functional or built sequential model. Nested models are not entered.

    Returns:
        List of `DepthStage` in the order of execution. A stage with a `reason` cannot
        get depth attention.

    Raises:
        InvalidInputError: The model has no readable graph.

    Example:

    >>> from keras_sda.applications import SDAResNet20
    >>> from keras_sda.depth import find_stages
    >>> stages = find_stages(SDAResNet20(depth_attention=False))
    >>> [(len(stage.blocks), stage.shape) for stage in stages]
    [(3, (32, 32, 16)), (3, (16, 16, 32)), (3, (8, 8, 64))]

    Source: arXiv 2209.10327 (IEEE TAI 2024): one attention per stage, over the
    outputs of all its blocks.
    """
    return _StageFinder(ModelGraph(expand_known_blocks(model))).stages()


class _StageFinder:
    def __init__(self, graph: ModelGraph):
        self.graph = graph

    def stages(self) -> list[DepthStage]:
        additions = [node for node in self.graph.nodes if is_residual_addition(node)]
        previous = {node.index: self._previous_addition(node) for node in additions}
        following = {}
        for index, source in previous.items():
            if source is not None:
                following.setdefault(source, []).append(index)
        stages = []
        for node in additions:
            if previous[node.index] is None:
                stages.append(self._stage(node.index, following))
        return stages

    def _stage(self, first, following):
        chain = [first]
        while len(following.get(chain[-1], ())) == 1:
            chain += following[chain[-1]]
        names = [self.graph.nodes[index].name for index in chain]
        shape = tuple(self.graph.nodes[first].output_tensors[0].shape[1:])
        branches = sorted(following.get(chain[-1], ()))
        root = self._root(self.graph.nodes[first], chain)
        if root is not None:
            chain.insert(0, root)
            names.insert(0, self.graph.nodes[root].name)
        reason = ""
        if branches:
            after = " and ".join(repr(self.graph.nodes[i].name) for i in branches)
            reason = f"it branches: {after} both continue {names[-1]!r}"
        elif any(self._feeds_attention(index) for index in chain):
            reason = "it has depth attention already"
        elif len(chain) == 1:
            reason = "it has one block, so there is nothing to choose from"
        return DepthStage(tuple(names), shape, reason, tuple(chain))

    def _feeds_attention(self, index):
        return any(
            isinstance(self.graph.nodes[reader].layer, SelectiveDepthAttention)
            for reader in self.graph.readers[index]
        )

    def _shortcut(self, node):
        """Which input of an addition the other one is made from, or None."""
        sources = [source for source, _ in node.inputs]
        for position in (0, 1):
            if self.graph.depends_on(sources[1 - position], sources[position]):
                return sources[position]
        return None

    def _before_passing(self, index):
        """The node that made a map, before activations, normalisation and dropout."""
        node = self.graph.nodes[index]
        while _passes(node):
            node = self.graph.nodes[node.inputs[0][0]]
        return node.index

    def _previous_addition(self, node):
        shortcut = self._shortcut(node)
        if shortcut is None:
            return None
        base = self._before_passing(shortcut)
        return base if is_residual_addition(self.graph.nodes[base]) else None

    def _root(self, first, chain):
        """The block that made the map which the first shortcut starts from."""
        shortcut = self._shortcut(first)
        if shortcut is None or self._num_convolutions(shortcut) < 2:
            return None
        if len(chain) > 1 and self._is_collected_before_activation(chain):
            node = self.graph.nodes[shortcut]
            while isinstance(node.layer, (keras.layers.Activation, keras.layers.ReLU)):
                node = self.graph.nodes[node.inputs[0][0]]
            return node.index
        return shortcut

    def _is_collected_before_activation(self, chain):
        return self._shortcut(self.graph.nodes[chain[1]]) != chain[0]

    def _num_convolutions(self, index):
        """How many convolutions in a row made a map, since the last sum or pooling."""

        @functools.cache
        def count(index):
            node = self.graph.nodes[index]
            if (
                node.is_input
                or is_residual_addition(node)
                or isinstance(node.layer, (*_POOLING, SelectiveDepthAttention))
            ):
                return 0
            here = isinstance(node.layer, _CONVOLUTIONS)
            return here + max((count(source) for source, _ in node.inputs), default=0)

        made_by = self.graph.nodes[self._before_passing(index)]
        # A map that no convolution ends on (pooling, resizing) is no block's output.
        is_block = isinstance(made_by.layer, _CONVOLUTIONS)
        return count(index) if is_block else 0


def is_residual_addition(node: GraphNode) -> bool:
    """Whether a node adds two feature maps of the shape of its output."""
    if type(node.layer) is not keras.layers.Add and not (
        not isinstance(node.layer, keras.layers.Layer)
        and type(node.layer).__name__ == "Add"
    ):
        return False
    if len(node.inputs) != 2 or node.inputs[0] == node.inputs[1]:
        return False
    shape = tuple(node.output_tensors[0].shape)
    return len(shape) == 4 and all(
        tuple(tensor.shape) == shape for tensor in node.input_tensors
    )


def _passes(node):
    """Whether a node hands its one input on, changed value by value at most."""
    if len(node.inputs) != 1:
        return False
    if isinstance(node.layer, keras.layers.Layer):
        return isinstance(node.layer, _PASSING)
    name = type(node.layer).__name__.lower()
    return hasattr(keras.activations, name)


def explain(stages: list[DepthStage]) -> str:
    """One line on every stage that cannot get depth attention."""
    return "; ".join(
        f"stage {', '.join(map(repr, stage.blocks))} {stage.shape}: {stage.reason}"
        for stage in stages
        if stage.reason
    )


def no_stage_error(graph: ModelGraph, stages: list[DepthStage]) -> InvalidInputError:
    """The error for a model without a usable stage: what was found and why not."""
    name = graph.model.name
    if stages:
        found = explain(stages)
    else:
        joins = sorted(
            {
                (type(node.layer).__name__, node.name)
                for node in graph.nodes
                if len(node.inputs) > 1
            }
        )
        kinds = sorted({kind for kind, _ in joins})
        example = {kind: layer for kind, layer in reversed(joins)}
        found = "it has no addition of two feature maps of the same shape"
        if kinds:
            found += ", only " + ", ".join(
                f"{kind} ({example[kind]!r}, ...)" for kind in kinds
            )
        else:
            found += ": it is a plain chain, or its blocks are joined in other ways"
    return InvalidInputError(
        f"`model` '{name}' has no stage for depth attention: {found}. Depth attention "
        "needs at least two consecutive residual blocks with outputs of one shape. "
        "Name the layers yourself with stages=[['block1_out', 'block2_out'], ...], or "
        "use a residual network."
    )
