"""Groups of one size that read one number of channels each."""

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_sda.grouping.clusters.assign_blocks import assign_blocks
from keras_sda.grouping.clusters.cluster_filters import cluster_filters
from keras_sda.utils import InvalidInputError

_KINDS = ("disjoint", "equal")
_GAIN = 1e-4  # relative; smaller ones are not worth another round


@dataclasses.dataclass(frozen=True, eq=False)
class BalancedGroups:
    """What `balanced_groups` chooses.

    Attributes:
        labels: Group of each filter, int32 of shape (filters,).
        mask: Boolean of shape (filters, channels).
        num_groups: Number of groups.
        kept_importance: Share of the importance that the mask keeps.
    """

    labels: np.ndarray
    mask: np.ndarray
    num_groups: int
    kept_importance: float


def balanced_groups(
    vectors: ArrayLike,
    num_groups: int | None = None,
    rate: float = 0.7,
    balance: str = "disjoint",
    labels: ArrayLike | None = None,
    seed: int = 0,
    num_restarts: int = 3,
) -> BalancedGroups:
    """Groups filters and channels so that a plain grouped convolution runs them.

    Use it for speed: the groups of the paper have any size and any channels, which
    few kernels run well. These have one size and one number of channels, chosen to
    keep as much importance as possible: starting from k-means and from random groups,
    the best channels for the filters of each group and the best group for each filter
    are found in turn, both exactly, until less than 0.01 % is gained.

    Args:
        vectors: Importance of shape (filters, channels), see `importance_vectors`.
        num_groups: Number of groups. Defaults to `None`. For `"disjoint"` that is the
            smallest one that cuts at least `rate` and divides both filters and
            channels (at most twice as many as `rate` asks for); for `"equal"` the
            largest up to 16 that divides the filters.
        rate: Share of the connections to cut, from 0 to below 1. Defaults to `0.7`.
        balance: `"disjoint"`: every channel is read by one group, as in
            `GroupedConv2D`, and 1 / num_groups of the connections stay. `"equal"`:
            groups may share channels, and each reads the same number, a multiple of 8
            from 64 channels on. Defaults to `"disjoint"`.
        labels: Group of each filter, where the groups are known and of one size.
            Defaults to `None`.
        seed: Seed of the starts. Defaults to `0`.
        num_restarts: Random starts besides k-means. Defaults to `3`; one for
            layers of more than a million connections.

    Returns:
        A `BalancedGroups`.

    Raises:
        InvalidInputError: An argument cannot be used, or no number of groups fits.

    Example:

    >>> import numpy as np
    >>> from keras_sda.grouping import balanced_groups
    >>> vectors = np.kron([[1, 0], [0, 1]], np.ones((2, 3)))[[0, 2, 1, 3]]
    >>> groups = balanced_groups(vectors, rate=0.5)
    >>> groups.num_groups, groups.kept_importance, groups.labels.tolist()
    (2, 1.0, [0, 1, 0, 1])

    Source: an extension of arXiv 2009.13803 of our own.
    """
    vectors = np.ascontiguousarray(vectors, "float64")
    _check(vectors, rate, balance)
    filters, channels = vectors.shape
    if labels is not None:
        labels = _checked_labels(labels, filters)
        num_groups = int(labels.max()) + 1
    if num_groups is None:
        num_groups = choose_num_groups(filters, channels, rate, balance)
    if filters % num_groups or (balance == "disjoint" and channels % num_groups):
        raise InvalidInputError(
            f"`num_groups`={num_groups} does not divide the {filters} filters"
            + (f" and {channels} channels" if balance == "disjoint" else "")
            + ". Choose a divisor, or None."
        )
    width = _width(channels, rate) if balance == "equal" else channels // num_groups
    searcher = _Searcher(vectors, num_groups, width, balance == "disjoint")
    best: Any = None
    if labels is not None:
        best = labels, *searcher.channels(labels)
    else:
        if vectors.size > 1_000_000:
            num_restarts = min(num_restarts, 1)
        for start in searcher.starts(seed, num_restarts):
            found = searcher.improve(start)
            if best is None or found[2] > best[2] * (1 + 1e-12):
                best = found
    labels, bits, kept = best
    order = np.argsort([np.flatnonzero(labels == g)[0] for g in range(num_groups)])
    labels, bits = np.argsort(order)[labels], bits[order]
    total = float(vectors.sum())
    return BalancedGroups(
        labels=labels.astype("int32"),
        mask=bits[labels],
        num_groups=int(num_groups),
        kept_importance=float(kept) / total if total else 1.0,
    )


