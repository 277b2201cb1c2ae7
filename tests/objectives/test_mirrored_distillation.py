"""Two devices against one, in a process of their own: devices are set only once."""

import pytest

PROGRAM = """
import contextlib
import keras
import numpy as np
from keras import layers
from keras_sda.objectives import Distillation
from keras_sda.training import make_strategy

strategy = make_strategy("mirrored", virtual_devices=2)
generator = np.random.default_rng(0)
images = generator.normal(size=(32, 6)).astype("float32")
labels = np.arange(32) % 3

def network(width, penalty=None):
    inputs = keras.Input((6,))
    x = layers.Dense(width, activation="relu", kernel_regularizer=penalty)(inputs)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(x))

def losses(scope):
    keras.utils.set_random_seed(3)
    with scope:
        teacher, student = network(9), network(4, "l2")
        model = Distillation(teacher, 0.7).wrap(student)
        model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy"
        )
    history = model.fit(
        images, labels, batch_size=8, epochs=3, shuffle=False, verbose=0,
        class_weight={0: 1.0, 1: 0.5, 2: 2.0},
    )
    return history.history["loss"]

one, two = losses(contextlib.nullcontext()), losses(strategy.scope())
print("devices", strategy.num_devices)
print("first", one[0])
print("worst", max(abs(a - b) for a, b in zip(one, two, strict=True)))
"""


@pytest.mark.large
def test_two_devices_give_the_losses_of_one(run_python):
    output = run_python(PROGRAM).stdout
    lines = dict(line.split(" ", 1) for line in output.splitlines() if " " in line)
    assert lines["devices"] == "2"
    assert float(lines["worst"]) < 1e-4 < float(lines["first"])
