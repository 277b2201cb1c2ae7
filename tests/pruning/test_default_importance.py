"""What is done with data where nothing else is said."""

import random

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.graph import ChannelGraph
from keras_sda.pruning import (
    Cost,
    PruningReport,
    make_plan,
    mask,
    prune,
    shrink,
)
from keras_sda.pruning.default_importance import WITHOUT_DATA, default_importance
from keras_sda.pruning.refit.calibration_batches import (
    calibration_batches,
    check_reconstruct,
)
from keras_sda.utils import InvalidInputError

IMAGES = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
LABELS = (IMAGES[:, 0] > 0).astype("int32")
ONE_HOT = np.eye(2, dtype="float32")[LABELS]
HALVES = [(IMAGES[:8], LABELS[:8]), (IMAGES[8:], LABELS[8:])]


def network(activation="softmax"):
    keras.utils.set_random_seed(0)
    x = keras.Input((6,))
    y = layers.Dense(16, activation="relu", name="hidden")(x)
    return keras.Model(x, layers.Dense(2, activation, name="out")(y))


@pytest.fixture
def warnings(monkeypatch):
    told = []
    monkeypatch.setattr(
        "absl.logging.warning", lambda text, *values: told.append(text % values)
    )
    return told


@pytest.mark.parametrize(
    "given, activation, loss, expected",
    [
        (None, "softmax", None, "l1"),
        (IMAGES, "softmax", None, "activation"),
        ((IMAGES, LABELS), "softmax", None, "taylor"),
        # What two numbers mean that add up to nothing is not known.
        ((IMAGES, LABELS), "relu", None, "activation"),
        ((IMAGES, ONE_HOT), "relu", "mse", "taylor"),
        (HALVES, "softmax", None, "taylor"),
    ],
)
def test_the_criterion_goes_by_what_there_is(given, activation, loss, expected):
    model = network(activation)
    assert default_importance(ChannelGraph(model), given, loss)[0] == expected
    settings = make_plan(model, macs=0.6, data=given, loss=loss).settings
    assert settings["importance"] == expected


def test_the_loss_of_the_compiled_model_counts():
    model = network("relu")
    model.compile(loss="mse")
    plan = make_plan(model, macs=0.6, data=(IMAGES, ONE_HOT))
    assert plan.settings["importance"] == "taylor"


def test_an_iterator_loses_nothing():
    batches = [(IMAGES[k : k + 16], LABELS[k : k + 16]) for k in range(0, 64, 16)]
    one = make_plan(network(), macs=0.6, data=iter(batches))
    assert one.settings["importance"] == "taylor"
    assert one.remove == make_plan(network(), macs=0.6, data=batches).remove
    with pytest.raises(InvalidInputError, match="is empty"):
        make_plan(network(), macs=0.6, data=iter([]))


def test_data_fit_the_kernels_unless_told_otherwise():
    model, data = network(), (IMAGES, LABELS)
    fitted = prune(model, macs=0.5, data=data)
    assert [row.layer for row in fitted.report.refits] == ["out"]
    assert fitted.report.settings["reconstruct"]
    cut = prune(model, macs=0.5, data=data, reconstruct=False)
    assert cut.plan.remove == fitted.plan.remove and not cut.report.refits
    for a, b in zip(cut.model.weights, shrink(model, cut.plan).weights, strict=True):
        np.testing.assert_array_equal(a, b)
    whole, small = (m.predict(IMAGES, verbose=0) for m in (model, fitted.model))
    as_cut = cut.model.predict(IMAGES, verbose=0)
    assert np.abs(whole - small).mean() < np.abs(whole - as_cut).mean()
    # A criterion of weights: the data are for the kernels.
    assert prune(model, macs=0.5, importance="l1", data=IMAGES).report.refits


def test_what_can_be_read_once_fits_no_kernels():
    result = prune(network(), macs=0.5, data=iter([(IMAGES, LABELS)]))
    assert result.plan.settings["importance"] == "taylor"
    assert not result.report.refits


def test_without_data_one_line_says_what_that_costs(warnings):
    prune(network(), macs=0.7)
    assert warnings == [f"{WITHOUT_DATA} Pass `data`, or train the result."]
    warnings.clear()
    prune(network(), macs=0.7, importance="l1")
    prune(network(), macs=0.7, data=(IMAGES, LABELS))
    prune(network(), macs=0.7, fine_tune=lambda model: None)
    assert not any(WITHOUT_DATA in text for text in warnings)


def test_the_report_says_what_became_of_the_loss(tmp_path):
    model, data = network(), (IMAGES, LABELS)
    result = prune(model, macs=0.5, data=data)
    losses = result.report.losses
    entropy = keras.losses.SparseCategoricalCrossentropy()
    for key, one in (
        ("before", model),
        ("cut", mask(model, result.plan)),
        ("reconstructed", result.model),
    ):
        expected = float(entropy(LABELS, one.predict(IMAGES, verbose=0)))
        assert losses[key] == pytest.approx(expected, rel=1e-4), key
    text = f"{losses['cut']:.3g} cut, {losses['reconstructed']:.3g} reconstructed"
    assert text in result.report.to_text()
    result.report.save(tmp_path)
    assert PruningReport.load(tmp_path).losses == losses
    assert prune(model, macs=0.5, data=IMAGES).report.losses == {}
    kept = [prune(model, macs=0.5, data=data, folder=tmp_path / "run") for _ in "ab"]
    assert kept[0].report.losses == kept[1].report.losses == losses


