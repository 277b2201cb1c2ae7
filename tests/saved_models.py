"""Small models of every kind that the package saves, as files.

`tests/fixtures/saved_models/` holds what version 0.1 wrote, before the rooms of the
package got their names of today; `python tests/saved_models.py FOLDER` writes such
files anew. They must load and predict the same for ever.
"""

import pathlib
import sys
import zipfile

import keras
import numpy as np
from keras import layers

import keras_sda
from keras_sda import depth, grouping, pruning, search

FOLDER = pathlib.Path(__file__).resolve().parent / "fixtures" / "saved_models"
SHAPE = (8, 8, 3)


def unit(x, filters, strides=1):
    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def plain(filters=8):
    """Three residual blocks of two resolutions."""
    x = keras.Input(SHAPE)
    y = unit(x, filters)
    for _ in range(2):
        y = layers.Add()([y, unit(unit(y, filters), filters)])
    y = unit(y, filters, 2)
    y = layers.Add()([y, unit(unit(y, filters), filters)])
    y = layers.Dense(8, activation="relu")(layers.GlobalAveragePooling2D()(y))
    return randomized(keras.Model(x, layers.Dense(3, activation="softmax")(y)))


def randomized(model):
    """Random values for every variable, so that each of them counts."""
    generator = np.random.default_rng(3)
    for variable in model.weights:
        if "seed" in variable.path:
            continue
        value = generator.normal(0, 0.4, variable.shape)
        if variable.path.endswith(("variance", "gamma")):
            value = 0.5 + np.abs(value)
        variable.assign(value.astype("float32"))
    return model


def attached():
    return randomized(depth.attach(plain()))


def blocks():
    """Every layer of the package that stands in a network before any surgery."""
    x = keras.Input(SHAPE)
    y = keras_sda.layers.GroupedConv2D(8, 3, groups=2, padding="same")(x[..., :2])
    y = keras_sda.layers.PyramidalConv2D((4, 4), (3, 5), (1, 2))(y)
    y = keras_sda.layers.PyramidSplitAttention2D(8, groups=(1, 1, 2, 2))(y)
    y = keras_sda.layers.ConvolutionalBlockAttention2D(4)(y)
    y = keras_sda.layers.SqueezeExcite2D(4)(y)
    y = keras_sda.layers.GatherChannels([0, 2, 3, 5, 6])(y)
    y = layers.Dense(3)(layers.GlobalAveragePooling2D()(y))
    return randomized(keras.Model(x, y))


def gated():
    model = search.add_channel_gates(plain())
    for number, layer in enumerate(model.layers):
        if hasattr(layer, "s"):
            places = np.arange(layer.s.shape[0])
            layer.s.assign(np.where((places + number) % 3 == 0, -5.0, 5.0))
    return model


def derived():
    return search.derive(gated(), max_half_open=1.0).model


def pruned():
    return pruning.prune(plain(), macs=0.6).model


def masked():
    return grouping.self_group(plain(), num_groups=2, conv_rate=0.5).model


def packed():
    return grouping.pack(masked(), form="lists").model


def compiled():
    model = plain(4)
    model.compile(keras_sda.training.CoupledSGD(0.1), "categorical_crossentropy")
    return model


KINDS = (attached, blocks, gated, derived, pruned, masked, packed, compiled)


def images():
    return np.random.default_rng(7).normal(0, 1, (4, *SHAPE)).astype("float32")


def outputs(model):
    return np.asarray(model(images(), training=False))


def compress(path):
    """Keras stores members of a file as they are; most of an HDF5 file is zeros."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


def main(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for kind in KINDS:
        keras.backend.clear_session()
        model = kind()
        path = folder / f"{kind.__name__}.keras"
        model.save(path)
        compress(path)
        written[kind.__name__] = outputs(model)
        inside = sorted({type(layer).__name__ for layer in model.layers})
        print(kind.__name__, *inside)
    np.savez(folder / "outputs.npz", **written)


if __name__ == "__main__":
    main(sys.argv[1])
