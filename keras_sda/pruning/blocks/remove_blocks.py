"""The model without some of its residual blocks."""

import collections
from collections.abc import Iterable

import keras

from keras_sda.graph import clone_edited, edit_sums, expand_known_blocks
from keras_sda.pruning.blocks.removable_blocks import chosen_blocks


def remove_blocks(model: keras.Model, names: Iterable[str]) -> keras.Model:
    """Returns a model without whole residual blocks.

    Use it to make a network shallower: the sum of each block loses the branch, and all
    layers that only the branch needs are gone. What is left computes what the whole
    model does where the branch returns zeros. Layers keep their names and weights; a
    model of stock Keras layers becomes one of stock Keras layers.

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
    model = expand_known_blocks(model)
    places: dict = collections.defaultdict(set)
    for _, branch in chosen_blocks(model, names):
        key = branch.sum.name, branch.sum.call_index
        places[id(branch.model), key].add(branch.position)
    changes: dict = collections.defaultdict(dict)
    for (owner, key), positions in places.items():
        changes[owner][key] = _without(frozenset(positions))
    return edit_sums(model, changes) if changes else clone_edited(model)


def _without(positions):
    return lambda terms: [x for k, x in enumerate(terms) if k not in positions]
