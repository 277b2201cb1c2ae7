"""The whole way: plan, remove, fine-tune, report; and what is refused."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from keras_sda.analysis import profile
from keras_sda.pruning import CRITERIA, PruningPlan, mask, prune, shrink
from keras_sda.utils import InvalidInputError

layers = keras.layers
LOSS = "sparse_categorical_crossentropy"


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    images = (data.images[..., None] / 16).astype("float32")
    return (images[:1400], data.target[:1400]), (images[1400:], data.target[1400:])


def residual_network():
    x = keras.Input((8, 8, 1))
    y = layers.Conv2D(24, 3, padding="same", name="stem")(x)
    y = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(y))
    for number in range(2):
        z = layers.Conv2D(32, 3, padding="same", name=f"wide{number}")(y)
        z = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(z))
        z = layers.Conv2D(24, 3, padding="same", name=f"narrow{number}")(z)
        y = layers.ReLU()(layers.Add()([y, layers.BatchNormalization(momentum=0.8)(z)]))
    y = layers.GlobalAveragePooling2D()(y)
    return keras.Model(x, layers.Dense(10, activation="softmax", name="out")(y))


def train(model, data, epochs, rate=3e-3):
    model.compile(keras.optimizers.Adam(rate), LOSS, metrics=["accuracy"])
    model.fit(*data, epochs=epochs, batch_size=64, verbose=0)


@pytest.fixture(scope="module")
def trained(digits):
    keras.utils.set_random_seed(0)
    model = residual_network()
    train(model, digits[0], 6)
    return model


def test_one_shot(trained):
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
    before = trained.predict(images, verbose=0)
    result = prune(trained, macs=0.5)
    assert profile(result.model).macs <= 0.5 * profile(trained).macs
    assert result.plans == (result.plan,)
    np.testing.assert_allclose(
        result.model.predict(images, verbose=0),
        mask(trained, result.plan).predict(images, verbose=0),
        atol=1e-5,
    )
    np.testing.assert_array_equal(trained.predict(images, verbose=0), before)
    assert result.report.macs_after == profile(result.model).macs
    assert result.report.settings["importance"] == "l1"


def test_plan_replays_weight_for_weight(trained, tmp_path):
    result = prune(trained, macs=0.6, params=0.7, importance="geometric_median")
    result.plan.save(tmp_path / "plan.json")
    again = shrink(trained, PruningPlan.load(tmp_path / "plan.json"))
    for a, b in zip(result.model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_criterion_by_name_and_a_function(trained, digits):
    kept = {}
    for name in (*CRITERIA, lambda group: np.arange(group.num_channels)):
        looks = isinstance(name, str) and CRITERIA[name].needs
        data = digits[0] if looks else None
        result = prune(trained, macs=0.5, importance=name, data=data)
        share = result.report.macs_after / result.report.macs_before
        assert 0.4 < share <= 0.5
        kept[name] = result.plan.remove
    assert kept["l1"] != kept["random"] != kept["taylor"] != kept["activation"]


def test_pruning_and_fine_tuning_keep_the_accuracy(trained, digits):
    """On real digits: half of the work goes, the accuracy stays."""
    train_part, test_part = digits
    before = trained.evaluate(*test_part, verbose=0)[1]
    called = []

    def fine_tune(model):
        called.append(profile(model).macs)
        train(model, train_part, 2, rate=1e-3)

    result = prune(
        trained,
        macs=0.5,
        importance="taylor",
        data=train_part,
        steps=2,
        fine_tune=fine_tune,
    )
    whole = profile(trained).macs
    assert len(called) == 1 and len(result.plans) == 2
    # The target shrinks by the same factor in every step.
    np.testing.assert_allclose(called[0] / whole, 0.5**0.5, atol=0.03)
    assert 0.45 * whole < profile(result.model).macs <= 0.5 * whole
    fine_tune(result.model)
    after = result.model.evaluate(*test_part, verbose=0)[1]
    assert before > 0.85 and after > before - 0.05, (before, after)


def test_iterative_plan_is_about_the_original(trained):
    result = prune(trained, params=0.4, steps=3)
    small = shrink(trained, result.plan)
    shapes = [tuple(w.shape) for w in small.weights]
    assert shapes == [tuple(w.shape) for w in result.model.weights]
    for a, b in zip(small.weights, result.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)  # there was no training in between
    assert result.plan.settings["steps"] == 3 and result.plan.settings["params"] == 0.4
    assert result.plan.expected["params"] == small.count_params()
    assert result.plan.expected["params_before"] == trained.count_params()


def test_absolute_targets_in_steps(trained):
    whole = profile(trained).macs
    result = prune(trained, macs=round(0.6 * whole), steps=2)
    assert 0.55 * whole < result.report.macs_after <= 0.6 * whole


def test_fine_tune_is_called_as_documented(trained):
    calls = []

    def fine_tune(model):
        calls.append(model)
        return keras.models.clone_model(model)

    result = prune(trained, macs=0.6, steps=3, fine_tune=fine_tune)
    assert len(calls) == 2
    result = prune(trained, macs=0.6, steps=1, fine_tune=fine_tune, fine_tune_last=True)
    assert len(calls) == 3 and result.model is not calls[-1]
    assert prune(trained, macs=0.8, fine_tune=fine_tune) and len(calls) == 3


def test_report_says_what_is_untouchable(trained):
    rows = {row.name: row for row in prune(trained, macs=0.7).report.layers}
    assert rows["out"].untouchable == 10
    assert rows["stem"].channels_after == rows["narrow1"].channels_after < 24


def fails(match, model, **arguments):
    with pytest.raises(InvalidInputError, match=match):
        prune(model, **arguments)


def test_bad_input(trained):
    fails("must be given", trained)
    fails("the floor is macs=", trained, macs=0.0001)
    fails("the floor is", trained, macs=0.3, exclude=["stem", "wide0", "wide1"])
    fails("at most 1", trained, macs=1.5)
    fails("at most 1", trained, macs=1.5, steps=2)
    fails("must not exceed", trained, macs=10**12)
    fails("must not exceed", trained, macs=10**12, steps=2)
    fails("positive number", trained, params=-1)
    fails("positive number", trained, params=float("nan"), steps=2)
    fails("must be one of", trained, macs=0.5, importance="l3")
    fails("needs `data`", trained, macs=0.5, importance="taylor")
    fails("are no layers", trained, macs=0.5, exclude=["wide7"])
    fails("`steps`", trained, macs=0.5, steps=0)
    fails("`fine_tune` must be", trained, macs=0.5, fine_tune=3)
    fails("`fine_tune_last`", trained, macs=0.5, fine_tune_last=True)
    fails("read once", trained, macs=0.5, steps=2, data=iter([]))
    fails("returned: int", trained, macs=0.5, steps=2, fine_tune=lambda model: 3)
    fails("one finite number", trained, macs=0.5, importance=lambda group: np.nan)


def test_bad_models(trained):
    class Own(keras.Model):
        def call(self, x):
            return x

    fails("subclassed", Own(), macs=0.5)
    fails("not built", keras.Sequential([layers.Dense(2)]), macs=0.5)
    fails("functional Keras model", "model.keras", macs=0.5)
    x = keras.Input((4,))
    fails("no channels", keras.Model(x, layers.Dense(2)(x)), macs=0.5)
    diverged = residual_network()
    diverged.get_layer("wide0").bias.assign(np.full(32, np.nan))
    fails("not finite", diverged, macs=0.5)
    plan = prune(trained, macs=0.5).plan
    with pytest.raises(InvalidInputError, match="the model that it was made for"):
        shrink(keras.Model(x, layers.Dense(2)(layers.Dense(3)(x))), plan)
