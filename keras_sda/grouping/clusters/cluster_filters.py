"""Cluster the filters of a layer by what they read."""

import dataclasses
import warnings

import numpy as np
from numpy.typing import ArrayLike

from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True, eq=False)
class FilterClusters:
    """Groups of filters.

    Attributes:
        labels: Group of each filter, int32 of shape (filters,).
        centroids: Mean importance of each group, float64 of shape (groups, channels).
        inertia: Sum of the squared distances of the filters from their centroids.
        num_iterations: Iterations of k-means with the last one, 0 without k-means.

    Example:

    >>> import numpy as np
    >>> from keras_sda.grouping import cluster_filters
    >>> clusters = cluster_filters(np.eye(3), num_groups=2, labels=[0, 1, 1])
    >>> clusters.centroids.tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]
    """

    labels: np.ndarray
    centroids: np.ndarray
    inertia: float
    num_iterations: int


def cluster_filters(
    vectors: ArrayLike,
    num_groups: int = 16,
    init_centroids: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    seed: int = 0,
    num_restarts: int = 10,
) -> FilterClusters:
    """Groups filters with k-means on their importance vectors.

    Use it between `importance_vectors` and `group_mask`. There are never more groups
    than filters, or than different vectors. One seed gives one result.

    Args:
        vectors: Array of shape (filters, channels).
        num_groups: Groups to form. Defaults to `16`.
        init_centroids: First centroids of shape (groups, channels), for exact
            reproduction: then there is one start. Defaults to `None`: vectors drawn at
            random.
        labels: Group of each filter, for groups that are known: then there is no
            k-means and centroids are the means of the members. Defaults to `None`.
        seed: Seed of the starts. Defaults to `0`.
        num_restarts: Starts, of which the one of lowest inertia counts. Defaults to
            `10`.

    Returns:
        A `FilterClusters`.

    Raises:
        InvalidInputError: An argument has a wrong shape or value.

    Example:

    >>> import numpy as np
    >>> from keras_sda.grouping import cluster_filters
    >>> vectors = np.repeat([[1.0, 0.0], [0.0, 1.0]], 3, axis=0)
    >>> cluster_filters(vectors, num_groups=4).centroids.shape
    (2, 2)

    Source: arXiv 2009.13803; Lloyd's algorithm of scikit-learn (at most 300
    iterations, an empty cluster takes the filter farthest from its centroid).
    """
    vectors = np.ascontiguousarray(vectors, "float64")
    if vectors.ndim != 2 or not vectors.size:
        raise InvalidInputError(
            "`vectors` must have the shape (filters, channels). Received: shape "
            f"{vectors.shape}."
        )
    if not np.isfinite(vectors).all():
        raise InvalidInputError(
            "`vectors` hold values that are not finite: the weights are NaN or "
            "infinite. Train the model again."
        )
    for name, value in (("num_groups", num_groups), ("num_restarts", num_restarts)):
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise InvalidInputError(
                f"`{name}` must be a positive integer. Received: {name}={value!r}."
            )
    if labels is not None:
        return _with_labels(vectors, labels)
    if init_centroids is not None:
        start = np.ascontiguousarray(init_centroids, "float64")
        if start.ndim != 2 or start.shape[1] != vectors.shape[1]:
            raise InvalidInputError(
                "`init_centroids` must have the shape (groups, channels) with "
                f"{vectors.shape[1]} channels. Received: shape {start.shape}."
            )
        if len(start) > len(vectors):
            raise InvalidInputError(
                f"`init_centroids` has {len(start)} rows for {len(vectors)} filters. "
                "Give at most as many."
            )
        return _k_means(vectors, len(start), init=start, n_init=1)
    count = min(int(num_groups), len(np.unique(vectors, axis=0)))
    return _k_means(
        vectors, count, init="random", n_init=int(num_restarts), random_state=seed
    )


def _with_labels(vectors, labels):
    labels = np.asarray(labels)
    if labels.shape != (len(vectors),) or not np.issubdtype(labels.dtype, np.integer):
        raise InvalidInputError(
            f"`labels` must be {len(vectors)} integers, one for each filter. Received: "
            f"shape {labels.shape}, dtype {labels.dtype}."
        )
    if labels.min() < 0:
        raise InvalidInputError("`labels` must not be negative.")
    centroids = np.zeros((labels.max() + 1, vectors.shape[1]))
    for group in np.unique(labels):
        centroids[group] = vectors[labels == group].mean(axis=0)
    inertia = float(((vectors - centroids[labels]) ** 2).sum())
    return FilterClusters(labels.astype("int32"), centroids, inertia, 0)


def _k_means(vectors, count, **options):
    import threadpoolctl  # a requirement of scikit-learn
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    # Threads would add up the members of a cluster in any order.
    with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(count, max_iter=300, tol=1e-4, algorithm="lloyd", **options).fit(
            vectors
        )
    labels = found.labels_.astype("int32")
    centroids = np.array(found.cluster_centers_, "float64")
    # scikit-learn shifts the data and back: zeros would not come back as zeros.
    for group in np.unique(labels):
        mean = vectors[labels == group].mean(axis=0)
        if np.allclose(mean, centroids[group], rtol=1e-9, atol=1e-12):
            centroids[group] = mean
    return FilterClusters(labels, centroids, float(found.inertia_), int(found.n_iter_))
