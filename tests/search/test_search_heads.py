"""A search without `loss=` trains with the loss that its outputs and targets mean."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.search import ChannelSearch, add_channel_gates
from keras_sda.search.search_options import default_loss
from keras_sda.utils import InvalidInputError

X = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype("float32")
NUMBERS = np.arange(8) % 3
ONE_HOT = np.eye(3, dtype="float32")[NUMBERS]
LABELS = np.ones((8, 3), "float32")


def gated(end):
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(4, 3, use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(y))
    return add_channel_gates(keras.Model(x, end(y)))


def cast(y):
    y = layers.Dense(3, activation="softmax")(y)
    return layers.Activation("linear", dtype="float32")(y)


CASES = {
    "cast": (cast, NUMBERS, "SparseCategoricalCrossentropy", False),
    "operation": (
        lambda y: keras.ops.softmax(layers.Dense(3)(y)),
        ONE_HOT,
        "CategoricalCrossentropy",
        False,
    ),
    "nested": (
        lambda y: keras.Sequential([layers.Dense(3, activation="softmax")])(y),
        NUMBERS,
        "SparseCategoricalCrossentropy",
        False,
    ),
    "sigmoids": (
        layers.Dense(3, activation="sigmoid"),
        LABELS,
        "BinaryCrossentropy",
        False,
    ),
    "one sigmoid": (
        layers.Dense(1, activation="sigmoid"),
        NUMBERS % 2,
        "BinaryCrossentropy",
        False,
    ),
    "logits": (layers.Dense(3), NUMBERS, "SparseCategoricalCrossentropy", True),
    "logits, one-hot": (layers.Dense(3), ONE_HOT, "CategoricalCrossentropy", True),
    "logits, labels": (layers.Dense(3), LABELS, "BinaryCrossentropy", True),
}


@pytest.mark.parametrize("name", CASES)
def test_default_loss(name):
    end, targets, expected, from_logits = CASES[name]
    model = gated(end)
    ChannelSearch(model)
    loss = default_loss(model, (X, targets))
    assert type(loss).__name__ == expected and loss.from_logits is from_logits


def test_a_search_runs_on_sigmoids():
    search = ChannelSearch(gated(layers.Dense(3, activation="sigmoid")))
    (row,) = search.train_weights((X, LABELS), epochs=1, verbose=0)
    assert np.isfinite(row["loss"])
    assert search.gated.layers  # trained in place


def test_streams_tell_as_arrays_do():
    import tensorflow as tf

    for targets, expected in ((ONE_HOT, "Categorical"), (LABELS, "Binary")):
        stream = tf.data.Dataset.from_tensor_slices((X, targets)).batch(4)
        for data in (stream, lambda start, stream=stream: stream):
            loss = default_loss(gated(layers.Dense(3)), data)
            assert type(loss).__name__ == f"{expected}Crossentropy"


def test_the_loss_of_a_compiled_gated_model():
    model = gated(layers.Dense(3))
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    # Every sample happens to have one label.
    loss = default_loss(model, (X, ONE_HOT))
    assert type(loss).__name__ == "BinaryCrossentropy" and loss.from_logits


def test_what_cannot_be_known_needs_the_loss():
    with pytest.raises(InvalidInputError, match=r"ChannelSearch\(gated, loss="):
        ChannelSearch(gated(layers.Dense(1)))
    ChannelSearch(gated(layers.Dense(1)), loss="mse")
    with pytest.raises(InvalidInputError, match="sigmoid for each of 3 labels"):
        default_loss(gated(layers.Dense(3, activation="sigmoid")), (X, NUMBERS))
