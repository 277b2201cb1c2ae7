"""Choose the channels of every group by one threshold for the layer."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True, eq=False)
class GroupMask:
    """Which filter reads which channel.

    Attributes:
        mask: Boolean of shape (filters, channels).
        bits: Boolean of shape (groups, channels): the channels of each group.
        threshold: Importance up to which connections are cut.
    """

    mask: np.ndarray
    bits: np.ndarray
    threshold: float


def group_mask(
    centroids: ArrayLike,
    labels: ArrayLike,
    percent: float,
    mask: ArrayLike | None = None,
) -> GroupMask:
    """Cuts the connections of a layer that its centroids give the least importance.

    Every connection weighs what the centroid of its filter's group says, and 0 where
    it is cut already. The threshold is a percentile of these numbers, and what equals
    it is cut as well: a group keeps or loses a channel as a whole, so that a little
    more than `percent` goes.

    Clustering anew at every step (`regroup="every_step"`) may put filters with
    different masks into one group; the first filter of the group then speaks for all.
    With the labels of the first step and centroids that are means
    (`regroup="once"`), the filters of a group always have one mask.

    Args:
        centroids: Importance of the channels for each group, of shape
            (groups, channels).
        labels: Group of each filter, integers of shape (filters,).
        percent: Share of all connections to be without, those cut before included,
            from 0 to 100.
        mask: What is left from before, of shape (filters, channels). Defaults to
            `None`: everything.

    Returns:
        A `GroupMask`.

    Raises:
        InvalidInputError: An argument has a wrong shape or value.

    Example:

    >>> from keras_sda.grouping import group_mask
    >>> group_mask([[4, 1], [2, 3]], [0, 1, 1], percent=50).mask.astype(int).tolist()
    [[1, 0], [0, 1], [0, 1]]

    Source: arXiv 2009.13803, centroid-based pruning.
    """
    centroids = np.asarray(centroids, "float64")
    labels = np.asarray(labels)
    if centroids.ndim != 2 or labels.ndim != 1 or not labels.size:
        raise InvalidInputError(
            "`centroids` must have the shape (groups, channels) and `labels` the shape "
            f"(filters,). Received: shapes {centroids.shape} and {labels.shape}."
        )
    if labels.min() < 0 or labels.max() >= len(centroids):
        raise InvalidInputError(
            f"`labels` must be from 0 to {len(centroids) - 1}, one of the rows of "
            f"`centroids`. Received: {labels.min()} to {labels.max()}."
        )
    if not 0 <= percent <= 100:
        raise InvalidInputError(
            f"`percent` must be from 0 to 100. Received: percent={percent!r}."
        )
    shape = len(labels), centroids.shape[1]
    old = np.ones(shape, bool) if mask is None else np.asarray(mask).astype(bool)
    if old.shape != shape:
        raise InvalidInputError(
            f"`mask` must have the shape (filters, channels) = {shape}. Received: "
            f"shape {old.shape}. Layers hold it transposed."
        )
    # The percentile is mostly one of these values, and has to compare as equal: so
    # both come from one array of float64.
    values = centroids[labels] * old
    threshold = np.percentile(values, percent)
    bits = np.zeros(centroids.shape, bool)
    groups, first = np.unique(labels, return_index=True)
    bits[groups] = values[first] > threshold
    return GroupMask(old & bits[labels], bits, float(threshold))
