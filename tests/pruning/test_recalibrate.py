"""New statistics are those of the images, and kept only where they help."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.surgery_checks import randomize

from keras_sda.pruning import recalibrate
from keras_sda.utils import InvalidInputError


def network(axis=-1):
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(4, 3, name="first")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="bn1")(y))
    y = layers.BatchNormalization(name="bn2", center=False)(layers.Conv2D(5, 3)(y))
    y = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(y))
    model = keras.Model(x, layers.Dense(3, activation="softmax")(y))
    randomize(model)
    return model


def images(count=64, shift=0.0):
    generator = np.random.default_rng(0)
    return (generator.normal(size=(count, 6, 6, 3)) + shift).astype("float32")


def test_every_layer_sees_what_those_before_it_give():
    model, x = network(), images()
    new = recalibrate(model, x, check=False)
    for name in ("bn1", "bn2"):
        inner = keras.Model(new.input, new.get_layer(name).input)
        value = np.asarray(inner(x, training=False), "float64")
        layer = new.get_layer(name)
        np.testing.assert_allclose(layer.moving_mean, value.mean((0, 1, 2)), atol=1e-5)
        np.testing.assert_allclose(
            layer.moving_variance, value.var((0, 1, 2)), rtol=1e-4
        )
    for old, made in zip(model.layers, new.layers, strict=True):
        if not isinstance(old, layers.BatchNormalization):
            for a, b in zip(old.weights, made.weights, strict=True):
                np.testing.assert_array_equal(a, b)


def test_good_statistics_are_kept_and_bad_ones_are_not():
    model = recalibrate(network(), images(), check=False)
    x = images()
    labels = np.argmax(model(x), -1)
    spoiled = keras.models.clone_model(model)
    spoiled.set_weights(model.get_weights())
    spoiled.get_layer("bn2").moving_mean.assign(np.full(5, 3.0))
    spoiled.compile("sgd", "sparse_categorical_crossentropy")
    cured = recalibrate(spoiled, (x, labels))
    np.testing.assert_allclose(
        cured.get_layer("bn2").moving_mean,
        model.get_layer("bn2").moving_mean,
        atol=0.1,
    )
    assert float(spoiled.get_layer("bn2").moving_mean[0]) == 3.0
    # Other images, of which the model as it is says what the labels say.
    other = images(96, shift=9.0)
    kept = recalibrate(model, (other, np.argmax(model(other), -1)))
    np.testing.assert_array_equal(
        kept.get_layer("bn1").moving_mean, model.get_layer("bn1").moving_mean
    )


@pytest.mark.parametrize(
    "data, kwargs, message",
    [
        (images(8), {}, "must hold targets"),
        ((images(8), np.zeros((8, 7))), {"loss": "mse"}, "targets of shape"),
        (images(1), {"check": False}, "at least 2 samples"),
        ((images(3), np.zeros(3, int)), {}, "at least 4 samples"),
        (np.full((4, 6, 6, 3), np.nan), {"check": False}, "not finite"),
    ],
)
def test_bad_input_is_one_clear_line(data, kwargs, message):
    with pytest.raises(InvalidInputError, match=message):
        recalibrate(network(), data, **kwargs)
