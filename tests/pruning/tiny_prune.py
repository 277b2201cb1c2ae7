"""A pruning in steps with a folder, small enough for tests.

As a program: `tiny_prune.py FOLDER` is killed in the fine-tuning of its second step.
"""

import os
import signal
import sys

import keras
import numpy as np

from keras_sda.pruning import prune


def tiny_network():
    keras.utils.set_random_seed(1)
    layers = keras.layers
    x = inputs = keras.Input((6, 6, 1))
    for number, filters in enumerate((8, 12), 1):
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{number}")(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"bn{number}")(x))
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    outputs = layers.Dense(3, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, outputs, name="small")


def tiny_data():
    generator = np.random.default_rng(0)
    images = generator.normal(size=(12, 6, 6, 1)).astype("float32")
    return images, generator.integers(0, 3, 12)


def train(model):
    """Draws an order of the images, and dropout, as a user's training does."""
    model.compile(
        keras.optimizers.SGD(0.1, 0.9), "sparse_categorical_crossentropy",
        run_eagerly=True,
    )  # fmt: skip
    model.fit(*tiny_data(), batch_size=4, epochs=1, verbose=0)


def prune_tiny(folder, fine_tune=train, model=None, **options):
    chosen = {"params": 0.4, "steps": 3, "importance": "taylor", "data": tiny_data(),
              "loss": "sparse_categorical_crossentropy"}  # fmt: skip
    return prune(
        model or tiny_network(), **{**chosen, **options}, fine_tune=fine_tune,
        fine_tune_last=True, folder=folder,
    )  # fmt: skip


if __name__ == "__main__":

    def killed(model, name):
        if name == "step2":
            os.kill(os.getpid(), signal.SIGKILL)
        train(model)

    prune_tiny(sys.argv[1], killed)
