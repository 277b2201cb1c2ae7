"""profile: totals, unknown layers, keras.applications, other backends."""

import json

import keras
import pytest
from absl import logging
from keras import layers

from keras_sda.analysis import profile
from keras_sda.applications import SDAResNet50, SDAResNet86
from keras_sda.layers import GroupedConv2D, SelectiveDepthAttention
from keras_sda.utils import InvalidInputError


def small_model():
    x = keras.Input((8, 8, 3), name="image")
    y = layers.Conv2D(4, 3, use_bias=False, name="conv")(x)
    y = layers.BatchNormalization(name="bn")(y)
    y = layers.ReLU(name="relu")(y)
    y = layers.GlobalAveragePooling2D(name="pool")(y)
    return keras.Model(x, layers.Dense(2, name="head")(y), name="small")


def test_totals_and_rows():
    model = small_model()
    result = profile(model)
    assert result.macs == 36 * 9 * 3 * 4 + 8
    assert result.activations == 36 * 4 + 2
    assert result.params == model.count_params() == 108 + 16 + 10
    assert result.trainable_params == 108 + 8 + 10
    assert [row.name for row in result.layers] == ["conv", "bn", "relu", "pool", "head"]
    bn = result.layers[1]
    assert (bn.type, bn.output_shape) == ("BatchNormalization", (6, 6, 4))
    assert (bn.params, bn.trainable_params, bn.macs, bn.activations) == (16, 8, 0, 0)
    for column in ("params", "trainable_params", "macs", "activations"):
        total = sum(getattr(row, column) for row in result.layers)
        assert total == getattr(result, column)


def test_frozen_layers_are_not_trainable():
    model = small_model()
    model.get_layer("conv").trainable = False
    assert profile(model).trainable_params == 8 + 10


def test_text_is_aligned_and_dict_is_json():
    result = profile(small_model())
    lines = result.to_text().splitlines()
    table = [line for line in lines if line.startswith(("Layer", "conv", "Total"))]
    assert len({len(line) for line in table}) == 1
    assert "3,896" in lines[-3] and "126" in lines[-2]
    assert "relu" not in result.to_text()
    assert "relu" in result.to_text(all_layers=True)
    values = json.loads(json.dumps(result.to_dict()))
    assert values["macs"] == result.macs
    assert values["layers"][0]["output_shape"] == [6, 6, 4]


def test_shared_layer_counts_macs_per_call_and_weights_once():
    x = keras.Input((8,))
    shared = layers.Dense(8, name="shared")
    result = profile(keras.Model(x, shared(shared(x))))
    assert result.macs == 128
    assert result.params == 72
    assert [row.name for row in result.layers] == ["shared", "shared (call 2)"]
    assert [row.params for row in result.layers] == [72, 0]


def test_nested_and_multiple_inputs():
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, name="dense")], name="inner"
    )
    a, b = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([a, b], layers.concatenate([inner(a), inner(b)]))
    result = profile(model)
    assert result.macs == 24
    assert result.params == model.count_params() == 15
    assert result.layers[0].name == "inner/dense"


class Mystery(layers.Layer):
    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 2), name="kernel")

    def call(self, inputs):
        return keras.ops.cast(keras.ops.fft((inputs @ self.kernel,) * 2)[0], "float32")


def test_an_unknown_layer_is_named_and_logged(monkeypatch):
    messages = []
    monkeypatch.setattr(
        logging, "warning", lambda text, *values: messages.append(text % values)
    )
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(3)(Mystery(name="odd")(x)))
    result = profile(model)
    assert result.unknown == ("odd",)
    assert result.macs == 6
    assert result.params == model.count_params()
    assert "odd (Mystery)" in messages[0] and "register_macs_rule" in messages[0]
    assert "no rule: odd" in result.to_text()


def test_unknown_compute_without_weights_is_named():
    x = keras.Input((4,))
    model = keras.Model(
        x, layers.Lambda(lambda t: keras.ops.fft((t, t))[0], name="lambda")(x)
    )
    assert profile(model).unknown == ("lambda",)


def test_weights_outside_the_graph_are_counted():
    model = small_model()
    model.extra = layers.Dense(3)
    model.extra.build((None, 5))
    result = profile(model)
    assert result.params == model.count_params()
    assert result.layers[-1].params == 18


def test_unknown_image_size_needs_input_shape():
    x = keras.Input((None, None, 3))
    model = keras.Model(x, layers.Conv2D(4, 3)(x))
    with pytest.raises(InvalidInputError, match="`input_shape` is needed"):
        profile(model)
    assert profile(model, (8, 8, 3)).macs == 36 * 9 * 3 * 4
    assert profile(model, (None, 10, 8, 3)).macs == 48 * 9 * 3 * 4


def test_mixed_precision_changes_nothing():
    expected = profile(small_model()).to_dict()
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert profile(small_model()).to_dict() == expected


def test_own_layers():
    x = keras.Input((8, 8, 16))
    y = GroupedConv2D(32, 3, padding="same", groups=4, use_bias=False)(x)
    assert profile(keras.Model(x, y)).macs == 64 * 9 * 4 * 32
    model = keras.Model(x, SelectiveDepthAttention(min_width=8)([x, x, x]))
    result = profile(model)
    assert result.macs == 16 * 8 * (3 + 1)
    assert result.unknown == ()
    assert result.params == model.count_params()


@pytest.mark.parametrize(
    "constructor, trainable_params, macs",
    [
        (SDAResNet86, 27_219_880, 3_879_993_344),
        pytest.param(SDAResNet50, 27_313_576, 4_090_920_960, marks=pytest.mark.large),
    ],
)
def test_own_models_have_the_size_of_the_authors(constructor, trainable_params, macs):
    result = profile(constructor(weights=None))
    assert result.unknown == ()
    assert (result.trainable_params, result.macs) == (trainable_params, macs)


@pytest.mark.parametrize(
    "name, giga_macs",
    [
        # Published multiply-adds, in units of 1e9, where the paper prints one.
        ("MobileNetV2", 0.300),
        ("MobileNetV3Small", 0.057),
    ],
)
def test_keras_applications(name, giga_macs):
    check_network(name, giga_macs)


@pytest.mark.large
@pytest.mark.parametrize(
    "name, giga_macs",
    [
        ("ResNet50", 3.86),
        ("ResNet50V2", None),
        ("VGG16", 15.47),
        ("MobileNet", 0.569),
        ("DenseNet121", 2.83),
        ("EfficientNetB0", 0.39),
        ("EfficientNetV2B0", 0.72),
        ("NASNetMobile", 0.564),
        ("ConvNeXtTiny", 4.456),
        ("Xception", None),
        ("InceptionV3", 5.71),
        ("InceptionResNetV2", 13.16),
    ],
)
def test_large_keras_applications(name, giga_macs):
    check_network(name, giga_macs)


def check_network(name, giga_macs):
    model = getattr(keras.applications, name)(weights=None)
    # MobileNetV3 leaves the image size open.
    open_size = None in model.input_shape[1:]
    result = profile(model, (224, 224, 3) if open_size else None)
    assert result.unknown == ()
    assert result.params == model.count_params()
    assert result.macs > 5e7
    if giga_macs is not None:
        assert result.macs / 1e9 == pytest.approx(giga_macs, rel=0.02)
