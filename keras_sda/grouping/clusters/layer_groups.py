"""Decide the groups of one layer."""

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_sda.grouping.clusters.balanced_groups import balanced_groups
from keras_sda.grouping.clusters.cluster_filters import cluster_filters
from keras_sda.grouping.clusters.group_mask import group_mask
from keras_sda.grouping.clusters.importance_vectors import importance_vectors
from keras_sda.layers.compression.self_grouped import SelfGrouped
from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True, eq=False)
class LayerGroups:
    """The groups of one layer.

    Attributes:
        mask: Boolean of shape (filters, channels).
        labels: Group of each filter, of shape (filters,).
        threshold: Importance up to which connections are cut, None with `balance`.
        kept_importance: Share of the importance of the whole layer that is kept.
        note: What differs from what was asked for.
    """

    mask: np.ndarray
    labels: np.ndarray
    threshold: float | None
    kept_importance: float
    note: str = ""


def layer_groups(
    layer: keras.layers.Layer,
    rate: float,
    num_groups: int = 16,
    regroup: str = "once",
    steps: int = 1,
    seed: int = 0,
    labels: Any = None,
    init_centroids: Any = None,
    balance: str | None = None,
) -> LayerGroups:
    """Clusters the filters of a layer and chooses the channels of every group.

    Use it through `self_group`, whose arguments these are, for one layer. A masked
    layer goes on from its mask and, unless it is to be regrouped, from its labels.

    Args:
        layer: A `Conv2D`, `Dense` or masked layer that is built.
        rate: Share of all its connections to cut, above 0 and below 1.
        num_groups: Groups at most. Defaults to `16`.
        regroup: `"once"` or `"every_step"`. Defaults to `"once"`.
        steps: Steps to the rate. Defaults to `1`.
        seed: Seed of the clustering. Defaults to `0`.
        labels: Group of each filter, if known. Defaults to `None`.
        init_centroids: First centroids, of the first step. Defaults to `None`.
        balance: `None`, `"disjoint"` or `"equal"`. Defaults to `None`.

    Returns:
        A `LayerGroups`.

    Raises:
        InvalidInputError: An argument does not fit the layer.

    Example:

    >>> import keras
    >>> from keras_sda.grouping.clusters.layer_groups import layer_groups
    >>> layer = keras.layers.Dense(32)
    >>> layer.build((None, 64))
    >>> groups = layer_groups(layer, 0.75, num_groups=4)
    >>> groups.mask.shape, len(set(groups.labels.tolist()))
    ((32, 64), 4)
    """
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    mask = np.ones(kernel.shape[-2:][::-1], bool)
    if isinstance(layer, SelfGrouped) and layer.is_grouped:
        mask = keras.ops.convert_to_numpy(layer.mask).T.astype(bool)
        if labels is None and (regroup == "once" or balance):
            labels = keras.ops.convert_to_numpy(layer.labels)
    whole = importance_vectors(kernel)
    note = ""
    if balance is not None:
        mask, labels = _balanced(whole, mask, labels, rate, balance, seed)
        threshold = None
    else:
        for step in range(1, steps + 1):
            vectors = importance_vectors(kernel, mask)
            clusters = cluster_filters(
                vectors,
                num_groups,
                init_centroids=init_centroids if step == 1 else None,
                labels=labels,
                seed=seed,
            )
            # Multiplied last, so that 0.29 is 29 and not 28.999999999999996.
            percent = round(100 * rate * step / steps, 9)
            found = group_mask(clusters.centroids, clusters.labels, percent, mask)
            mask, threshold = found.mask, found.threshold
            if labels is None and init_centroids is None:
                count = len(np.unique(clusters.labels))
                if count < num_groups:
                    note = _fewer(num_groups, count, len(mask))
            if regroup == "once":
                labels = clusters.labels
        labels = clusters.labels
    total = whole.sum()
    kept = float(whole[mask].sum() / total) if total else 1.0
    return LayerGroups(mask, np.asarray(labels, "int32"), threshold, kept, note)


def _fewer(asked, count, filters):
    reason = f"{filters} filters" if count == filters else "its filters are too alike"
    return f"{count} groups instead of {asked}: {reason}"


def _balanced(vectors, mask, labels, rate, balance, seed):
    if mask.all():
        found = balanced_groups(vectors, None, rate, balance, labels=labels, seed=seed)
        return found.mask, found.labels
    if balance == "equal":
        found = balanced_groups(vectors * mask, None, rate, balance, labels=labels)
        return found.mask & mask, found.labels
    return _finer(vectors, mask, labels, rate, seed)


def _finer(vectors, mask, labels, rate, seed):
    """Splits disjoint groups into equal parts until the rate is reached."""
    rows = [mask[labels == group] for group in np.unique(labels)]
    bits = np.array([row[0] for row in rows])
    same = all((row == row[0]).all() for row in rows)
    if not same or (bits.sum(axis=0) != 1).any() or len(set(bits.sum(axis=1))) > 1:
        raise InvalidInputError(
            "`balance`='disjoint' goes on from groups of its own only, and this model "
            "has others. Start from the model without masks."
        )
    num_old, (filters, channels) = len(bits), vectors.shape
    least = 1 / (1 - rate) - 1e-9
    if num_old >= least:
        return mask, labels
    for count in range(num_old, int(2 * least) + 2, num_old):
        if count >= least and filters % count == 0 and channels % count == 0:
            break
    else:
        raise InvalidInputError(
            f"`balance`='disjoint': the {num_old} groups of {filters} filters and "
            f"{channels} channels do not split to the rate {rate}. Choose another rate."
        )
    parts = count // num_old
    new_mask, new_labels = np.zeros_like(mask), np.zeros_like(labels)
    for number, group in enumerate(np.unique(labels)):
        members, read = np.flatnonzero(labels == group), np.flatnonzero(bits[number])
        block = np.ix_(members, read)
        found = balanced_groups(vectors[block], parts, 1 - 1 / parts, seed=seed)
        new_mask[block] = found.mask
        new_labels[members] = number * parts + found.labels
    return new_mask, new_labels
