"""What a head means for loss, metrics, targets and classes."""

import pathlib
import re

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.images.image_split import ImageSplit
from keras_sda.data.streams.augmentation import Augmentation
from keras_sda.graph import Head
from keras_sda.tasks import Classification
from keras_sda.tasks.classification import both_classes
from keras_sda.utils import InvalidInputError


def task(kind, units, from_logits):
    return Classification(Head(kind, from_logits, units, "top"))


def accuracy(of, targets, outputs, **options):
    metric = of.metrics(**options)[0]
    metric.update_state(np.array(targets, "float32"), np.array(outputs, "float32"))
    assert metric.name == "accuracy"
    return float(metric.result())


def test_one_unit_is_read_at_even_odds():
    outputs = [[0.2], [0.7], [-3.0], [0.4]]
    logits, shares = task("sigmoid", 1, True), task("sigmoid", 1, False)
    assert logits.class_numbers(np.array(outputs)).tolist() == [1, 1, 0, 1]
    assert shares.class_numbers(np.array(outputs)).tolist() == [0, 1, 0, 0]
    targets = [[1], [1], [0], [0]]
    assert accuracy(logits, targets, outputs) == 0.75
    assert accuracy(shares, targets, outputs) == 0.75
    assert accuracy(shares, [[0.05], [0.95], [0.95], [0.05]], outputs) == 0.75  # smooth
    assert accuracy(shares, [0, 1, 1, 0], outputs, one_hot=False) == 0.75
    assert shares.num_classes == 2 and shares.one_unit
    np.testing.assert_allclose(both_classes(np.array([[0.25]])), [[0.75, 0.25]])
    np.testing.assert_allclose(both_classes(np.array([[0.25, 0.5]])), [[0.25, 0.5]])


def test_the_best_of_several_units():
    for kind in ("softmax", "sigmoid"):
        several = task(kind, 3, False)
        outputs = [[0.9, 0.8, 0.1], [0.2, 0.3, 0.1]]
        assert several.class_numbers(np.array(outputs)).tolist() == [0, 1]
        assert accuracy(several, [[0, 1, 0], [0, 1, 0]], outputs) == 0.5
        assert not several.one_unit and several.num_classes == 3
    numbers = accuracy(task("softmax", 3, True), [1, 1], outputs, one_hot=False)
    assert numbers == 0.5


def test_metrics_of_an_evaluation():
    names = [metric.name for metric in task("softmax", 6, True).metrics(full=True)]
    assert names == ["accuracy", "top_5_accuracy"]
    assert len(task("softmax", 5, True).metrics(full=True)) == 1
    assert len(task("softmax", 6, True).metrics()) == 1


@pytest.mark.parametrize(
    ("kind", "units", "name"),
    [
        ("softmax", 3, "CategoricalCrossentropy"),
        ("sigmoid", 3, "BinaryCrossentropy"),
        ("sigmoid", 1, "BinaryCrossentropy"),
    ],
)
@pytest.mark.parametrize("from_logits", [True, False])
def test_losses(kind, units, name, from_logits):
    loss = task(kind, units, from_logits).loss()
    assert type(loss).__name__ == name and loss.from_logits is from_logits


def test_the_loss_and_that_of_a_guess():
    outputs = np.log([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.8, 0.1, 0.1]])
    one_hot = np.eye(3)[[0, 2, 1]]
    batches = [
        (np.arange(3)[start:stop], targets[start:stop])
        for targets in (one_hot, 0.9 * one_hot + 0.1 / 3)
        for start, stop in ((0, 2), (2, 3))
    ]
    model = lambda places, training: outputs[places]  # noqa: E731
    loss, chance = task("softmax", 3, True).loss_and_chance(model, batches)
    assert loss == pytest.approx(np.log([2, 2, 10]).mean(), rel=1e-6)
    assert chance == pytest.approx(np.log(3), rel=1e-6)
    two = lambda places, training: np.array([[0.75], [0.75], [0.0], [0.75]])  # noqa: E731
    loss, chance = task("sigmoid", 1, False).loss_and_chance(
        two, [(np.arange(4), np.array([[1.0], [0.0], [0.0], [1.0]]))]
    )
    assert loss == pytest.approx(np.log([4 / 3, 4, 1, 4 / 3]).mean(), abs=1e-6)
    assert chance == pytest.approx(np.log(2), rel=1e-6)


