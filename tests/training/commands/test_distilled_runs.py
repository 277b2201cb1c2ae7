"""Fine-tuning with the whole network as teacher, in all commands that have it."""

import dataclasses
import json
import sys

import keras
import numpy as np
import pytest
from training.tiny_group_run import group_tiny
from training.tiny_search_run import search_tiny, tiny_classifier

from keras_sda.objectives import Distillation
from keras_sda.runs.history_file import HistoryFile
from keras_sda.tasks import Classification
from keras_sda.training import (
    RECIPES,
    PruneOptions,
    fine_tune_classifier,
    load_image_dataset,
    prune_classifier,
)
from keras_sda.utils import InvalidInputError

layers = keras.layers
SMALL = {"max_train_examples": 64, "batch_size": 32, "fine_tune_epochs": 1}


def network(width, end=None, units=10):
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(width, 3, strides=2)(layers.Rescaling(1 / 16)(inputs))
    x = layers.Flatten()(layers.ReLU()(layers.BatchNormalization()(x)))
    return keras.Model(inputs, layers.Dense(units, activation=end)(x))


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Tracing would take longer than the few steps of these tests."""
    compile_ = keras.Model.compile
    monkeypatch.setattr(
        keras.Model,
        "compile",
        lambda self, *given, **options: compile_(
            self, *given, **{**options, "run_eagerly": True}
        ),
    )


def few_digits(name, **options):
    """A dataset with a few test images, as there are few to train on."""
    data = load_image_dataset(name, **options)
    return dataclasses.replace(data, test_split=data.test_split.take(32))


@pytest.fixture(scope="module")
def digits():
    return few_digits("digits", max_train_examples=96)


def train(folder, data, teacher_seed=1, **options):
    keras.utils.set_random_seed(teacher_seed)
    teacher = network(8, "softmax")
    keras.utils.set_random_seed(2)
    student = network(3, "softmax")
    rows = fine_tune_classifier(
        student, data, 8, RECIPES["digits"], 2, folder, batch_size=32,
        optimizer="adamw", distill=Distillation(teacher, 0.7), **options,
    )  # fmt: skip
    return student, rows


def test_an_interrupted_training_ends_in_the_same_bits(digits, tmp_path, monkeypatch):
    whole, rows = train(tmp_path / "whole", digits)
    assert len(rows) == 2 and whole.optimizer.iterations == 6
    assert type(whole.optimizer) is keras.optimizers.AdamW
    begin = HistoryFile.on_epoch_begin

    def stop(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt
        begin(self, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(HistoryFile, "on_epoch_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut", digits)
    with pytest.raises(InvalidInputError, match="distill was"):
        train(tmp_path / "cut", digits, teacher_seed=5)
    resumed, _ = train(tmp_path / "cut", digits)
    for one, other in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_logits_mean_what_the_task_says(digits, tmp_path):
    keras.utils.set_random_seed(1)
    teacher, student = network(8), network(3)
    rows = fine_tune_classifier(
        student, digits, 8, RECIPES["digits"], 1, tmp_path, activation="softmax",
        distill=Distillation(teacher),
    )  # fmt: skip
    assert np.isfinite(rows[0]["loss"])
    with pytest.raises(InvalidInputError, match="has outputs of the shapes"):
        fine_tune_classifier(
            student, digits, 8, RECIPES["digits"], 1, tmp_path / "b",
            activation="softmax", distill=Distillation(network(8, units=5)),
        )  # fmt: skip


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    tiny_classifier(dropout=0.0).save(path)
    return path


def prune_tiny(model, output, **options):
    return prune_classifier(
        PruneOptions(
            model=str(model), output=str(output), dataset="digits", macs=0.6, **options
        )
    )


RUNS = {
    "prune": (prune_tiny, {}),
    "group": (
        group_tiny, {"scheme": "global", "local_epochs": None, "form": "none"}
    ),
    "search": (search_tiny, {"weight_epochs": 0, "architecture_epochs": 1}),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["prune", *(pytest.param(x, marks=pytest.mark.large) for x in ("group", "search"))],
)
def test_the_whole_network_teaches(name, model_file, monkeypatch, tmp_path):
    run, options = RUNS[name]
    wrap, seen = Distillation.wrap, []

    def look(self, student):
        seen.append((self, self.teacher.get_weights(), student.count_params()))
        return wrap(self, student)

    monkeypatch.setattr(Distillation, "wrap", look)
    module = sys.modules["keras_sda.training.commands.classifier_run"]
    monkeypatch.setattr(module, "load_image_dataset", few_digits)
    run(model_file, tmp_path / "run", **SMALL, distill=0.6, **options)
    ((used, before, _),) = seen
    assert (used.weight, used.temperature) == (0.6, 4.0)
    whole = keras.saving.load_model(model_file)
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 1))
    np.testing.assert_allclose(used.teacher([images]), whole([images]), atol=1e-6)
    for one, other in zip(before, used.teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["distill"] == 0.6
    small = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert type(small) is type(whole)
    assert "objectives" not in small.to_json()
    assert not any("teacher" in path.name for path in (tmp_path / "run").rglob("*"))


@pytest.mark.parametrize("loss, share", [(1.1, 0.5), (1.2, 0.0), (float("nan"), 0.0)])
def test_a_network_that_has_learned_enough_teaches(
    loss, share, model_file, monkeypatch, tmp_path
):
    asked = []

    def measured(self, model, stream):
        asked.append(sum(len(images) for images, _ in stream))
        return loss, 2.3

    monkeypatch.setattr(Classification, "loss_and_chance", measured)
    module = sys.modules["keras_sda.training.commands.classifier_run"]
    monkeypatch.setattr(module, "load_image_dataset", few_digits)
    lines = []
    metrics = prune_classifier(
        PruneOptions(
            model=str(model_file), output=str(tmp_path / "run"), dataset="digits",
            macs=0.6, steps=2, **SMALL,
        ),
        lines.append,
    )  # fmt: skip
    assert metrics["distill"] == share and asked == [64]
    (line,) = [line for line in lines if "fine-tuning the whole network" in line]
    assert ("does not teach" in line) == (share == 0)


def test_whether_it_teaches_is_not_asked_where_it_is_said(
    model_file, monkeypatch, tmp_path
):
    monkeypatch.setattr(Classification, "loss_and_chance", None)
    module = sys.modules["keras_sda.training.commands.classifier_run"]
    monkeypatch.setattr(module, "load_image_dataset", few_digits)
    metrics = prune_tiny(model_file, tmp_path / "run", **SMALL, distill=0.0)
    assert metrics["distill"] == 0.0
    metrics = prune_tiny(
        model_file, tmp_path / "cut", **{**SMALL, "fine_tune_epochs": 0,
                                         "batch_size": None},
    )  # fmt: skip
    assert "distill" not in metrics
