"""Least squares from second moments, for kernels that lose inputs."""

from collections.abc import Sequence

import numpy as np
import scipy.linalg

RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# Every fit of so many features takes seconds, and a valley is wider than a step.
_MANY_FEATURES = 1024


def correction(moments: np.ndarray, kept: np.ndarray, ridge: float) -> np.ndarray:
    """What kept channels have to take over from removed ones.

    A removed channel is predicted from the kept ones by ridge regression without an
    intercept: zero padding stays right at every tap of a kernel.

    Args:
        moments: Second moments `E[a a^T]` of all channels, `(n, n)`.
        kept: Boolean array `(n,)`.
        ridge: Relative to the mean second moment of a channel.

    Returns:
        float64 array `(kept, n)` with ones where a channel is kept: times the rows of
        the old kernel it gives those of the new one.

    Source: the linear dependence elimination of Shah, Olivier and Raj (ICPR 2020,
    arXiv 2005.14070), without its choice of channels.

    Example:

    >>> a = np.array([[1, 0, 1], [0, 1, 2], [1, 1, 3], [2, 1, 4]], "float64")
    >>> found = correction(a.T @ a / 4, np.array([True, True, False]), 0.0)
    >>> (found @ [[1.0], [2.0], [10.0]]).round(6).ravel().tolist()
    [11.0, 22.0]
    """
    moments = np.asarray(moments, "float64")
    places, gone = np.flatnonzero(kept), np.flatnonzero(~np.asarray(kept))
    result = np.zeros((len(places), len(moments)))
    result[np.arange(len(places)), places] = 1.0
    inner = moments[np.ix_(places, places)]
    penalty = ridge * np.trace(moments) / max(len(moments), 1)
    result[:, gone] = _solve(inner, moments[np.ix_(places, gone)], penalty)
    return result


class Moments:
    """Sums over rows that a linear fit needs: features by features, by targets.

    Args:
        gram: Features by features, `(f, f)`; the last one is the constant 1 where
            there is an intercept.
        cross: Features by targets, `(f, t)`.
        power: The sum of the squares of every target, `(t,)`, or of all of them.
    """

    def __init__(self, gram: np.ndarray, cross: np.ndarray, power: np.ndarray | float):
        self.gram, self.cross, self.power = gram, cross, np.asarray(power, "float64")

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.gram + other.gram, self.cross + other.cross, self.power + other.power
        )

    @classmethod
    def of_no_rows(cls, features: int, targets: int) -> "Moments":
        """Zeros, for `add`.

        Args:
            features: Their number.
            targets: Their number.
        """
        return cls(
            np.zeros((features, features)),
            np.zeros((features, targets)),
            np.zeros(targets),
        )

    def add(self, features: np.ndarray, targets: np.ndarray) -> None:
        """Adds rows in place: of thousands of features the sums are large.

        Args:
            features: `(rows, f)`.
            targets: `(rows, t)`.
        """
        self.gram += features.T @ features
        self.cross += features.T @ targets
        self.power += np.sum(np.square(targets, dtype="float64"), 0)

    @property
    def is_finite(self) -> bool:
        """Whether all sums are finite."""
        sums = (self.gram, self.cross, self.power)
        return all(np.isfinite(array).all() for array in sums)

    def error(self, weights: np.ndarray) -> float:
        """The sum of squared errors of a fit.

        Args:
            weights: `(f, t)`.
        """
        fitted = 2 * self.cross - self.gram @ weights
        return float(self.power.sum() - np.sum(weights * fitted))

    def part(
        self, features: slice | np.ndarray, targets: slice | np.ndarray
    ) -> "Moments":
        """The sums of a fit of some targets from some features.

        Args:
            features: Their numbers.
            targets: Their numbers; the power of every target has to be known.
        """
        return Moments(
            self.gram[features][:, features],
            self.cross[features][:, targets],
            self.power[targets],
        )


def fit(
    moments: Moments, start: np.ndarray, ridge: float, has_intercept: bool
) -> np.ndarray:
    """Weights of least squared error that stay near those that are there.

    Args:
        moments: Of all rows.
        start: The weights that are there, `(f, t)`.
        ridge: What leaving them costs, relative to the mean power of a feature.
        has_intercept: Whether the last feature is the constant, which is free.

    Returns:
        float64 array `(f, t)`. On these rows its error is at most that of `start`.

    Example:

    >>> x = np.array([[1.0], [2.0]])
    >>> moments = Moments(x.T @ x, x.T @ (3 * x), 45.0)
    >>> fit(moments, np.zeros((1, 1)), 0.0, False).round(6).tolist()
    [[3.0]]
    """
    count = len(start) - has_intercept
    power = np.trace(moments.gram[:count, :count]) / max(count, 1)
    penalty = np.full(len(start), ridge * power)
    if has_intercept:
        penalty[-1] = 0.0
    rest = moments.cross - moments.gram @ start
    return start + _solve(moments.gram, rest, penalty)


def choose_ridge(
    halves: Sequence[Moments],
    start: np.ndarray,
    has_intercept: bool,
    ridges: Sequence[float] = RIDGES,
) -> float | None:
    """The ridge whose fit of one half of the rows errs least on the other.

    Args:
        halves: Moments of two halves of the samples.
        start: The weights that are there.
        has_intercept: See `fit`.
        ridges: Those to choose from. Defaults to powers of ten from 1e-6 to 1. Of more
            than 1024 features every second one is tried, on the second half alone.

    Returns:
        One of them, or None where no fit is better than `start` on rows that it has
        not seen.
    """
    first, second = halves
    tries = [(first, second), (second, first)]
    if len(start) > _MANY_FEATURES:
        ridges, tries = ridges[::2], tries[:1]
    best = sum(seen_not.error(start) for _, seen_not in tries)
    found = None
    misses = 0
    for ridge in sorted(ridges, reverse=True):
        error = sum(
            seen_not.error(fit(seen, start, ridge, has_intercept))
            for seen, seen_not in tries
        )
        if error < best:
            best, found, misses = error, ridge, 0
        else:
            misses += found is not None
            if misses == 2:  # the error has one valley
                break
    return found


def _solve(matrix, right, penalty):
    """Ridge regression that dead and equal features do not break."""
    matrix = np.array(matrix, "float64")
    if not len(matrix):
        return np.zeros((0, right.shape[1]))
    diagonal = np.einsum("ii->i", matrix)
    # What rounding leaves of sums in float32 must not decide.
    diagonal += penalty + 1e-10 * max(diagonal.mean(), np.finfo("float64").tiny)
    try:
        factor = scipy.linalg.cho_factor(matrix, lower=True, check_finite=False)
        return scipy.linalg.cho_solve(factor, right, check_finite=False)
    except np.linalg.LinAlgError:
        return scipy.linalg.lstsq(matrix, right, cond=1e-8, check_finite=False)[0]