def test_a_fit_that_does_not_help_is_told():
    model = network()
    said = {"before": 0.1, "cut": 3.0, "reconstructed": 0.6, "chance": 0.7}
    (text,) = PruningReport.of(model, model, losses=said).warnings
    assert "the loss is 0.6, where it was 0.1" in text and "steps" in text
    assert not PruningReport.of(model, model, losses={**said, "chance": 2}).warnings


def test_images_alone_for_a_compiled_model():
    """Its loss has no targets to look at."""
    model = network()
    model.compile(loss="sparse_categorical_crossentropy")
    assert prune(model, macs=0.5, data=IMAGES).plan.settings["importance"] == (
        "activation"
    )


def test_what_nested_models_hide_is_not_asked_for():
    x = keras.Input((6,))
    y = layers.Dense(8, activation="relu")(x)
    inner = keras.Model(y, layers.Dense(8, activation="relu")(y), name="inner")
    model = keras.Model(x, layers.Dense(2)(inner(layers.Dense(8)(x))))
    result = prune(model, macs=0.6, data=IMAGES)
    assert result.plan.settings["importance"] == "l1" and result.report.refits


def test_a_plan_that_knows_a_loss_is_replayed_with_a_criterion_of_weights():
    model, data = network(), (IMAGES, LABELS)
    plan = make_plan(model, macs=0.5, data=data)
    assert "loss" in plan.expected
    for given in (data, IMAGES):
        result = prune(
            model, macs=0.5, importance="l1", data=given,
            planner=lambda model, **arguments: plan,
        )  # fmt: skip
        assert result.plan.remove == plan.remove
        assert bool(result.report.losses) == (given is data)


def test_targets_that_do_not_fit_cost_the_note_and_not_the_run():
    wrong = (IMAGES, np.zeros((64, 7), "float32"))
    result = prune(network(), macs=0.5, importance="l1", data=wrong)
    assert result.report.refits and not result.report.losses


class Units(Cost):
    name = "loss"

    def count(self, kept):
        return 1.0


def test_a_cost_of_the_name_of_a_note_is_refused():
    with pytest.raises(InvalidInputError, match="not macs, params, latency or loss"):
        make_plan(network(), budget=[(Units(), 0.5)])


def test_an_iterator_is_not_read_for_two_ends():
    x = keras.Input((6,))
    y = layers.Dense(6, activation="relu")(x)
    y = layers.Add()([y, layers.Dense(6)(y)])
    model = keras.Model(x, layers.Dense(2, activation="softmax")(y))
    with pytest.raises(InvalidInputError, match="both look at it"):
        make_plan(model, macs=0.9, blocks=1, data=iter([(IMAGES, LABELS)]))


def test_a_stream_that_never_ends_gives_its_first_samples():
    def forever():
        while True:
            yield IMAGES[:16], LABELS[:16]

    class Endless(keras.utils.PyDataset):
        num_batches = None

        def __getitem__(self, index):
            return IMAGES[:16], LABELS[:16]

    for data in (forever(), Endless()):
        batches = calibration_batches(data, network(), max_samples=40)
        assert sum(len(batch) for batch in batches) == 40


def test_a_killed_step_draws_what_a_whole_one_draws(tmp_path):
    """Whether its plan was made or read."""
    x = keras.Input((6,))
    y = layers.Dense(16, activation="relu")(x)
    y = layers.Add(name="sum")([y, layers.Dense(16)(layers.Dropout(0.5)(y))])
    model = keras.Model(x, layers.Dense(2, activation="softmax")(y))
    drawn = []

    def fine_tune(small):
        drawn.append((random.random(), np.random.random()))
        if len(drawn) == 2:
            raise KeyboardInterrupt

    settings = {
        "macs": 0.6, "data": (IMAGES, LABELS), "fine_tune": fine_tune,
        "fine_tune_last": True, "blocks": ["sum"],
    }  # fmt: skip
    prune(model, **settings, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        prune(model, **settings, folder=tmp_path / "killed")
    prune(model, **settings, folder=tmp_path / "killed")
    assert drawn[0] == drawn[1] == drawn[2]


def test_a_target_out_of_reach_is_known_before_the_first_training():
    """Also where the blocks are chosen in the first step."""
    x = keras.Input((6,))
    y = layers.Dense(16, activation="relu")(x)
    y = layers.Add(name="sum")([y, layers.Dense(16)(y)])
    model = keras.Model(x, layers.Dense(2, activation="softmax")(y))
    trained = []
    with pytest.raises(InvalidInputError, match="The target cannot be reached"):
        prune(
            model, params=0.03, min_channels=2, steps=3, blocks="auto",
            data=(IMAGES, LABELS), fine_tune=trained.append,
        )  # fmt: skip
    assert not trained


def test_a_training_leaves_nothing_of_an_iterator():
    images = iter([IMAGES])
    with pytest.raises(InvalidInputError, match="the training has read"):
        check_reconstruct(True, images, is_used=True, is_read=True)
    assert check_reconstruct(None, IMAGES, is_used=True, is_read=True)
    assert not check_reconstruct(False, images, is_used=True, is_read=True)
