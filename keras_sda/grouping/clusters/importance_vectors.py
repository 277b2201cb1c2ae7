"""How much every filter of a layer takes from every input channel."""

import numpy as np
from numpy.typing import ArrayLike

from keras_sda.utils import InvalidInputError


def importance_vectors(
    kernel: ArrayLike, mask: ArrayLike | None = None, normalise: bool = False
) -> np.ndarray:
    """Describes each filter by the L1 mass of its kernel slice of each channel.

    Use it before `cluster_filters`: filters with similar vectors form a group.

    Args:
        kernel: Kernel of a convolution (height, width, channels, filters) or of a
            dense layer (features, units).
        mask: Zeros and ones of shape (filters, channels); what is cut counts 0.
            Defaults to `None`: nothing is cut.
        normalise: Whether each vector is divided by its sum. Defaults to `False`, as
            in the authors' code.

    Returns:
        Array of shape (filters, channels), float64.

    Raises:
        InvalidInputError: The shapes do not fit.

    Example:

    >>> import numpy as np
    >>> from keras_sda.grouping import importance_vectors
    >>> importance_vectors(-np.ones((3, 3, 2, 4))).tolist()[0]
    [9.0, 9.0]

    Source: arXiv 2009.13803, the importance vectors.
    """
    kernel = np.asarray(kernel, "float64")
    if kernel.ndim < 2:
        raise InvalidInputError(
            "`kernel` must have the shape (height, width, channels, filters) or "
            f"(features, units). Received: shape {kernel.shape}."
        )
    vectors = np.abs(kernel).sum(axis=tuple(range(kernel.ndim - 2))).T
    if mask is not None:
        mask = np.asarray(mask, "float64")
        if mask.shape != vectors.shape:
            raise InvalidInputError(
                f"`mask` must have the shape (filters, channels) = {vectors.shape}. "
                f"Received: shape {mask.shape}. Layers hold it transposed."
            )
        vectors = vectors * mask
    if normalise:
        sums = vectors.sum(axis=1, keepdims=True)
        vectors = vectors / np.where(sums > 0, sums, 1)
    return np.ascontiguousarray(vectors)