def test_targets_have_the_shape_of_the_outputs():
    one_hot = np.array([[1.0, 0.0], [0.1, 0.9]])
    assert task("sigmoid", 1, True).targets(one_hot).tolist() == [[0.0], [0.9]]
    assert task("softmax", 2, True).targets(one_hot) is one_hot


def dataset(classes, channels=1):
    images = np.zeros((6, 8, 8, channels), "uint8")
    split = ImageSplit(6, arrays=(images, np.arange(6) % classes))
    names = tuple(f"class{number}" for number in range(classes))
    return ImageDataset("tiny", names, channels, (8, 8, channels), split, split)


def test_streams():
    data, one, two = dataset(2), task("sigmoid", 1, True), task("softmax", 2, True)
    for of, shape in ((one, (4, 1)), (two, (4, 2))):
        smoothed = Augmentation(label_smoothing=0.2)
        stream = of.training_stream(data, smoothed, 8, 4, epochs=2, seed=1)
        assert len(stream) == 2
        targets = next(iter(stream))[1].numpy()
        assert targets.shape == shape
        np.testing.assert_allclose(np.unique(targets[:, -1]), [0.1, 0.9], rtol=1e-6)
        test = of.evaluation_stream(data, 8, 4)
        assert len(test) == 2
        targets = np.concatenate([y.numpy() for _, y in test])
        assert targets[:, -1].tolist() == [0, 1] * 3


def model(units, size=8, channels=1):
    x = keras.Input((size, size, channels))
    return keras.Model(x, layers.Dense(units)(layers.Flatten()(x)))


def maps():
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(2, 3)])


@pytest.mark.parametrize(
    ("units", "classes"), [(2, 2), (1, 2), (10, 10)], ids=lambda n: str(n)
)
def test_models_that_fit(units, classes):
    assert Classification.check_model(model(units), "a.keras", dataset(classes)) == 8


@pytest.mark.parametrize(
    ("unfit", "classes", "text"),
    [
        (lambda: model(1), 3, "has 1 classes.*has 3.*one sigmoid unit stands for two"),
        (lambda: model(3), 2, "has 3 classes, `dataset` 'tiny' has 2"),
        (lambda: model(2, channels=3), 2, "square images with 1 channel"),
        (maps, 2, "does not return classes"),
    ],
    ids=["one unit", "units", "channels", "maps"],
)
def test_models_that_do_not(unfit, classes, text):
    with pytest.raises(InvalidInputError, match=text) as error:
        Classification.check_model(unfit(), "a.keras", dataset(classes))
    assert "\n" not in str(error.value)


def test_a_softmax_over_one_unit_is_refused():
    x = keras.Input((4,))
    constant = keras.Model(x, layers.Dense(1, "softmax", name="top")(x))
    with pytest.raises(InvalidInputError, match="'top' is a softmax over one unit"):
        Classification.of(constant)


def test_a_compiled_model_of_one_unit_loads(tmp_path):
    one = keras.Sequential([keras.Input((3,)), layers.Dense(1, "sigmoid")])
    Classification.of(one).compile(one)
    one.save(tmp_path / "one.keras")
    again = keras.saving.load_model(tmp_path / "one.keras")
    x, y = np.eye(3, dtype="float32"), np.array([[1.0], [0.0], [1.0]])
    assert again.evaluate(x, y, verbose=0) == one.evaluate(x, y, verbose=0)


def test_nobody_else_reads_the_head():
    root = pathlib.Path(__file__).parents[2] / "keras_sda"
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"\bfind_head\(|CategoricalAccuracy", path.read_text())
    }
    assert found == {"graph/model/find_head.py", "tasks/classification.py"}
