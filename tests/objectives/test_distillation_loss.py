"""The divergence between two classifiers, by hand."""

import keras
import numpy as np
import pytest

from keras_sda.objectives import DistillationLoss
from keras_sda.utils import InvalidInputError

RNG = np.random.default_rng(0)
TEACHER, STUDENT = (RNG.normal(0, 3, (5, 4)) for _ in range(2))


def softmax(x):
    shares = np.exp(x - x.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(kind, teacher, student, temperature):
    if kind == "softmax":
        p, q = softmax(teacher / temperature), softmax(student / temperature)
        values = (p * np.log(p / q)).sum(-1)
    else:
        p, q = sigmoid(teacher / temperature), sigmoid(student / temperature)
        values = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
        values = values.mean(-1)
    return temperature**2 * values


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_values(kind, temperature):
    expected = by_hand(kind, TEACHER, STUDENT, temperature)
    function = softmax if kind == "softmax" else sigmoid
    weights = np.array([0.0, 1, 2, 3, 0.5])
    for mine in (True, False):
        for theirs in (True, False):
            loss = DistillationLoss(kind, mine, theirs, temperature)
            given = (
                TEACHER if theirs else function(TEACHER),
                STUDENT if mine else function(STUDENT),
            )
            assert float(loss(*given)) == pytest.approx(expected.mean(), rel=1e-4)
            weighted = float(loss(*given, weights))
            assert weighted == pytest.approx((weights * expected).mean(), rel=1e-4)


def test_one_unit_is_two_classes():
    """One sigmoid says what a softmax over (0, logit) says."""
    one = DistillationLoss("sigmoid", True, True, 2.0)(TEACHER[:, :1], STUDENT[:, :1])
    pairs = (np.stack([0 * x[:, 0], x[:, 0]], -1) for x in (TEACHER, STUDENT))
    two = DistillationLoss("softmax", True, True, 2.0)(*pairs)
    assert float(one) == pytest.approx(float(two), rel=1e-5) and float(one) > 0.1


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_certain_outputs_are_finite(kind):
    loss = DistillationLoss(kind)
    sure = np.array([[1.0, 0.0]], "float16")
    assert float(loss(sure, sure)) == pytest.approx(0, abs=1e-6)
    assert np.isfinite(float(loss(sure, sure[:, ::-1])))


def test_keras_distillation_takes_logits_of_a_softmax_alone():
    """Why there is one of our own; where Keras' fits, both agree.

    Its loss has to be an object: of the name "kl_divergence", its default, it makes a
    function, which it then gives the logits as they are.
    """
    theirs = keras.distillation.LogitsDistillation(4.0, keras.losses.KLDivergence())
    loss = DistillationLoss("softmax", True, True)
    same = float(theirs.compute_loss(TEACHER, STUDENT))
    assert float(loss(TEACHER, STUDENT)) == pytest.approx(same, rel=1e-3)
    one = sigmoid(TEACHER[:, :1]), sigmoid(STUDENT[:, :1])
    assert float(theirs.compute_loss(*one)) == 0.0
    assert float(DistillationLoss("sigmoid")(*one)) > 0.1


def test_configuration_and_bad_arguments():
    loss = DistillationLoss("sigmoid", True, False, 2.0)
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.get_config() == loss.get_config()
    with pytest.raises(InvalidInputError, match="`kind` must be one of"):
        DistillationLoss("linear")
    with pytest.raises(InvalidInputError, match="`temperature` must be a positive"):
        DistillationLoss(temperature=0)
