"""Folding keeps the numbers and removes exactly the layers that it may."""

import keras
import numpy as np
import pytest
from keras import layers
from keras_networks import make_network
from test_case import infer

from keras_sda.export import fold_batch_normalization
from keras_sda.layers import (
    GroupedConv2D,
    PackedConv2D,
    PackedDense,
    SelectiveDepthAttention,
)
from keras_sda.utils import InvalidInputError


def randomize(model):
    """Gives every weight a value that a forgotten or misplaced one would show."""
    generator = np.random.default_rng(5)
    for weight in model.weights:
        if weight.name == "moving_variance":
            value = generator.uniform(0.3, 2, weight.shape)
        elif weight.name == "gamma":
            value = generator.uniform(-1.5, 1.5, weight.shape)
        elif len(weight.shape) > 1:
            fan_in = max(1, np.prod(weight.shape[:-1]))
            value = generator.normal(size=weight.shape) / np.sqrt(fan_in)
        else:
            value = generator.normal(size=weight.shape)
        weight.assign(value)
    return model


def check(model, num_left, tolerance=1e-5):
    """Folds, compares outputs, and counts the normalization layers that are left."""
    randomize(model)
    before = [np.array(weight) for weight in model.weights]
    folded = fold_batch_normalization(model)
    generator = np.random.default_rng(1)
    inputs = [
        generator.normal(size=(3, *x.shape[1:])).astype("float32") for x in model.inputs
    ]
    inputs = keras.tree.pack_sequence_as(model.input, inputs)
    expected = keras.tree.flatten(model(inputs, training=False))
    received = keras.tree.flatten(folded(inputs, training=False))
    for a, b in zip(expected, received, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=1e-5)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)  # the original is left alone
    assert count(folded) == num_left
    names = [layer.name for layer in model.layers]
    assert [name for name in names if name in layer_names(folded)] == layer_names(
        folded
    )
    return folded


def count(model):
    return sum(
        isinstance(layer, layers.BatchNormalization)
        for layer in model._flatten_layers()
    )


def layer_names(model):
    return [layer.name for layer in model.layers]


def chain(input_shape, *steps):
    x = inputs = keras.Input(input_shape)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


