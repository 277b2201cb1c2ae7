"""A student that learns from a teacher; nothing of the teacher stays."""

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.graph import Head
from keras_sda.objectives import Distillation, DistillationLoss
from keras_sda.runs.epoch_backup import EpochBackup
from keras_sda.utils import InvalidInputError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 6)).astype("float32")
Y = np.arange(12) % 3


def network(units=3, activation="softmax", width=5, penalty=None, dropout=0.0, size=6):
    x = inputs = keras.Input((size,))
    x = layers.Dense(width, kernel_regularizer=penalty)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(dropout)(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(units, activation=activation)(x))


@pytest.fixture
def pair():
    keras.utils.set_random_seed(1)
    return network(penalty="l2"), network(width=9)


def compiled(model, rate=0.0, eagerly=True, metrics=()):
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9), "sparse_categorical_crossentropy",
        metrics=list(metrics), run_eagerly=eagerly,
    )  # fmt: skip
    return model


def copies(model):
    return [np.array(value) for value in model.get_weights()]


def test_loss_by_hand(pair):
    """Labels and teacher share the loss; penalties count in full, in training alone."""
    student, teacher = pair
    model = compiled(Distillation(teacher, 0.25, 2.0).wrap(student))
    weights = RNG.uniform(size=12).astype("float32")
    outputs = student(X, training=True)
    answers = teacher(X, training=False)
    labels = keras.losses.SparseCategoricalCrossentropy()(Y, outputs, weights)
    distance = DistillationLoss(temperature=2.0)(answers, outputs, weights)
    penalty = float(sum(student.losses))
    assert penalty > 0.01 and float(distance) > 0.01
    expected = 0.75 * float(labels) + 0.25 * float(distance) + penalty
    found = float(model.compute_loss(X, Y, outputs, weights))
    assert found == pytest.approx(expected, rel=1e-5)
    measured = float(model.compute_loss(X, Y, outputs, weights, training=False))
    assert measured == pytest.approx(float(labels) + penalty, rel=1e-5)
    # As `fit` and `evaluate` do it, with class weights.
    history = model.fit(
        X, Y, batch_size=12, class_weight={0: 0.0, 1: 1.0, 2: 0.0}, verbose=0
    )
    chosen = (Y == 1).astype("float32")
    labels = keras.losses.SparseCategoricalCrossentropy()(Y, outputs, chosen)
    distance = DistillationLoss(temperature=2.0)(answers, outputs, chosen)
    expected = 0.75 * float(labels) + 0.25 * float(distance) + penalty
    assert history.history["loss"][0] == pytest.approx(expected, rel=1e-4)
    plain = compiled(student).evaluate(X, Y, verbose=0)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(plain, rel=1e-5)


def test_nothing_reaches_the_teacher():
    keras.utils.set_random_seed(1)
    student, teacher = network(width=7), network(width=9)
    before, far = copies(teacher), np.abs(student(X) - teacher(X)).mean()
    model = compiled(Distillation(teacher, 1.0).wrap(student), 0.3)
    assert [id(w) for w in model.weights] == [id(w) for w in student.weights]
    own = {id(variable) for variable in teacher.variables}
    assert not own & {id(variable) for variable in model.variables}
    model.fit(X, 0 * Y, batch_size=12, epochs=12, verbose=0)
    for one, other in zip(before, copies(teacher), strict=True):
        np.testing.assert_array_equal(one, other)
    assert teacher.trainable and all(layer.trainable for layer in teacher.layers)
    # The labels say 0 for all, the teacher does not; it has all of the loss.
    assert np.abs(student(X) - teacher(X)).mean() < 0.5 * far


def test_what_is_saved_is_the_student(pair, tmp_path):
    student, teacher = pair
    model = compiled(Distillation(teacher).wrap(student), 0.1, eagerly=False)
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "last.keras")
    model.fit(X, Y, verbose=0, callbacks=[checkpoint, EpochBackup(tmp_path / "b")])
    student.save(tmp_path / "student.keras")
    for name in ("last", "student"):
        loaded = keras.saving.load_model(tmp_path / f"{name}.keras")
        assert type(loaded) is type(student)
        assert "keras_sda" not in loaded.to_json()
        np.testing.assert_array_equal(loaded(X), student(X))
    with h5py.File(EpochBackup(tmp_path / "b").newest) as file:
        names = []
        file["layers"].visititems(
            lambda name, item: names.append(name) if hasattr(item, "shape") else None
        )
    assert len(names) == len(student.weights)


def test_resumed_training_ends_in_the_same_bits(tmp_path):
    def train(folder, epochs):
        keras.utils.set_random_seed(3)
        teacher, student = network(width=9), network(dropout=0.0)
        model = Distillation(teacher).wrap(student)
        optimizer = keras.optimizers.AdamW(1e-2)
        model.compile(optimizer, "sparse_categorical_crossentropy", run_eagerly=True)
        model.optimizer.build(model.trainable_variables)
        backup = EpochBackup(folder)
        start = backup.restore(model)
        model.fit(X, Y, batch_size=6, epochs=epochs, initial_epoch=start, verbose=0,
                  shuffle=False, callbacks=[backup])  # fmt: skip
        return start, copies(student)

    _, whole = train(tmp_path / "whole", 2)
    train(tmp_path / "cut", 1)
    start, resumed = train(tmp_path / "cut", 2)
    assert start == 1
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_unit_and_logits():
    """A teacher of logits and a student of one probability mean the same."""
    keras.utils.set_random_seed(2)
    teacher, student = network(1, None, 9), network(1, "sigmoid")
    teacher.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    model = Distillation(teacher, 1.0, 3.0).wrap(student)
    model.compile("sgd", "binary_crossentropy", run_eagerly=True)
    targets = (Y > 0).astype("float32")[:, None]
    outputs = student(X, training=True)
    found = float(model.compute_loss(X, targets, outputs))
    loss = DistillationLoss("sigmoid", False, True, 3.0)
    assert found == pytest.approx(float(loss(teacher(X), outputs)), rel=1e-5)
    assert found > 0


def test_a_head_that_models_do_not_show():
    teacher, student = network(3, None, 9), network(3, None)
    with pytest.raises(InvalidInputError, match="activation"):
        Distillation(teacher).wrap(student)
    head = Head("softmax", True, 3, "dense")
    model = compiled(Distillation(teacher, 0.5, 4.0, head).wrap(student))
    assert model._distance.from_logits and model._distance.teacher_from_logits


def test_what_does_not_fit_is_refused(pair):
    student, teacher = pair
    for wrong, text in (
        (network(4), r"has outputs of the shapes \[\(None, 4\)\].*same images and"),
        (network(size=7), r"has inputs of the shapes \[\(None, 7\)\]"),
        (network(3, "sigmoid"), "ends in a sigmoid"),
        (student, "shares variables with"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            Distillation(wrong).wrap(student)
    for options, text in (
        ({"weight": 0}, "`weight` must be a positive number"),
        ({"weight": 1.5}, "`weight` is a share .* weight=1.5"),
        ({"temperature": -1}, "`temperature` must be a positive"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            Distillation(teacher, **options)
    with pytest.raises(InvalidInputError, match="`teacher` must be a trained Keras"):
        Distillation("model.keras")


def test_settings_know_the_teacher(pair):
    student, teacher = pair
    one, other = Distillation(teacher).settings(), Distillation(student).settings()
    assert one["weight"] == other["weight"] == 0.5 and one != other
