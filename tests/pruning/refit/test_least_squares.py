"""Fits from second moments, against reference vectors and by hand."""

import pathlib

import numpy as np
import pytest

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
