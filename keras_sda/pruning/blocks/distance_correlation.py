"""How much two sets of vectors depend on each other."""

import numpy as np

from keras_sda.utils import InvalidInputError


def distance_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """The distance correlation of two samples, from 0 to 1.

    Use it to compare dependences that need not be linear. It is too high for few
    samples, the more so the longer the vectors: compare values of one number of samples
    only.

    Args:
        one: Array of shape (samples, ...); what is behind the first axis counts as one
            vector.
        other: Likewise, of as many samples.

    Returns:
        1 where both are the same but for scale and rotation, 0 where one of them is
        constant.

    Raises:
        InvalidInputError: They differ in the number of samples, are fewer than two, or
            are not finite.

    Example:

    >>> from keras_sda.pruning.blocks.distance_correlation import distance_correlation
    >>> round(distance_correlation([0, 1, 2, 3], [0, 1, 0, 1]), 6)
    0.52664

    Source: Szekely, Rizzo, Bakirov, Annals of Statistics 35 (2007), definition 5.
    """
    one, other = (np.asarray(x, "float64") for x in (one, other))
    if not len(one) == len(other) > 1:
        raise InvalidInputError(
            "`one` and `other` must hold as many samples as each other, at least 2. "
            f"Received arrays of shapes {one.shape} and {other.shape}."
        )
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise InvalidInputError("`one` and `other` must hold finite numbers only.")
    first, second = (_centred_distances(x.reshape(len(x), -1)) for x in (one, other))
    power = np.sqrt(np.mean(first**2) * np.mean(second**2))
    if not power:
        return 0.0
    return float(np.sqrt(max(np.mean(first * second) / power, 0.0)))


def _centred_distances(vectors):
    vectors = vectors - vectors.mean(axis=0)  # fewer digits are lost below
    squares = np.sum(vectors**2, axis=1)
    distances = squares[:, None] + squares - 2 * vectors @ vectors.T
    np.fill_diagonal(distances, 0)
    distances = np.sqrt(np.maximum(distances, 0))
    means = distances.mean(axis=0)
    return distances - means - means[:, None] + means.mean()