BN = layers.BatchNormalization
IMAGE = (10, 9, 6)
CHAINS = {
    "conv": (IMAGE, layers.Conv2D(8, 3), BN(), layers.ReLU()),
    "conv_no_bias": (IMAGE, layers.Conv2D(8, 3, 2, "same", use_bias=False), BN()),
    "padding_conv": (IMAGE, layers.ZeroPadding2D(1), layers.Conv2D(8, 3, 2), BN()),
    "conv_dilated": (IMAGE, layers.Conv2D(4, 3, dilation_rate=2), BN(axis=3)),
    "conv1d": ((12, 3), layers.Conv1D(5, 3, padding="causal"), BN()),
    "conv3d": ((5, 6, 7, 2), layers.Conv3D(4, 2), BN()),
    "depthwise": (IMAGE, layers.DepthwiseConv2D(3, depth_multiplier=3), BN()),
    "depthwise1d": ((12, 3), layers.DepthwiseConv1D(3, use_bias=False), BN()),
    "separable": (IMAGE, layers.SeparableConv2D(5, 3, depth_multiplier=2), BN()),
    "transposed": (IMAGE, layers.Conv2DTranspose(5, 3, 2), BN()),
    "transposed1d": ((7, 2), layers.Conv1DTranspose(5, 3, 2, use_bias=False), BN()),
    "grouped": (IMAGE, GroupedConv2D(8, 3, groups=2, use_bias=False), BN()),
    "grouped_split": (
        IMAGE,
        GroupedConv2D(6, 3, 2, groups=3, implementation="split"),
        BN(),
    ),
    # Lists of several sizes, one empty, in another order.
    "packed": (
        IMAGE,
        PackedConv2D([[0, 1, 2], [], [5, 3]], [2, 1, 3], 3, [3, 0, 2, 5, 1, 4]),
        BN(),
    ),
    "packed_no_bias": (
        IMAGE,
        PackedConv2D([[0, 1], [2, 5]], [2, 3], 3, strides=2, use_bias=False),
        BN(),
        BN(),
    ),
    "packed_dense": (
        (7,),
        PackedDense([[6, 0], [], [1, 2, 3]], [1, 2, 2], [4, 2, 0, 1, 3]),
        BN(),
    ),
    "dense": ((7,), layers.Dense(5, use_bias=False), BN(), layers.ReLU()),
    "dense_on_maps": (IMAGE, layers.Dense(5), BN()),
    "no_scale": (IMAGE, layers.Conv2D(8, 3), BN(scale=False)),
    "no_center": (IMAGE, layers.Conv2D(8, 3), BN(center=False, epsilon=0.1)),
    "neither": (IMAGE, layers.Conv2D(8, 3), BN(scale=False, center=False)),
    "two_in_a_row": (IMAGE, layers.Conv2D(8, 3), BN(), BN()),
    "before_dense": (
        IMAGE,
        layers.GlobalAveragePooling2D(),
        BN(),
        layers.Dense(5, activation="softmax"),
    ),
    "around_dense": ((7,), layers.ReLU(), BN(), layers.Dense(5), BN()),
    "frozen": (IMAGE, layers.Conv2D(8, 3, trainable=False), BN(trainable=False)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_folds(name):
    check(chain(CHAINS[name][0], *clones(CHAINS[name][1:])), num_left=0)


LEFT = {
    "activation_in_conv": (IMAGE, layers.Conv2D(8, 3, activation="relu"), BN()),
    "activation_in_packed": (
        IMAGE,
        PackedConv2D([[0, 1], [2, 5]], [2, 3], 3, activation="relu"),
        BN(),
    ),
    "activation_between": (IMAGE, layers.Conv2D(8, 3), layers.ReLU(), BN()),
    "before_conv": (IMAGE, layers.ReLU(), BN(), layers.Conv2D(8, 3, padding="same")),
    "other_axis": (IMAGE, layers.Conv2D(8, 3), BN(axis=1)),
    "dense_other_axis": (IMAGE, layers.Dense(5), BN(axis=2)),
    "pooling_between": (IMAGE, layers.Conv2D(8, 3), layers.MaxPooling2D(), BN()),
    "other_dtype": (IMAGE, layers.Conv2D(8, 3), BN(dtype="mixed_bfloat16")),
}


@pytest.mark.parametrize("name", LEFT)
def test_leaves(name):
    check(chain(LEFT[name][0], *clones(LEFT[name][1:])), num_left=1)


def clones(steps):
    return [type(step).from_config(step.get_config()) for step in steps]


def test_leaves_conv_with_two_readers():
    x = keras.Input(IMAGE)
    y = layers.Conv2D(6, 3, padding="same")(x)
    model = keras.Model(x, layers.Add()([BN()(y), y]))
    check(model, num_left=1)


def test_leaves_conv_that_is_an_output():
    x = keras.Input(IMAGE)
    y = layers.Conv2D(6, 3)(x)
    check(keras.Model(x, {"raw": y, "normal": BN()(y)}), num_left=1)


def test_leaves_shared_conv_with_two_normalizations():
    x = keras.Input(IMAGE)
    conv = layers.Conv2D(6, 3, padding="same")
    check(keras.Model(x, layers.Add()([BN()(conv(x)), BN()(conv(x + 1))])), num_left=2)


def test_leaves_shared_normalization():
    x = keras.Input(IMAGE)
    bn = BN()
    outputs = [bn(layers.Conv2D(6, 3)(x)), bn(layers.Conv2D(6, 3)(x))]
    check(keras.Model(x, outputs), num_left=1)


def test_leaves_batch_statistics():
    x = keras.Input(IMAGE)
    y = BN()(layers.Conv2D(6, 3)(x), training=True)
    folded = fold_batch_normalization(randomize(keras.Model(x, y)))
    assert count(folded) == 1


def test_normalization_before_two_dense_layers_stays():
    x = keras.Input((7,))
    y = BN()(layers.ReLU()(x))
    check(keras.Model(x, [layers.Dense(2)(y), layers.Dense(3)(y)]), num_left=1)


def test_residual_network_with_several_inputs_and_operations():
    a, b = keras.Input(IMAGE, name="a"), keras.Input(IMAGE, name="b")
    y = layers.Concatenate()([a, keras.ops.abs(b)])
    y = layers.ReLU()(BN()(layers.Conv2D(8, 3, padding="same", use_bias=False)(y)))
    z = BN()(layers.Conv2D(8, 1, use_bias=False)(y))
    y = BN()(layers.DepthwiseConv2D(3, padding="same")(y)) + z
    head = BN()(layers.GlobalAveragePooling2D()(y))
    model = keras.Model({"a": a, "b": b}, {"map": y, "top": layers.Dense(4)(head)})
    check(model, num_left=0)


def test_nested_models_are_folded_and_stay_nested():
    inner = keras.Sequential(
        [keras.Input(IMAGE), layers.Conv2D(6, 3, padding="same"), BN()], name="inner"
    )
    u, v = keras.Input(IMAGE), keras.Input(IMAGE)
    join = BN()(layers.Conv2D(6, 1)(layers.Add()([u, v])))
    outer = keras.Model([u, v], join, name="outer")
    x = keras.Input(IMAGE)
    y = outer([inner(x), inner(layers.ReLU()(x))])
    folded = check(keras.Model(x, y), num_left=0)
    assert folded.get_layer("inner").layers[-1].use_bias


def test_nested_model_in_training_mode_is_left():
    inner = chain(IMAGE, layers.Conv2D(6, 3), BN())
    x = keras.Input(IMAGE)
    model = randomize(keras.Model(x, inner(x, training=True)))
    folded = fold_batch_normalization(model)
    images = np.random.default_rng(0).normal(size=(4, *IMAGE)).astype("float32")
    np.testing.assert_allclose(model(images), folded(images), atol=1e-5)
    assert count(folded) == 1


def test_custom_layers_keep_their_weights():
    x = keras.Input(IMAGE)
    first = BN()(layers.Conv2D(8, 3, padding="same")(x))
    second = BN()(layers.Conv2D(8, 3, padding="same")(layers.ReLU()(first)))
    # The normalization inside the attention belongs to it.
    check(keras.Model(x, SelectiveDepthAttention()([first, second])), num_left=1)


def test_subclass_of_a_convolution_is_left():
    class Doubled(layers.Conv2D):
        def call(self, inputs):
            return keras.ops.square(super().call(inputs))

    check(chain(IMAGE, Doubled(6, 3), BN()), num_left=1)


def test_folded_model_saves_and_loads_without_custom_classes(tmp_path):
    model = chain(IMAGE, layers.Conv2D(8, 3), BN(), layers.ReLU())
    folded = check(model, num_left=0)
    folded.save(tmp_path / "folded.keras")
    loaded = keras.saving.load_model(tmp_path / "folded.keras")
    images = np.random.default_rng(0).normal(size=(2, *IMAGE)).astype("float32")
    np.testing.assert_array_equal(folded(images), loaded(images))


def test_compiled_model_is_not_compiled_again():
    model = chain(IMAGE, layers.Conv2D(8, 3), BN())
    model.compile("sgd", "mse")
    assert not fold_batch_normalization(model).compiled


@pytest.mark.parametrize(
    ("name", "small", "normalizations"),
    [
        ("EfficientNetB0", True, 16),
        ("MobileNetV3Small", True, 13),
        pytest.param("MobileNetV2", False, 52, marks=pytest.mark.large),
    ],
)
def test_networks_of_keras(name, small, normalizations):
    model = make_network(name, small, classifier_activation="softmax")
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("moving_variance", "gamma"):
            weight.assign(generator.uniform(0.8, 1.25, weight.shape))
    folded = fold_batch_normalization(model)
    images = generator.normal(size=(2, 32, 32, 3)).astype("float32")
    expected = infer(model, images)
    received = infer(folded, images)
    np.testing.assert_allclose(received, expected, atol=1e-5)
    assert count(model) == normalizations and count(folded) == 0


def test_refuses_what_has_no_graph():
    class Custom(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(InvalidInputError, match="keras.Model\\(inputs, outputs\\)"):
        fold_batch_normalization(Custom())
    with pytest.raises(InvalidInputError, match="not built"):
        fold_batch_normalization(keras.Sequential([layers.Dense(2)]))
