"""A run of `search_classifier` small enough for tests.

Run as a program: `tiny_search_run.py MODEL OUTPUT [name=value ...] [kill_at=EPOCH]`.
"""

import os
import signal
import sys

import keras
from keras import layers

from keras_sda import training


def tiny_classifier(
    input_tensor=None, classes=10, weights=None, synchronized=False, dropout=0.1
):
    """Two convolutions, one of them in a residual branch."""
    if input_tensor is None:
        inputs = keras.Input((32, 32, 1), name="image")
        input_tensor = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    options = {"synchronized": True} if synchronized else {}
    x = layers.Conv2D(8, 3, strides=4, padding="same", name="conv1")(input_tensor)
    x = layers.ReLU()(layers.BatchNormalization(**options, name="bn1")(x))
    y = layers.Conv2D(12, 3, padding="same", name="conv2")(x)
    y = layers.ReLU()(layers.BatchNormalization(**options, name="bn2")(y))
    y = layers.Conv2D(8, 3, padding="same", name="conv3")(y)
    y = layers.BatchNormalization(**options, name="bn3")(y)
    x = layers.GlobalAveragePooling2D()(layers.Add(name="add")([x, y]))
    x = layers.Dropout(dropout)(x)
    outputs = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(keras.utils.get_source_inputs(outputs), outputs, name="tiny")


DEFAULTS = {
    "dataset": "digits", "max_train_examples": 256, "batch_size": 32,
    "weight_epochs": 2, "architecture_epochs": 3, "fine_tune_epochs": 1,
    "architecture_learning_rate": 0.05, "seed": 3,
}  # fmt: skip


def search_tiny(model, output, log=lambda text: None, **options):
    """`search_classifier` on 256 digits."""
    if "lambda_arch" not in options:
        options.setdefault("target_macs", 0.6)
    chosen = {**DEFAULTS, **options, "model": str(model), "output": str(output)}
    return training.search_classifier(training.SearchOptions(**chosen), log=log)


def kill_at(epoch):
    """Makes the process send itself SIGKILL in an epoch of the gates (from 0)."""
    module = sys.modules["keras_sda.search.channel_search"]

    class Killer(module.HardenGates):
        def on_epoch_begin(self, current, logs=None):
            super().on_epoch_begin(current, logs)
            self.current = current

        def on_train_batch_end(self, batch, logs=None):
            if (self.current, batch) == (epoch, 3):
                os.kill(os.getpid(), signal.SIGKILL)

    module.HardenGates = Killer


if __name__ == "__main__":
    pairs = dict(word.split("=", 1) for word in sys.argv[3:])
    if "kill_at" in pairs:
        kill_at(int(pairs.pop("kill_at")))
    search_tiny(
        *sys.argv[1:3], **{name: text == "True" for name, text in pairs.items()}
    )
