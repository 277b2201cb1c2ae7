"""Every kind of head through every command, on two classes: one answer everywhere."""

import itertools
import os

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.data.images.load_image_dataset import load_image_dataset
from keras_sda.data.streams.evaluation_stream import evaluation_stream
from keras_sda.export import export_saved_model, predict
from keras_sda.grouping import group_and_fine_tune
from keras_sda.pruning import prune
from keras_sda.runs.best_weights import copy_without_optimizer
from keras_sda.search import ChannelSearch, add_channel_gates
from keras_sda.tasks import Classification
from keras_sda.training import (
    RECIPES,
    GroupOptions,
    PruneOptions,
    SearchOptions,
    evaluate_classifier,
    fine_tune_classifier,
    group_classifier,
    measure_accuracy,
    prune_classifier,
    search_classifier,
)
from keras_sda.utils import InvalidInputError

SIZE = 8
NAMES = ("dark", "light")
BINARY = keras.losses.BinaryCrossentropy(from_logits=True)
# The end, the loss that the file holds, and what its outputs are.
HEADS = {
    "softmax": (lambda: layers.Dense(2, activation="softmax"), None, "softmax"),
    "logits": (lambda: layers.Dense(2), None, "softmax"),
    "sigmoids": (lambda: layers.Dense(2, activation="sigmoid"), None, "sigmoid"),
    "logits of sigmoids": (lambda: layers.Dense(2), BINARY, "sigmoid"),
    "one sigmoid": (lambda: layers.Dense(1, activation="sigmoid"), None, "one"),
    "one logit": (lambda: layers.Dense(1), BINARY, "one"),
}


