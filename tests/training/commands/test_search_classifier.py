"""Runs of `keras-sda search`, from a saved model and from a name."""

import csv
import json
import pathlib
import signal

import keras
import numpy as np
import pytest
from training.tiny_search_run import search_tiny, tiny_classifier

from keras_sda import applications
from keras_sda.data.images.load_image_dataset import load_image_dataset
from keras_sda.layers import ScaledSigmoidGate
from keras_sda.pruning import PruningReport
from keras_sda.search import derive
from keras_sda.training import SearchOptions, measure_accuracy, resumed_options
from keras_sda.utils import InvalidInputError

PROGRAM = pathlib.Path(__file__).parents[1] / "tiny_search_run.py"
FILES = {
    "curves.png", "gated.keras", "gates.csv", "history.csv", "labels.txt", "logs",
    "metrics.json", "model.keras", "run.json", "report.csv", "report.json",
    "report.md", "report.png", "search.csv", "search.png",
}  # fmt: skip


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    tiny_classifier().save(path)
    return path


@pytest.fixture(scope="module")
def whole(model_file, tmp_path_factory):
    """A run without interruption."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    search_tiny(model_file, folder)
    return folder


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_files_of_a_run(whole):
    assert {path.name for path in whole.iterdir()} == FILES
    metrics = json.loads((whole / "metrics.json").read_text())
    small = keras.saving.load_model(whole / "model.keras")
    assert small.count_params() == metrics["params"] < metrics["params_before"]
    assert not any(isinstance(x, ScaledSigmoidGate) for x in small.layers)
    assert abs(metrics["macs"] / metrics["macs_before"] - 0.6) < 0.05
    assert set(metrics["seconds"]) == {"weights", "architecture", "fine_tune"}
    assert [row["stage"] for row in rows(whole / "history.csv")] == list("112223")
    assert [row["epoch"] for row in rows(whole / "search.csv")] == list("123")
    assert len(rows(whole / "gates.csv")) == 3 * 2
    report = PruningReport.load(whole)
    assert report.settings["target_macs"] == 0.6
    assert report.macs_after == metrics["macs"]
    data = load_image_dataset("digits")
    accuracy = measure_accuracy(small, data, 32)["accuracy"]
    np.testing.assert_allclose(accuracy, metrics["accuracy"], atol=1e-6)
    labels = (whole / "labels.txt").read_text().split()
    assert labels == [str(number) for number in range(10)]


def test_saved_gates_can_be_cut_elsewhere(whole):
    gated = keras.saving.load_model(whole / "gated.keras")
    shares = [
        derive(gated, threshold, max_half_open=1.0).report.macs_after
        for threshold in (0.1, 0.9)
    ]
    assert shares[0] >= shares[1] > 0


@pytest.mark.large
def test_killed_run_keeps_the_same_channels(model_file, whole, run_python, tmp_path):
    folder = tmp_path / "killed"
    result = run_python([PROGRAM, model_file, folder, "kill_at=1"], check=False)
    assert result.returncode == -signal.SIGKILL
    backup = folder / "backup" / "architecture"
    assert [path.name for path in backup.glob("*.h5")] == ["epoch0001.weights.h5"]
    with pytest.raises(InvalidInputError, match="is not empty"):
        search_tiny(model_file, folder)
    with pytest.raises(InvalidInputError, match="target_macs was 0.6, now 0.5"):
        search_tiny(model_file, folder, resume=True, target_macs=0.5)
    options = resumed_options(folder, {}, SearchOptions)
    assert options.resume and options.target_macs == 0.6
    search_tiny(model_file, folder, resume=True)
    assert not (folder / "backup").exists()
    one, other = (
        keras.saving.load_model(path / "model.keras") for path in (whole, folder)
    )
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("search.csv", "gates.csv"):
        assert (whole / name).read_text() == (folder / name).read_text()
    epochs = [row["epoch"] for row in rows(folder / "history.csv")]
    assert epochs == [row["epoch"] for row in rows(whole / "history.csv")]
    messages = []
    again = search_tiny(model_file, folder, resume=True, log=messages.append)
    assert "nothing to resume" in messages[0]
    assert again == json.loads((folder / "metrics.json").read_text())


def test_named_network_and_price(monkeypatch, tmp_path):
    """Built for the dataset, all stages but the last; a recipe of a search."""
    monkeypatch.setattr(applications, "get_model", lambda name: tiny_classifier)
    metrics = search_tiny(
        "Tiny", tmp_path / "run", lambda_arch=1e-3, recipe="resnet56_cifar",
        weight_epochs=1, architecture_epochs=1, fine_tune_epochs=0, residual="joint",
        max_half_open=1.0, threshold=0.3, max_train_examples=64,
    )  # fmt: skip
    assert metrics["accuracy"] == metrics["accuracy_derived"]
    assert metrics["epochs"] == {"weights": 1, "architecture": 1, "fine_tune": 0}
    names = {row["gate"] for row in rows(tmp_path / "run" / "gates.csv")}
    assert "bn2_gate" in names and len(names) == 2  # one for both writers of the sum
    history = rows(tmp_path / "run" / "history.csv")
    rates = [float(row["learning_rate"]) for row in history]
    np.testing.assert_allclose(rates, [0.1, 0.05], rtol=1e-6)


def test_bad_input_leaves_nothing(model_file, tmp_path):
    chain = keras.Sequential([keras.Input((32, 32, 1)), keras.layers.Conv2D(10, 32)])
    chain.add(keras.layers.Flatten())
    chain.save(tmp_path / "plain.keras")
    dense = keras.Sequential([keras.Input((32, 32, 1)), keras.layers.Conv2D(4, 3)])
    dense.add(keras.layers.BatchNormalization())
    dense.add(keras.layers.Conv2D(10, 1))
    dense.save(tmp_path / "maps.keras")
    output = tmp_path / "run"
    for model, options, text in (
        (tmp_path / "plain.keras", {}, "no BatchNormalization"),
        (tmp_path / "maps.keras", {}, "does not return classes"),
        (model_file, {"target_macs": 0.001}, "out of reach"),
        (model_file, {"exclude": "nothing"}, "nothing"),
        (model_file, {"learning_rate": 1e30, "weight_epochs": 1}, "diverged"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            search_tiny(model, output, **options)
        assert not output.exists(), text
    with pytest.raises(InvalidInputError, match="holds the model to search"):
        search_tiny(model_file, model_file.parent)


def test_half_open_gates_can_be_closed_on_resumption(model_file, tmp_path):
    options = {
        "lambda_arch": 0.0, "weight_epochs": 0, "architecture_epochs": 1,
        "architecture_learning_rate": 1e-7, "fine_tune_epochs": 0,
        "max_train_examples": 64,
    }  # fmt: skip
    with pytest.raises(InvalidInputError, match="20 of 20 gates are half open"):
        search_tiny(model_file, tmp_path / "run", **options)
    metrics = search_tiny(
        model_file, tmp_path / "run", **options, resume=True, max_half_open=1.0,
        threshold=0.3,
    )  # fmt: skip
    assert metrics["channels"] == 20


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "Received neither"),
        ({"target_macs": 0.5, "lambda_arch": 1e-4}, "Received both"),
        ({"lambda_arch": -1.0}, "`lambda_arch` must be a number from 0 up"),
        ({"target_macs": 0.0}, "`target_macs` must be a share"),
        ({"target_macs": 0.5, "residual": "official"}, "residual='official'"),
        ({"target_macs": 0.5, "threshold": 1.0}, "`threshold`"),
        ({"target_macs": 0.5, "max_half_open": 2.0}, "`max_half_open`"),
        ({"target_macs": 0.5, "weight_epochs": -1}, "`weight_epochs`"),
        ({"target_macs": 0.5, "architecture_epochs": 0}, "`architecture_epochs`"),
        ({"target_macs": 0.5, "recipe": "resnet5_cifar"}, "resnet56_cifar"),
        ({"target_macs": 0.5, "model": ""}, "`model` is missing"),
        ({"target_macs": 0.5, "virtual_devices": 2}, "needs `strategy`"),
        ({"target_macs": 0.5, "resume": True, "overwrite": True}, "exclude"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(InvalidInputError, match=text):
        SearchOptions(**{"model": "model.keras", **options})
