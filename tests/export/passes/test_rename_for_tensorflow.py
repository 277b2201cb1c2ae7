"""Names that TensorFlow refuses are changed in the exported copy."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.export import export_saved_model, rename_for_tensorflow
from keras_sda.utils import InvalidInputError

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")


def build():
    """Underlines, spaces, umlauts, the new names in use, and a nested model."""
    x = keras.Input((8, 8, 3), name="_image")
    y = layers.Rescaling(1 / 255, name="_scale")(x)
    y = layers.Conv2D(4, 3, name="_conv_stem", use_bias=False)(y)
    y = layers.BatchNormalization(name="layer_conv_stem")(y)
    inner = keras.Input((6, 6, 4))
    nested = keras.Model(
        inner, layers.Conv2D(4, 3, name="-conv")(inner), name="_my block"
    )
    y = nested(layers.ReLU(name="größe")(nested_twice(y)))
    y = layers.GlobalAveragePooling2D(name="a b")(y)
    y = layers.Dense(3, activation="softmax", name="a_b")(keras.ops.abs(y))
    return keras.Model(x, y, name="_net")


def nested_twice(y):
    shared = layers.Conv2D(4, 1, name="_shared")
    return shared(shared(y))


def test_export(tmp_path):
    import tensorflow as tf

    model = build()
    before = [layer.name for layer in model.layers]
    for fold in (True, False):
        path = export_saved_model(model, tmp_path, fold=fold)
        loaded = tf.saved_model.load(str(path))
        found = loaded.signatures["serving_default"](images=tf.constant(IMAGES))
        np.testing.assert_allclose(found["probabilities"], model(IMAGES), atol=1e-5)
    assert [layer.name for layer in model.layers] == before


def test_names_and_weights():
    model = build()
    copy = rename_for_tensorflow(model)
    names = {old.name: new.name for old, new in zip(model.layers, copy.layers,
                                                    strict=True)}  # fmt: skip
    assert names["_conv_stem"] == "layer_conv_stem_1"
    assert names["layer_conv_stem"] == "layer_conv_stem"
    assert names["größe"] == "gr__e" and names["a b"] == "a_b_1"
    assert names["_my block"] == "layer_my_block" and copy.name == "layer_net"
    assert len(set(names.values())) == len(names)
    for one, two in zip(model.weights, copy.weights, strict=True):
        assert one is not two
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(copy(IMAGES), model(IMAGES))
    again = rename_for_tensorflow(copy)
    assert [x.name for x in again.layers] == [x.name for x in copy.layers]
    assert again is not copy and again.name == copy.name


def test_what_cannot_be_copied_is_named():
    x = keras.Input((4,))
    y = layers.Lambda(lambda z: z * 2, name="_twice")(x)
    model = keras.Model(x, layers.Dense(2)(y))
    with pytest.raises(InvalidInputError, match="'_twice'.*'layer_twice'"):
        rename_for_tensorflow(model)
