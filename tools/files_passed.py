"""Count the files of the package whose code one call runs through.

Run it as `python tools/files_passed.py`. It counts while a small network is planned,
pruned, gated and cut, grouped and trained; importing does not count. A reader who
follows such a call opens that many files; fewer is better. `--files` names them.
"""

import argparse
import collections
import pathlib
import sys
import tempfile

import keras
import numpy as np
from keras import layers

import keras_sda

PACKAGE = pathlib.Path(keras_sda.__file__).resolve().parent


def network():
    """Two residual blocks with batch normalization, and a classifier."""
    x = keras.Input((8, 8, 1))
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem_conv")(x)
    for number in (1, 2):
        z = layers.Conv2D(8, 3, padding="same", name=f"block{number}_conv")(y)
        z = layers.ReLU()(layers.BatchNormalization()(z))
        y = layers.Add()([y, z])
    y = layers.GlobalAveragePooling2D()(y)
    return keras.Model(x, layers.Dense(10, activation="softmax")(y))


def gated():
    model = keras_sda.search.add_channel_gates(network())
    for layer in model.layers:
        if isinstance(layer, keras_sda.layers.ScaledSigmoidGate):
            layer.s.assign(np.where(np.arange(layer.s.shape[0]) % 3, 5.0, -5.0))
    return model


def train():
    with tempfile.TemporaryDirectory() as folder:
        keras_sda.training.train_classifier(
            keras_sda.training.TrainOptions(
                model="LeNet",
                dataset="digits",
                max_train_examples=32,
                epochs=1,
                output=str(pathlib.Path(folder) / "run"),
            )
        )


def passed(call):
    """Returns the files of the package that run while `call()` runs."""
    files = collections.Counter()

    def look(frame, event, argument):
        code = frame.f_code
        if event == "call" and code.co_name != "<module>":
            files[code.co_filename] += 1

    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(None)
    inside = (pathlib.Path(name) for name in files)
    return sorted(
        path.relative_to(PACKAGE) for path in inside if PACKAGE in path.parents
    )


def main(arguments=None):
    """Prints for each call how many files and folders it runs through."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", action="store_true", help="name the files as well")
    options = parser.parse_args(arguments)
    plain, gates = network(), gated()
    calls = {
        "make_plan": lambda: keras_sda.pruning.make_plan(plain, macs=0.7),
        "prune": lambda: keras_sda.pruning.prune(plain, macs=0.7),
        "derive": lambda: keras_sda.search.derive(gates),
        "self_group": lambda: keras_sda.grouping.self_group(plain, num_groups=2),
        "train_classifier": train,
    }
    for name, call in calls.items():
        files = passed(call)
        folders = {path.parent for path in files}
        print(f"{name}: {len(files)} files in {len(folders)} folders")
        if options.files:
            print(*(f"  {path}" for path in files), sep="\n")


if __name__ == "__main__":
    main()