def heads(*quick):
    """All kinds; those that are not named in `make test-all` only."""
    return [
        pytest.param(name, marks=[] if name in quick else pytest.mark.large)
        for name in HEADS
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of two classes, which no threshold tells apart for sure."""
    import tensorflow as tf

    root, generator = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 5)):
        for label, name in enumerate(NAMES):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                low = 40 + 30 * label
                pixels = generator.integers(low, low + 120, (SIZE, SIZE, 3))
                data = tf.io.encode_png(pixels.astype("uint8")).numpy()
                (root / part / name / f"{number}.png").write_bytes(data)
    return root


@pytest.fixture(scope="module")
def data(folder):
    return load_image_dataset(str(folder))


def build(name):
    """A classifier whose answers differ from image to image."""
    end, loss, _ = HEADS[name]
    keras.utils.set_random_seed(1)
    x = keras.Input((SIZE, SIZE, 3))
    y = layers.Rescaling(1 / 40, offset=-3)(x)
    for filters in (6, 4):
        y = layers.BatchNormalization()(layers.Conv2D(filters, 3)(y))
        y = layers.ReLU()(y)
    model = keras.Model(x, end()(layers.GlobalAveragePooling2D()(y)))
    if loss is not None:
        model.compile("sgd", loss)
    return model


def by_hand(model, name, data):
    """Loss and accuracy on the test images, and the share of the second class."""
    ((images, one_hot),) = evaluation_stream(data, SIZE, 100)
    outputs, one_hot = np.asarray(model(images), "float64"), one_hot.numpy()
    end, _, kind = HEADS[name]
    if end().activation is keras.activations.linear:
        outputs = np.exp(outputs)
        whole = outputs.sum(-1, keepdims=True) if kind == "softmax" else 1 + outputs
        outputs = outputs / whole
    if kind == "one":
        outputs = np.concatenate([1 - outputs, outputs], -1)
    if kind == "sigmoid":
        loss = -np.log(np.where(one_hot > 0, outputs, 1 - outputs)).mean()
    else:
        loss = -np.log((outputs * one_hot).sum(-1)).mean()
    right = outputs.argmax(-1) == one_hot.argmax(-1)
    return {"loss": loss, "accuracy": right.mean()}, outputs[:, 1]


def same(found, expected):
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-3), key


@pytest.mark.parametrize("name", heads("sigmoids", "one sigmoid", "one logit"))
def test_evaluate(name, folder, data, tmp_path):
    build(name).save(tmp_path / "model.keras")
    found = evaluate_classifier(tmp_path / "model.keras", str(folder))
    same(found, by_hand(build(name), name, data)[0])
    assert found["num_images"] == 10


@pytest.mark.parametrize("name", heads("one logit"))
def test_fine_tune_prune_search_and_group(name, data, tmp_path):
    """From Python, with the task that the whole model shows."""
    model = build(name)
    task = Classification.of(model)
    (row,) = fine_tune_classifier(
        model, data, SIZE, RECIPES["digits"], 1, tmp_path / "backup", batch_size=8,
    )  # fmt: skip
    expected, _ = by_hand(model, name, data)
    same(row, {f"val_{key}": value for key, value in expected.items()})

    stream = task.training_stream(data, RECIPES["digits"], SIZE, 8, epochs=1)
    small = prune(model, macs=0.7, importance="taylor", data=stream, loss=task.loss())
    expected, _ = by_hand(small.model, name, data)
    same(measure_accuracy(small.model, data, SIZE, task=task), expected)

    images, targets = map(np.concatenate, zip(*stream.as_numpy_iterator(), strict=True))
    if task.one_unit:
        targets = targets[:, 0].round()  # class numbers
    search = ChannelSearch(add_channel_gates(copy_without_optimizer(model)),
                           loss=None if HEADS[name][1] is None else task.loss(),
                           metrics=task.metrics())  # fmt: skip
    (row,) = search.train_weights((images, targets), 1, batch_size=8, verbose=0,
                                  optimizer=keras.optimizers.SGD(0.0))  # fmt: skip
    assert np.isfinite(row["loss"]) and 0 <= row["accuracy"] <= 1

    grouped = group_and_fine_tune(model, None, 0.5, 0.0, global_epochs=0, num_groups=2)
    expected, _ = by_hand(grouped.model, name, data)
    same(task.evaluate(grouped.model, data, SIZE), expected)


@pytest.mark.parametrize("name", heads("one sigmoid"))
def test_export_and_predict(name, folder, data, tmp_path):
    model = build(name)
    task = Classification.of(model)
    # A file alone does not tell of what the logits of several units are.
    activation = "softmax" if name == "logits" else None
    export = export_saved_model(
        model, tmp_path, labels=NAMES, preprocessing="none", activation=activation
    )
    files = [os.fsdecode(path) for path in data.test_split.files[0]]
    found = predict(export, files)
    _, second = by_hand(model, name, data)
    shares = [{x["class"]: x["score"] for x in one["predictions"]} for one in found]
    np.testing.assert_allclose([x["light"] for x in shares], second, atol=1e-4)
    if task.head.kind == "softmax" or task.one_unit:
        best = [NAMES.index(one["predictions"][0]["class"]) for one in found]
        ((images, _),) = evaluation_stream(data, SIZE, 100)
        assert best == task.class_numbers(model(images)).tolist()


COMMANDS = {
    "prune": (prune_classifier, PruneOptions, {
        "macs": 0.7, "importance": "taylor", "importance_examples": 8,
        "fine_tune_epochs": 1}),
    "search": (search_classifier, SearchOptions, {
        "target_macs": 0.8, "weight_epochs": 1, "architecture_epochs": 1,
        "fine_tune_epochs": 1, "max_half_open": 1.0}),
    "group": (group_classifier, GroupOptions, {
        "conv_rate": 0.4, "dense_rate": 0.0, "num_groups": 2, "form": "lists",
        "fine_tune_epochs": 1}),
}  # fmt: skip


QUICK = ("prune", "one logit")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        pytest.param(*one, marks=[] if one == QUICK else pytest.mark.large)
        for one in itertools.product(COMMANDS, HEADS)
    ],
)
def test_commands(command, name, folder, data, tmp_path):
    run, kind, more = COMMANDS[command]
    build(name).save(tmp_path / "model.keras")
    metrics = run(
        kind(model=str(tmp_path / "model.keras"), dataset=str(folder), batch_size=8,
             recipe="digits", output=str(tmp_path / "run"), **more),
        log=lambda text: None,
    )  # fmt: skip
    before, _ = by_hand(build(name), name, data)
    assert metrics["accuracy_before"] == pytest.approx(before["accuracy"]) or (
        command == "search"  # which trains the whole network first
    )
    small = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    same(metrics, by_hand(small, name, data)[0])


def test_what_cannot_be_known_is_one_line_everywhere(folder, data, tmp_path):
    """One linear unit without a loss: the way out is named."""
    path = tmp_path / "model.keras"
    model = copy_without_optimizer(build("one logit"))
    model.save(path)
    options = PruneOptions(model=str(path), dataset=str(folder), macs=0.7,
                           output=str(tmp_path / "run"))  # fmt: skip
    for call in (
        lambda: evaluate_classifier(path, str(folder)),
        lambda: measure_accuracy(model, data, SIZE),
        lambda: prune_classifier(options),
        lambda: export_saved_model(model, tmp_path / "out", preprocessing="none"),
    ):
        with pytest.raises(InvalidInputError, match="cannot be known.*--activation"):
            call()
    found = evaluate_classifier(path, str(folder), activation="sigmoid")
    same(found, by_hand(model, "one logit", data)[0])


def test_columns_of_classes_for_one_unit_are_refused():
    search = ChannelSearch(add_channel_gates(build("one sigmoid")))
    images, targets = np.zeros((4, SIZE, SIZE, 3)), np.eye(2)[[0, 1, 0, 1]]
    with pytest.raises(InvalidInputError, match="one unit.*Give class numbers 0 and 1"):
        search.train_weights((images, targets), 1)


class Brightness(Classification):
    """A task of the user: the second output unit alone counts."""

    name = "brightness"

    def loss(self, one_hot=True):
        return keras.losses.MeanSquaredError()

    def metrics(self, full=False, one_hot=True):
        return [keras.metrics.MeanAbsoluteError(name="accuracy")]


def test_a_task_of_the_user_is_asked(data, tmp_path):
    model = build("softmax")
    task = Brightness.of(model)
    (row,) = fine_tune_classifier(
        model, data, SIZE, RECIPES["digits"], 1, tmp_path, batch_size=8, task=task
    )
    ((images, one_hot),) = evaluation_stream(data, SIZE, 100)
    error = np.asarray(model(images)) - one_hot.numpy()
    same(row, {"val_loss": (error**2).mean(), "val_accuracy": abs(error).mean()})
