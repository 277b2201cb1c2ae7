"""ReLUs that share their input leave TensorFlow's graph optimizer working."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.applications import SDAResNet
from keras_sda.export import export_saved_model
from keras_sda.export.passes.separate_shared_relus import separate_shared_relus


@pytest.mark.parametrize("relu", [layers.ReLU, lambda name: layers.Activation("relu")])
def test_same_numbers(relu):
    x = keras.Input((8,))
    total = layers.Add()([layers.Dense(4)(x), layers.Dense(4)(x)])
    model = keras.Model(x, [relu(name="relu")(total), total])
    changed = separate_shared_relus(model)
    assert not any(
        isinstance(a, (layers.ReLU, layers.Activation)) for a in changed.layers
    )
    values = np.random.normal(size=(3, 8)).astype("f")
    for a, b in zip(model(values), changed(values), strict=True):
        np.testing.assert_array_equal(a, b)


def test_only_shared_plain_relus_change():
    x = keras.Input((8,))
    total = layers.Add()([layers.Dense(4)(x), layers.Dense(4)(x)])
    capped = layers.ReLU(6.0, name="capped")(total)
    own = layers.ReLU(name="own")(layers.Dense(4)(x))
    model = separate_shared_relus(keras.Model(x, [capped, total, own]))
    assert {"capped", "own"} <= {layer.name for layer in model.layers}


def test_tensorflow_keeps_its_fusions(tmp_path, capfd):
    """The optimizer prints an error when it meets the shared ReLU unprepared."""
    import tensorflow as tf

    model = SDAResNet(
        [2, 3], base_width=8, stem_width=8, classes=3, input_shape=(32, 32, 3)
    )
    generator = np.random.default_rng(0)
    for weight in model.weights:  # Biases of zero would be optimized away.
        if weight.name in ("beta", "moving_mean"):
            weight.assign(generator.normal(size=weight.shape))
    path = export_saved_model(model, tmp_path, preprocessing="none")
    serve = tf.saved_model.load(path).signatures["serving_default"]
    capfd.readouterr()
    assert "probabilities" in serve(images=tf.ones((2, 32, 32, 3)))
    assert "remapper failed" not in capfd.readouterr().err
