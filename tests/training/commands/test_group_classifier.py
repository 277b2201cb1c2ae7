"""Runs of `keras-sda group`, from a saved model and from a name."""

import csv
import json
import pathlib
import signal

import keras
import numpy as np
import pytest
from training.tiny_group_run import group_tiny
from training.tiny_search_run import tiny_classifier

from keras_sda import applications
from keras_sda.data.images.load_image_dataset import load_image_dataset
from keras_sda.grouping import GroupingReport, PackingReport
from keras_sda.layers.compression.self_grouped import SelfGrouped
from keras_sda.training import GroupOptions, measure_accuracy, resumed_options
from keras_sda.utils import InvalidInputError

PROGRAM = pathlib.Path(__file__).parents[1] / "tiny_group_run.py"
FILES = {
    "curves.png", "groups.png", "history.csv", "labels.txt", "metrics.json",
    "model.keras", "run.json", "packed.keras", "packing.csv", "packing.json",
    "packing.md", "report.csv", "report.json", "report.md",
}  # fmt: skip
MIRRORED = """
import sys
sys.path.insert(0, {folder!r})
import keras
import numpy as np
from training.tiny_group_run import group_tiny
one = {{"scheme": "global", "local_epochs": None, "fine_tune_epochs": 1,
       "max_train_examples": 64}}
for name in ("mirrored", "none"):
    devices = 2 if name == "mirrored" else 0
    metrics = group_tiny(
        {model!r}, {output!r} + name, strategy=name, virtual_devices=devices,
        form="lists" if devices else "none", **one
    )
    print(name, metrics["strategy"])
    if devices:
        print("packed", metrics["accuracy"] == metrics["accuracy_packed"])
two, one = (
    keras.saving.load_model({output!r} + name + "/model.keras")
    for name in ("mirrored", "none")
)
worst = max(np.abs(np.array(a) - np.array(b)).max()
            for a, b in zip(two.weights, one.weights))
print("worst", worst)
for layer in two.layers:
    if hasattr(layer, "mask"):
        print("mask", layer.name, (np.array(layer.mask) == 0).mean(),
              (np.array(layer.mask) != np.array(one.get_layer(layer.name).mask)).sum())
"""


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    tiny_classifier(dropout=0.0).save(path)
    return path


