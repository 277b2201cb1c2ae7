"""Fits from second moments, against reference vectors and by hand."""

import pathlib

import numpy as np
import pytest

from keras_sda.pruning.refit import least_squares
from keras_sda.pruning.refit.least_squares import (
    Moments,
    choose_ridge,
    correction,
    fit,
)

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures"


def moments_of(x, y):
    return Moments(x.T @ x, x.T @ y, float((y**2).sum()))


def test_correction_gives_the_reference_kernel():
    data = np.load(FIXTURES / "dev_reconstruction.npz")
    rows = data["x_activations"].reshape(-1, 8)
    moments = rows.T @ rows / len(rows)
    np.testing.assert_allclose(moments, data["want_second_moments"], atol=1e-12)
    kept = np.isin(np.arange(8), data["x_kept"])
    change = correction(moments, kept, float(data["x_ridge"]))
    kernel = np.einsum("kc,hwcf->hwkf", change, data["x_kernel"])
    np.testing.assert_allclose(kernel, data["want_kernel"], atol=1e-6)


def test_correction_by_hand():
    # The third channel is the first and twice the second.
    a = np.array([[1, 0, 1], [0, 1, 2], [1, 1, 3], [2, 1, 4]], float)
    change = correction(a.T @ a / 4, np.array([True, True, False]), 0.0)
    np.testing.assert_allclose(change @ [[1.0], [2.0], [10.0]], [[11], [22]], atol=1e-6)


@pytest.mark.parametrize("ridge", [0.0, 1e-4, 1e-1, 10.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_fit_is_never_worse_than_its_start(ridge, seed):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(40, 6))
    x[:, 3] = 0.0  # a dead channel
    x[:, 4] = x[:, 5]  # and two that are the same
    y, start = generator.normal(size=(40, 3)), generator.normal(size=(6, 3))
    moments = moments_of(x, y)
    weights = fit(moments, start, ridge, False)
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(
        moments.error(weights), ((x @ weights - y) ** 2).sum(), rtol=1e-9
    )
    assert moments.error(weights) <= moments.error(start) * (1 + 1e-9)


def test_the_constant_is_free():
    x = np.array([[1.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    y = 2 * x[:, :1] + 7
    start = np.array([[2.0], [0.0]])
    weights = fit(moments_of(x, y), start, 1e9, True)
    np.testing.assert_allclose(weights, [[2.0], [7.0]], atol=1e-6)


def test_the_ridge_is_chosen_on_samples_not_seen():
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(20, 2))
    start = truth + 0.1 * generator.normal(size=(20, 2))

    def halves(count, noise):
        found = []
        for _ in range(2):
            x = generator.normal(size=(count, 20))
            found.append(
                moments_of(x, x @ truth + noise * generator.normal(size=(count, 2)))
            )
        return found

    many, few = halves(2000, 0.01), halves(21, 3.0)
    assert choose_ridge(many, start, False) <= 1e-3
    # Twenty weights from twenty-one noisy rows: better as they were.
    assert choose_ridge(few, start, False) in (None, 1.0)


def test_the_ridge_of_many_features_is_that_of_the_second_half(monkeypatch):
    generator = np.random.default_rng(1)
    start = generator.normal(size=(20, 2))
    x = generator.normal(size=(2, 2000, 20))
    other = start + generator.normal(size=start.shape)
    # What the first half says holds for the second one, but not the other way round.
    first, second = (moments_of(a, a @ other) for a in x)
    wrong = moments_of(x[0], x[0] @ (2 * start - other))
    monkeypatch.setattr(least_squares, "_MANY_FEATURES", 19)
    assert choose_ridge((first, second), start, False) == 1e-6
    assert choose_ridge((wrong, second), start, False) is None
    errors = {
        ridge: second.error(fit(first, start, ridge, False))
        for ridge in least_squares.RIDGES[::2]
    }
    assert min(errors, key=errors.get) == 1e-6
    assert choose_ridge((first, second), start, False, (1.0, 0.5, 1e-2)) == 1e-2


def test_moments_grow_by_rows():
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(9, 3)), generator.normal(size=(9, 2))
    grown = Moments.of_no_rows(3, 2)
    for rows in (slice(0, 4), slice(4, 9)):
        grown.add(x[rows].astype("float32"), y[rows].astype("float32"))
    whole = moments_of(x, y)
    np.testing.assert_allclose(grown.gram, whole.gram, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(grown.cross, whole.cross, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(grown.power, (y**2).sum(0), rtol=1e-5)
    assert grown.gram.dtype == grown.cross.dtype == "float64"
