"""What a network costs, in the loss: vectors and bad input."""

import pathlib

import keras
import numpy as np
import pytest

from keras_sda.search import cost_loss, expected_cost
from keras_sda.utils import InvalidInputError

VECTORS = pathlib.Path(__file__).parents[2] / "fixtures" / "dev_costs.npz"


@pytest.fixture(scope="module")
def vectors():
    return dict(np.load(VECTORS))


def choices(vectors):
    alphas = [vectors[f"x_alphas{k}"] for k in range(3)]
    return alphas, [vectors[f"x_table{k}"] for k in range(3)]


def test_expected_cost_is_that_of_the_vectors(vectors):
    cost = expected_cost(*choices(vectors), fixed=vectors["x_fixed"])
    np.testing.assert_allclose(float(cost), vectors["want_cost"], rtol=1e-6)


def test_its_gradient_too(vectors):
    """p (T - sum of p T), for the first place."""
    alphas, costs = choices(vectors)
    first = keras.Variable(alphas[0], dtype="float32")
    import tensorflow as tf

    with tf.GradientTape() as tape:
        cost = expected_cost([first, *alphas[1:]], costs, vectors["x_fixed"])
    found = tape.gradient(cost, first.value)
    np.testing.assert_allclose(found, vectors["want_gradient0"], rtol=1e-5)


def test_forms_are_those_of_the_vectors(vectors):
    cost = float(vectors["want_cost"])
    found = cost_loss(0.7, cost, 9.0, "log_power", exponent=0.6)
    np.testing.assert_allclose(float(found), vectors["want_log_power"], rtol=1e-6)
    found = [cost_loss(0.7, cost, ref, "power", exponent=0.02) for ref in (2, 9)]
    np.testing.assert_allclose(np.array(found), vectors["want_mnas"], rtol=1e-6)


def test_by_hand():
    cost = expected_cost([np.log([1, 3])], [(2, 6)], fixed=1)
    assert float(cost) == pytest.approx(6.0, rel=1e-6)
    assert float(cost_loss(2.0, cost, price=0.5)) == pytest.approx(5.0, rel=1e-6)
    relative = cost_loss(2.0, cost, 4.0, "relative", price=0.5)
    assert float(relative) == pytest.approx(2.25, rel=1e-6)
    log_power = cost_loss(2.0, 100.0, 10.0, "log_power", price=1.0, exponent=1.0)
    assert float(log_power) == pytest.approx(4.0, rel=1e-6)


@pytest.mark.parametrize("reference", [None, 0, -1.0, float("nan"), True, "5"])
def test_a_reference_is_needed(reference):
    for form in ("relative", "power", "log_power"):
        with pytest.raises(InvalidInputError, match="needs `reference`"):
            cost_loss(1.0, 2.0, reference, form)
    with pytest.raises(InvalidInputError, match="a number above 1"):
        cost_loss(1.0, 2.0, 1.0, "log_power")


def test_wrong_arguments():
    with pytest.raises(InvalidInputError, match="`form` must be one of"):
        cost_loss(1.0, 2.0, form="cubic")
    with pytest.raises(InvalidInputError, match=r"lengths \[2\] and \[3\]"):
        expected_cost([[0.0, 0.0]], [[1.0, 2.0, 3.0]])
