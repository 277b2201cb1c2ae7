"""The model without some of its blocks."""

import collections
from collections.abc import Iterable

import keras
import numpy as np

from keras_sda.graph import (
    ChannelGraph,
    all_layers,
    clone_edited,
    edit_terms,
    expand_known_blocks,
    remove_channels,
)
from keras_sda.graph.edit.absent_channels import AbsentChannels, absent_classes
from keras_sda.pruning.blocks.removable_blocks import chosen_blocks
from keras_sda.utils import InvalidInputError


def remove_blocks(model: keras.Model, names: Iterable[str]) -> keras.Model:
    """Returns a model without whole blocks.

    Use it to make a network shallower: the sum or concatenation of each block loses the
    branch, and all layers that only the branch needs are gone. What is left of a sum
    computes what the whole model does where the branch returns zeros; where the branch
    was joined with other channels, its channels go from all that reads them, as those
    of any plan. Layers keep their names and weights; a model of stock Keras layers
    becomes one of stock Keras layers.

    Args:
        model: A functional or built sequential model. It is not changed.
        names: Names of blocks, see `removable_blocks`.

    Returns:
        A functional `keras.Model` with its own weights, not compiled: fine-tune it as
        any other.

    Raises:
        InvalidInputError: A name is none of a block that can go; says which can, and
            why this one cannot.

    Example:

    >>> from keras_sda.applications import SDAResNet20
    >>> from keras_sda.pruning import remove_blocks
    >>> model = SDAResNet20()
    >>> small = remove_blocks(model, ["stage1_block2_add", "stage3_block3_add"])
    >>> len(model.layers) - len(small.layers), small.name == model.name
    (12, True)
    """
    model = with_absent_blocks(model, names)
    if not any(isinstance(x, AbsentChannels) for x in all_layers(model)):
        return model
    graph = ChannelGraph(model)
    return remove_channels(graph, absent_channels(graph))


def graphs_without_blocks(
    graph: ChannelGraph, names: Iterable[str]
) -> tuple[ChannelGraph, ChannelGraph]:
    """The channels of a model without blocks.

    Args:
        graph: The channels of the model.
        names: Names of blocks.

    Returns:
        Those of `with_absent_blocks`, and those of `remove_blocks`; the same where no
        block was part of a concatenation.

    Raises:
        InvalidInputError: Blocks cannot go, or not together.
    """
    absent = ChannelGraph(with_absent_blocks(graph.model, names), graph.input_shape)
    gone = absent_channels(absent)
    if not gone.any():
        return absent, absent
    return absent, ChannelGraph(remove_channels(absent, gone), graph.input_shape)


def absent_channels(graph: ChannelGraph) -> np.ndarray:
    """The channels that go since blocks are absent from concatenations.

    Args:
        graph: The channels of what `with_absent_blocks` returns.

    Returns:
        A boolean array over its classes.

    Raises:
        InvalidInputError: These channels cannot go all together.
    """
    _, gone = absent_classes(graph)
    for label in np.flatnonzero(gone & graph.units.pinned):
        name, reason = graph.units.reasons[int(label)]
        raise InvalidInputError(
            f"`names` holds blocks whose channels cannot go together: {reason} (layer "
            f"{name!r}). Keep one of them."
        )
    if emptied := graph.emptied_by(gone):
        raise InvalidInputError(
            "`names` holds blocks without which nothing is left of what layer "
            f"{emptied!r} works on. Keep one of them."
        )
    return gone


def with_absent_blocks(model: keras.Model, names: Iterable[str]) -> keras.Model:
    """`remove_blocks`, but that the channels of concatenations are still counted.

    Args:
        model: See there.
        names: Likewise.

    Returns:
        A model in which sums lack the branches, and `AbsentChannels` stand for them in
        concatenations.

    Raises:
        InvalidInputError: A name is none of a block that can go.
    """
    model = expand_known_blocks(model)
    lost: dict = collections.defaultdict(set)
    nodes = {}
    for _, branch in chosen_blocks(model, names):
        for node, position in branch.places:
            key = id(branch.model), (node.name, node.call_index)
            lost[key].add(position)
            nodes[key] = node, branch.is_joined
    changes: dict = collections.defaultdict(dict)
    for (owner, call), positions in lost.items():
        node, is_joined = nodes[owner, call]
        change = _absent(node, positions) if is_joined else _without(positions)
        changes[owner][call] = change
    return edit_terms(model, changes) if changes else clone_edited(model)


def _without(positions):
    return lambda terms: [x for k, x in enumerate(terms) if k not in positions]


def _absent(node, positions):
    axis = node.layer.axis % len(node.output_tensors[0].shape)

    def change(terms):
        like = next(x for k, x in enumerate(terms) if k not in positions)
        for k in sorted(positions):
            name = f"{node.name}_{node.call_index}_absent_{k}"
            terms[k] = AbsentChannels(
                terms[k].shape[axis], axis, name=name, dtype=terms[k].dtype
            )(like)
        return terms

    return change
