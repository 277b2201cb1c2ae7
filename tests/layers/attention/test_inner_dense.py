"""Quantized models: what `model.quantize` makes can be saved, loaded and changed."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda import applications, depth, export, grouping, pruning, search
from keras_sda.layers import SqueezeExcite2D
from keras_sda.utils import InvalidInputError

MODES = ["int8", "int4", "float8"]
NETWORKS = {
    "SDAResNet": {"base_width": 8, "stem_width": 8},
    "SDASENet": {"base_width": 8, "stem_width": 8},
    "SDACBAM": {"base_width": 8, "stem_width": 8},
    "SDAEPSANet": {"base_width": 64, "stem_width": 8},
    "SDAPyConv": {"base_width": 64, "stem_width": 8},
    "SDARes2Net": {"stage_width": 16, "stem_width": 8},
}


def images(side=8):
    generator = np.random.default_rng(0)
    return generator.normal(size=(2, side, side, 3)).astype("float32")


def answers(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


def quantized(model, mode):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for every layer without quantized form
        model.quantize(mode)
    return model


def small_classifier():
    x = y = keras.Input((8, 8, 3))
    for _ in range(2):
        y = layers.Conv2D(8, 3, use_bias=False)(y)
        y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.GlobalAveragePooling2D()(y)
    y = layers.Dense(12, activation="relu", name="hidden")(y)
    return keras.Model(x, layers.Dense(4, activation="softmax", name="top")(y))


@pytest.mark.parametrize(
    ("name", "mode"),
    [(name, "int8") for name in NETWORKS]
    + [
        pytest.param(name, mode, marks=pytest.mark.large)
        for name in NETWORKS
        for mode in ("int4", "float8")
    ],
)
def test_quantized_networks_load_and_answer_the_same(name, mode, tmp_path):
    build = getattr(applications, name)
    model = build(
        [1], **NETWORKS[name], min_width=4, input_shape=(32, 32, 3), classes=5
    )
    quantized(model, mode)
    assert model.get_layer("predictions").quantization_mode == mode
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("predictions").quantization_mode == mode
    x = images(32)
    np.testing.assert_array_equal(answers(model, x), answers(loaded, x))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "build",
    [
        lambda: applications.LeNet(input_shape=(16, 16, 1), classes=3),
        lambda: depth.attach(_residual_network(), min_width=4),
        lambda: (
            grouping.pack(
                grouping.self_group(small_classifier(), num_groups=2).model, "lists"
            ).model
        ),
        lambda: grouping.self_group(small_classifier(), num_groups=2).model,
    ],
    ids=["LeNet", "attached", "packed", "masked"],
)
def test_other_networks_load_after_quantization(build, mode, tmp_path):
    model = build()
    x = np.ones((2, *model.input_shape[1:]), "float32")
    quantized(model, mode).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(answers(model, x), answers(loaded, x))


def _residual_network():
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(8, 3, padding="same")(x)
    for _ in range(2):
        z = layers.Conv2D(8, 3, padding="same")(layers.ReLU()(y))
        y = layers.ReLU()(layers.Add()([y, z]))
    y = layers.GlobalAveragePooling2D()(y)
    return keras.Model(x, layers.Dense(3)(y))


def test_inner_layers_say_that_they_stay_in_float32():
    outer = SqueezeExcite2D(4)
    outer.build((None, 8, 8, 8))
    layer = outer.squeeze
    with pytest.raises(NotImplementedError, match="squeeze.*float32"):
        layer.quantize("int8")
    with pytest.raises(InvalidInputError, match="squeeze.*LoRA"):
        layer.enable_lora(2)


@pytest.mark.parametrize("mode", MODES)
def test_surgery_on_a_quantized_model_is_exact(mode, tmp_path):
    model = quantized(small_classifier(), mode)
    model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    x = images()
    before = answers(model, x)
    plan = pruning.make_plan(model, macs=0.3)
    small = pruning.shrink(model, plan)
    assert small.get_layer("top").quantization_mode == mode
    np.testing.assert_allclose(
        answers(small, x), answers(pruning.mask(model, plan), x), atol=1e-6
    )
    folded = export.fold_batch_normalization(model)
    np.testing.assert_allclose(answers(folded, x), before, atol=1e-5)
    gated = search.add_channel_gates(model)
    np.testing.assert_allclose(answers(gated, x), before, atol=1e-6)
    masked = grouping.self_group(model, num_groups=2).model
    packed = grouping.pack(masked, "lists").model
    np.testing.assert_allclose(answers(packed, x), answers(masked, x), atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: pruning.prune(model, macs=0.3),
        search.add_channel_gates,
        lambda model: grouping.self_group(model, num_groups=2),
        export.fold_batch_normalization,
    ],
    ids=["prune", "gates", "group", "fold"],
)
def test_float8_made_in_place_is_one_clear_line(change):
    model = quantized(small_classifier(), "float8")
    with pytest.raises(InvalidInputError, match="hidden.*float8.*save the model"):
        change(model)
