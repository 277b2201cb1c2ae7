"""A run small enough for tests: a tiny network, a few digits, one process each.

Run as a program: `tiny_training.py OUTPUT [name=value ...] [kill_at=EPOCH,STEP]`.
"""

import os
import signal
import sys

import keras
from absl import logging

from keras_sda import applications, training
from keras_sda.layers import SelectiveDepthAttention

DROPOUT = 0.1


def tiny_network(
    input_tensor, classes, weights=None, synchronized=False, depth_attention=True
):
    """Two convolutions, depth attention over them, dropout, a classifier."""
    options = {"synchronized": True} if synchronized else {}
    conv, norm = keras.layers.Conv2D, keras.layers.BatchNormalization
    x = conv(8, 3, strides=4, padding="same", name="conv_1")(input_tensor)
    first = norm(**options, name="norm_1")(x)
    x = conv(8, 3, padding="same", name="conv_2")(keras.layers.ReLU()(first))
    second = norm(**options, name="norm_2")(x)
    x = second
    if depth_attention:
        x = SelectiveDepthAttention(
            min_width=8, synchronized=synchronized, name="attention"
        )([first, second])
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    x = keras.layers.Dropout(DROPOUT)(x)
    outputs = keras.layers.Dense(
        classes, activation="softmax", dtype="float32", name="classifier"
    )(x)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), outputs)


def train_tiny(output, log=None, **options):
    """`train_classifier` on 256 digits with the network above."""
    original = applications.get_model
    applications.get_model = lambda name: tiny_network
    defaults = {"epochs": 3, "batch_size": 32, "max_train_examples": 256, "seed": 3}
    try:
        return training.train_classifier(
            training.TrainOptions(output=str(output), **{**defaults, **options}),
            log=log or logging.info,
        )
    finally:
        applications.get_model = original


def kill_at(epoch, step):
    """Makes the trainer send itself SIGKILL at an epoch and step (from 0)."""
    module = sys.modules["keras_sda.training.commands.train_classifier"]

    class Killer(module.SeedPerEpoch):
        def on_epoch_begin(self, current, logs=None):
            super().on_epoch_begin(current, logs)
            self.current = current

        def on_train_batch_end(self, batch, logs=None):
            if (self.current, batch) == (epoch, step):
                os.kill(os.getpid(), signal.SIGKILL)

    module.SeedPerEpoch = Killer


if __name__ == "__main__":
    pairs = dict(word.split("=", 1) for word in sys.argv[2:])
    if "kill_at" in pairs:
        kill_at(*map(int, pairs.pop("kill_at").split(",")))
    literals = {"True": True, "False": False}
    train_tiny(
        sys.argv[1],
        **{
            name: literals.get(text, int(text) if text.isdigit() else text)
            for name, text in pairs.items()
        },
    )