class _Searcher:
    def __init__(self, vectors, num_groups, width, disjoint):
        self._vectors, self._count = vectors, num_groups
        self._width, self._disjoint = width, disjoint

    def starts(self, seed, num_restarts):
        generator = np.random.default_rng(seed)
        count = self._count
        clusters = cluster_filters(self._vectors, count, seed=seed, num_restarts=3)
        # Nearer to its centroid is better; missing centroids are like the mean.
        centroids = np.tile(self._vectors.mean(axis=0), (count, 1))
        centroids[: len(clusters.centroids)] = clusters.centroids
        nearness = self._vectors @ centroids.T - 0.5 * (centroids**2).sum(axis=1)
        yield assign_blocks(nearness)
        for _ in range(num_restarts):
            yield generator.permutation(np.arange(len(self._vectors)) % count)

    def improve(self, labels):
        bits, kept = self.channels(labels)
        while True:
            new_labels = assign_blocks(self._vectors @ bits.T.astype("float64"))
            new_bits, new_kept = self.channels(new_labels)
            if new_kept <= kept * (1 + _GAIN):
                return labels, bits, kept
            labels, bits, kept = new_labels, new_bits, new_kept

    def channels(self, labels):
        """The best channels for these groups, and what importance they keep."""
        profit = np.zeros((self._count, self._vectors.shape[1]))
        np.add.at(profit, labels, self._vectors)
        bits = np.zeros(profit.shape, bool)
        if self._disjoint:
            bits[assign_blocks(profit.T), np.arange(bits.shape[1])] = True
        else:
            best = np.argsort(-profit, axis=1, kind="stable")[:, : self._width]
            np.put_along_axis(bits, best, True, axis=1)
        return bits, float(profit[bits].sum())


def choose_num_groups(filters: int, channels: int, rate: float, balance: str) -> int:
    """How many groups of one size cut at least `rate`; see `balanced_groups`.

    Raises:
        InvalidInputError: No number divides the filters and channels.
    """
    if balance == "equal":
        return max(k for k in range(1, 17) if filters % k == 0)
    least = math.ceil(1 / (1 - rate) - 1e-9)
    for count in range(least, 2 * least + 1):
        if filters % count == 0 and channels % count == 0:
            return count
    raise InvalidInputError(
        f"`balance`='disjoint': no number of groups from {least} to {2 * least} "
        f"divides both {filters} filters and {channels} channels. Choose another "
        "rate, or balance='equal'."
    )


def _width(channels, rate):
    step = 8 if channels >= 64 else 1
    return max(step, min(channels, step * round(channels * (1 - rate) / step)))


def _check(vectors, rate, balance):
    if balance not in _KINDS:
        raise InvalidInputError(
            f"`balance` must be one of {_KINDS}. Received: balance={balance!r}."
        )
    if vectors.ndim != 2 or not vectors.size:
        raise InvalidInputError(
            "`vectors` must have the shape (filters, channels). Received: shape "
            f"{vectors.shape}."
        )
    if not 0 <= rate < 1:
        raise InvalidInputError(
            f"`rate` must be from 0 to below 1, such as 0.7. Received: rate={rate!r}."
        )


def _checked_labels(labels, filters):
    labels = np.asarray(labels)
    sizes = np.bincount(labels) if labels.shape == (filters,) else np.zeros(0)
    if not len(sizes) or len(set(sizes)) > 1:
        raise InvalidInputError(
            f"`labels` must give each of the {filters} filters a group, all groups of "
            f"one size. Received: shape {labels.shape}, sizes {sizes.tolist()}."
        )
    return labels
