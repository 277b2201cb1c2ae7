"""What clustering the filters of a layer gives."""

import dataclasses

import numpy as np


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