@pytest.fixture(scope="module")
def runs(model_file, tmp_path_factory, run_python):
    """A whole run, and one that was killed in the second epoch of the last training."""
    folder = tmp_path_factory.mktemp("runs")
    paths = folder / "whole", folder / "killed"
    group_tiny(model_file, paths[0])
    result = run_python([PROGRAM, model_file, paths[1]], check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr
    return paths


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def masks(model):
    return {
        x.name: np.array(x.mask) for x in model.layers if isinstance(x, SelfGrouped)
    }


def test_files_of_a_run(runs):
    whole = runs[0]
    assert {path.name for path in whole.iterdir()} == FILES
    metrics = json.loads((whole / "metrics.json").read_text())
    masked, packed = (
        keras.saving.load_model(whole / f"{name}.keras") for name in ("model", "packed")
    )
    assert set(masks(masked)) == {"conv2", "conv3", "predictions"}
    assert packed.count_params() == metrics["params_packed"]
    assert metrics["params"] < metrics["params_before"]
    assert metrics["macs"] < metrics["macs_before"]
    assert metrics["macs_packed"] < metrics["macs_before"]
    assert metrics["published_macs"] < metrics["published_macs_before"]
    assert metrics["packed_difference"] < 1e-5
    assert metrics["forms"] == {"lists": 3} and metrics["latency"]["ratio"] > 0
    assert [step["name"] for step in metrics["steps"]] == [
        "local_10", "local_20", "global"
    ]  # fmt: skip
    assert metrics["accuracy_grouped"] == metrics["steps"][1]["accuracy_grouped"]
    assert metrics["accuracy"] == pytest.approx(metrics["steps"][2]["accuracy"])
    assert [row["training"] for row in rows(whole / "history.csv")] == list("1233")
    report = GroupingReport.load(whole)
    assert report.macs_after == metrics["macs"]
    assert {row.name for row in report.layers} == set(masks(masked))
    assert PackingReport.load(whole).macs_after == metrics["macs_packed"]
    data = load_image_dataset("digits")
    for model, name in ((masked, "accuracy"), (packed, "accuracy_packed")):
        measured = measure_accuracy(model, data, 32)["accuracy"]
        assert measured == pytest.approx(metrics[name], abs=1e-6)
    labels = (whole / "labels.txt").read_text().split()
    assert labels == [str(number) for number in range(10)]


def test_killed_run_ends_with_the_same_masks(model_file, runs):
    whole, killed = runs
    with pytest.raises(InvalidInputError, match="is not empty"):
        group_tiny(model_file, killed)
    with pytest.raises(InvalidInputError, match="conv_rate was 0.2, now 0.5"):
        group_tiny(model_file, killed, resume=True, conv_rate=0.5)
    options = resumed_options(killed, {}, GroupOptions)
    assert options.resume and options.scheme == "local_global"
    group_tiny(model_file, killed, resume=True)
    assert {path.name for path in killed.iterdir()} == FILES
    one, other = (
        keras.saving.load_model(path / "model.keras") for path in (whole, killed)
    )
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    reports = [json.loads((x / "report.json").read_text()) for x in runs]
    for report in reports:
        assert report.pop("latency")["ratio"] > 0  # measured anew
    assert reports[0] == reports[1]
    first, second = (rows(path / "history.csv") for path in (whole, killed))
    for row in (*first, *second):
        row.pop("seconds")
    assert first == second
    messages = []
    again = group_tiny(model_file, killed, resume=True, log=messages.append)
    assert "nothing to resume" in messages[0]
    assert again == json.loads((killed / "metrics.json").read_text())


def test_named_network_and_an_exception(monkeypatch, tmp_path):
    """Trained first; an error after that leaves a run that goes on."""
    monkeypatch.setattr(applications, "get_model", lambda name: tiny_classifier)
    options = {
        "weight_epochs": 1, "scheme": "global", "local_epochs": None, "conv_rate": 0.5,
        "fine_tune_epochs": 0, "max_train_examples": 64, "balance": "disjoint",
        "dense_rate": 0.0, "form": "none", "num_groups": 16,
    }  # fmt: skip
    seen, stops = [], ["stop"]

    def log(text):
        seen.append(text)
        if text.startswith("Grouped") and stops:
            raise RuntimeError(stops.pop())

    with pytest.raises(RuntimeError, match="stop"):
        group_tiny("Tiny", tmp_path / "run", log=log, **options)
    assert "Training the whole network, epochs: 1." in seen
    metrics = group_tiny(
        "Tiny", tmp_path / "run", log=seen.append, resume=True, **options
    )
    assert seen.count("Training the whole network, epochs: 1.") == 1
    assert metrics["epochs"] == {"weights": 1, "local": 0, "global": 0}
    assert metrics["accuracy_grouped"] == metrics["accuracy"]
    assert "params_packed" not in metrics and metrics["latency"] is None
    assert not (tmp_path / "run" / "packed.keras").exists()
    (row,) = rows(tmp_path / "run" / "history.csv")
    assert float(row["learning_rate"]) < 0.05
    report = GroupingReport.load(tmp_path / "run")
    assert {row.group_sizes for row in report.layers} == {(6, 6), (4, 4)}


def test_without_images(model_file, tmp_path):
    options = {"dataset": None, "max_train_examples": None, "batch_size": None,
               "fine_tune_epochs": None, "local_epochs": None}  # fmt: skip
    messages = []
    metrics = group_tiny(model_file, tmp_path / "run", messages.append, **options)
    assert "accuracy" not in metrics and metrics["epochs"]["global"] == 0
    # It was never trained.
    assert any(
        text.startswith("Warning: the weights look untrained") for text in messages
    )
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == FILES - {"curves.png", "history.csv", "labels.txt"}


@pytest.mark.large
def test_two_devices(model_file, run_python, tmp_path):
    program = MIRRORED.format(
        folder=str(pathlib.Path(__file__).parents[2]),
        model=str(model_file),
        output=str(tmp_path / "run_"),
    )
    lines = run_python(program).stdout.splitlines()
    assert any(
        line.startswith("mirrored MirroredStrategy on 2 device(s)") for line in lines
    )
    (worst,) = (float(line.split()[1]) for line in lines if line.startswith("worst"))
    assert worst < 1e-3
    found = [line.split() for line in lines if line.startswith("mask ")]
    assert len(found) == 3
    assert all(
        float(share) > 0.05 and different == "0" for _, _, share, different in found
    )
    assert "packed True" in lines


def test_bad_input_leaves_nothing(model_file, tmp_path):
    output = tmp_path / "run"
    for options, text in (
        ({"exclude": "nothing"}, "nothing"),
        ({"layers": "conv1,none"}, "none"),
        ({"conv_rate": 0.99, "scheme": "global", "local_epochs": None}, "conv2"),
        ({"exclude": "conv2,conv3,predictions"}, "no layer that can have groups"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            group_tiny(model_file, output, **options)
        assert not output.exists(), text
    with pytest.raises(InvalidInputError, match="holds the model to group"):
        group_tiny(model_file, model_file.parent)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"model": ""}, "`model` is missing"),
        ({"conv_rate": 70.0}, "For 70 % give 0.7"),
        ({"dense_rate": 1.0}, "would cut every connection"),
        ({"conv_rate": 0.0, "dense_rate": 0.0}, "cuts nothing"),
        ({"scheme": "globl"}, "Did you mean 'global'"),
        ({"scheme": "local", "balance": "equal"}, "nothing to reach in steps"),
        ({"num_groups": 4, "balance": "equal"}, "Received: num_groups=4, balance="),
        ({"local_epochs": 2}, "`local_epochs` belongs to `scheme`"),
        ({"fine_tune_epochs": -1}, "`fine_tune_epochs` must be 0 or more"),
        ({"fine_tune_epochs": 1, "dataset": None}, "needs `dataset`"),
        ({"form": "list"}, "Did you mean 'lists'"),
        ({"num_groups": 0}, "`num_groups` must be greater than 0"),
        ({"virtual_devices": 2}, "needs `strategy`"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(InvalidInputError, match=text):
        GroupOptions(**{"model": "model.keras", "dataset": "digits", **options})
