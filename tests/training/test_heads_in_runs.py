"""Commands on classifiers that end in logits, sigmoids or a layer of the user."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda import cli
from keras_sda.data.images.load_image_dataset import load_image_dataset
from keras_sda.data.streams.evaluation_stream import evaluation_stream
from keras_sda.training import PruneOptions, evaluate_classifier, prune_classifier


@keras.saving.register_keras_serializable("tests_heads")
class Squash(layers.Layer):
    def call(self, inputs):
        return keras.ops.sigmoid(inputs)


def save(path, end, loss=None):
    keras.utils.set_random_seed(2)
    x = keras.Input((8, 8, 1))
    y = layers.Conv2D(6, 3)(layers.Rescaling(1 / 255)(x))
    y = layers.Conv2D(6, 3)(layers.ReLU()(y))
    model = keras.Model(x, end(layers.Flatten()(y)))
    if loss is not None:
        model.compile("sgd", loss)
    model.save(path)
    return model


@pytest.fixture(scope="module")
def digits():
    """All test images of the dataset at 8 pixels, and their classes."""
    batches = list(evaluation_stream(load_image_dataset("digits"), 8, 1000))
    images, labels = (np.concatenate([b[i] for b in batches]) for i in (0, 1))
    return images, labels


def expected(model, digits, kind):
    images, labels = digits
    outputs = np.asarray(model(images), "float64")
    if kind == "softmax":
        shares = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
        return -np.log((shares * labels).sum(-1)).mean()
    shares = 1 / (1 + np.exp(-outputs))
    return -np.log(np.where(labels == 1, shares, 1 - shares)).mean()


BINARY = keras.losses.BinaryCrossentropy(from_logits=True)


@pytest.mark.parametrize(
    ("end", "loss", "kind"),
    [
        (lambda: layers.Dense(10), None, "softmax"),
        (lambda: layers.Dense(10), BINARY, "sigmoid"),
    ],
)
def test_evaluation_of_logits(end, loss, kind, digits, tmp_path):
    path = tmp_path / "model.keras"
    model = save(path, end(), loss)
    found = evaluate_classifier(path, "digits")
    assert found["loss"] == pytest.approx(expected(model, digits, kind), rel=1e-4)


def test_pruning_keeps_what_the_loss_said(digits, tmp_path):
    """The small model is not compiled: the loss of the whole one counts."""
    path = tmp_path / "model.keras"
    save(path, layers.Dense(10), BINARY)
    options = PruneOptions(
        model=str(path), macs=0.7, dataset="digits", importance="taylor",
        importance_examples=32, max_train_examples=64, fine_tune_epochs=1,
        batch_size=32, output=str(tmp_path / "run"),
    )  # fmt: skip
    metrics = prune_classifier(options)
    small = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert metrics["loss"] == pytest.approx(
        expected(small, digits, "sigmoid"), rel=1e-4
    )


def test_what_cannot_be_known_names_the_option(capsys, digits, tmp_path):
    path = tmp_path / "model.keras"
    model = save(path, lambda y: Squash()(layers.Dense(10)(y)))
    assert cli.main(["evaluate", str(path)]) == 2
    error = capsys.readouterr().err
    assert "--activation" in error and error.count("\n") == 1
    assert cli.main(["evaluate", str(path), "--activation", "none"]) == 0
    found = evaluate_classifier(path, "digits", activation="none")
    images, labels = digits
    shares = np.asarray(model(images))
    loss = -np.log(np.where(labels == 1, shares, 1 - shares)).mean()
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    output = str(tmp_path / "run")
    arguments = ["prune", str(path), "--macs", "0.7", "--dataset", "digits",
                 "--max_train_examples", "32", "--fine_tune_epochs", "0",
                 "--output", output]  # fmt: skip
    assert cli.main(arguments) == 2
    assert "--activation" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert cli.main([*arguments, "--activation", "none"]) == 0


def test_export_takes_the_option(capsys, tmp_path):
    path = tmp_path / "model.keras"
    save(path, lambda y: Squash()(layers.Dense(10)(y)))
    arguments = ["export", str(path), "--output", str(tmp_path / "out")]
    assert cli.main(arguments) == 2
    assert "--activation" in capsys.readouterr().err
    assert cli.main([*arguments, "--activation", "none"]) == 0


def test_one_unit_and_two_classes_is_one_line(capsys, tmp_path):
    path = tmp_path / "model.keras"
    save(path, layers.Dense(1, activation="sigmoid"))
    assert cli.main(["evaluate", str(path)]) == 2
    assert "has 1 classes" in capsys.readouterr().err
