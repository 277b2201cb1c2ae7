"""A search small enough for tests; as a program it can kill itself.

Run as a program: `tiny_search.py FOLDER kill=STAGE,EPOCH,STEP`.
"""

import os
import signal
import sys

import keras
import numpy as np
from keras import layers

from keras_sda.search import ChannelSearch, add_channel_gates


def tiny_network(filters=(6, 8), classes=3, dropout=0.0):
    """Two convolutions and a residual branch."""
    keras.utils.set_random_seed(4)
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(filters[0], 3, padding="same", use_bias=False, name="conv1")(x)
    y = shortcut = layers.ReLU()(layers.BatchNormalization(name="bn1")(y))
    y = layers.Conv2D(filters[1], 3, padding="same", use_bias=False, name="conv2")(y)
    y = layers.ReLU()(layers.BatchNormalization(name="bn2")(y))
    y = layers.Conv2D(filters[0], 3, padding="same", use_bias=False, name="conv3")(y)
    y = layers.BatchNormalization(name="bn3")(y)
    y = layers.GlobalAveragePooling2D()(layers.Add(name="add")([shortcut, y]))
    y = layers.Dropout(dropout)(y)
    return keras.Model(x, layers.Dense(classes, name="classifier")(y), name="tiny")


def tiny_data(count=48):
    """Images whose class is the place of their bright corner."""
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 3, count)
    images = generator.normal(0, 1, (count, 6, 6, 2)).astype("float32")
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2, :, 0] += 2
    return images, labels


def run(folder, **options):
    """All stages; returns what is left of them."""
    gated = add_channel_gates(tiny_network(dropout=0.2))
    search = ChannelSearch(gated, folder)
    arguments = {
        "weight_epochs": 2,
        "architecture_epochs": 4,
        "fine_tune_epochs": 2,
        "lambda_arch": 3e-2,
        "batch_size": 8,
        "verbose": 0,
        "max_half_open": 1.0,
        "architecture": {"learning_rate": 0.05},
        **options,
    }
    search.fit(tiny_data(), **arguments)
    return search


class Killer(keras.callbacks.Callback):
    """Sends SIGKILL to its own process."""

    def __init__(self, stage, epoch, step):
        super().__init__()
        self.stage, self.epoch, self.step = stage, int(epoch), int(step)
        self.begun = 0

    def on_train_begin(self, logs=None):
        self.begun += 1

    def on_epoch_begin(self, epoch, logs=None):
        self.current = epoch

    def on_train_batch_end(self, batch, logs=None):
        stage = ("weights", "architecture", "fine_tune")[self.begun - 1]
        if (stage, self.current, batch) == (self.stage, self.epoch, self.step):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    run(sys.argv[1], callbacks=[Killer(*sys.argv[2].split("=")[1].split(","))])
