"""Schedules, prices and learning rates against the reference vectors."""

import numpy as np
import pytest
from test_case import FIXTURES

from keras_sda.search.gates.gate_penalty import gate_schedule
from keras_sda.search.gates.gate_regularizer import gate_regularizer
from keras_sda.search.search_recipes import SEARCH_RECIPES
from keras_sda.search.search_stage import SearchStage
from keras_sda.utils import InvalidInputError


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(FIXTURES / "dev_dnal_gate.npz"))


def value_and_gradient(s, **kwargs):
    import tensorflow as tf

    s = tf.constant(s)
    with tf.GradientTape() as tape:
        tape.watch(s)
        value = gate_regularizer(s, **kwargs)
    return float(value), tape.gradient(value, s).numpy()


def test_gate_schedule(golden):
    for key, epochs in (("beta_schedule_10", 10), ("beta_schedule_T", 5)):
        np.testing.assert_allclose(gate_schedule(epochs), golden[key], rtol=1e-12)
    assert gate_schedule(1, final_beta=100) == [100.0]


def test_plain_price(golden):
    value, gradient = value_and_gradient(golden["s"])
    assert value == pytest.approx(float(golden["reg_plain"]), rel=1e-6)
    np.testing.assert_allclose(gradient, golden["reg_plain_grad"], atol=1e-6)
    # It does not depend on how hard the gates are.
    assert value_and_gradient(golden["s"], beta=1e4)[0] == value


def test_scaled_price(golden):
    for i, beta in enumerate(golden["beta"]):
        value, gradient = value_and_gradient(
            golden["s"], kind="scaled", beta=float(beta)
        )
        assert value == pytest.approx(golden["reg_scaled"][i], rel=1e-6)
        expected = golden["reg_scaled_grad"][i]
        np.testing.assert_allclose(gradient, expected, atol=1e-5 * expected.max())


def test_price_by_macs(golden):
    macs = np.linspace(0, 2, len(golden["s"])).astype("f")
    value, gradient = value_and_gradient(golden["s"], kind="macs", macs=macs)
    gates = 1 / (1 + np.exp(-golden["s"].astype("float64")))
    assert value == pytest.approx((macs * gates).sum(), rel=1e-6)
    expected = macs * golden["reg_plain_grad"]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize(
    "key, recipe, stage",
    [
        ("lr_resnet_finetune", "resnet50_imagenet", "fine_tune"),
        ("lr_mbv2_finetune", "mobilenet_v2_imagenet", "fine_tune"),
        ("lr_proxyless_weights", "proxyless_imagenet", "weights"),
        ("lr_proxyless_finetune", "proxyless_imagenet", "fine_tune"),
    ],
)
def test_published_learning_rates(golden, key, recipe, stage):
    stage = getattr(SEARCH_RECIPES[recipe], stage)
    assert stage.epochs == len(golden[key])
    rates = [stage.rate(epoch) for epoch in range(stage.epochs)]
    np.testing.assert_allclose(rates, golden[key], rtol=1e-6)


def test_recipes():
    for recipe in SEARCH_RECIPES.values():
        assert recipe.architecture == SearchStage(10, 0.01)
        assert recipe.threshold == 0.9 and recipe.final_beta == 1e4
        for stage in (recipe.weights, recipe.fine_tune):
            assert stage.rate(0) <= stage.learning_rate
            assert 0 < stage.rate(stage.epochs - 1) <= stage.rate(0)
            assert stage.weight_decay > 0
    # A cosine falls between two epochs too, and ends at zero.
    stage = SearchStage(4, 1.0, "cosine")
    assert stage.rate(0) > stage.rate(0.5) > stage.rate(1)
    assert stage.rate(4) == pytest.approx(0)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: gate_schedule(0), "`epochs`"),
        (lambda: gate_schedule(2.5), "`epochs`"),
        (lambda: gate_schedule(3, final_beta=1), "`final_beta`"),
        (lambda: gate_regularizer(np.zeros(2), kind="l1"), "`kind`"),
        (lambda: gate_regularizer(np.zeros(2), kind="macs"), "`macs`"),
    ],
)
def test_bad_arguments(make, text):
    with pytest.raises(InvalidInputError, match=text):
        make()
