"""The networks of the published CIFAR-10 and MNIST tables."""

import keras
import numpy as np
import pytest
from test_case import infer

from keras_sda import applications
from keras_sda.analysis import profile
from keras_sda.applications.checkpoints.network_signature import NetworkSignature
from keras_sda.applications.presets.cifar_presets import CIFAR_PRESETS
from keras_sda.training import build_classifier
from keras_sda.utils import InvalidInputError

# Parameters and operations of the published tables, as printed.
PUBLISHED = {
    "CIFARResNet56": ("0.85", "125.49"),
    "CIFARVGG16": ("14.99", "313.47"),
    "CIFARMobileNetV2": ("2.30", "91.17"),
    "CIFARDenseNet121": ("6.89", "888.36"),
    "LeNet": ("0.43", "2.29"),
}
# Layers that weight files and converters rely on.
NAMES = {
    "CIFARResNet20": "stem_conv stage1_block1_conv1 stage2_block1_shortcut_pad",
    "CIFARResNet56": "stem_bn stage3_block9_conv2 stage3_block9_bn2 stage3_block9_out",
    "CIFARVGG16": "stage1_block1_conv1 stage5_block3_bn1 stage5_pool fc1 fc1_bn",
    "CIFARMobileNetV2": "stem_conv stage2_block1_shortcut_conv stage6_block3_conv2",
    "CIFARDenseNet121": "stem_conv stage4_block16_conv2 stage3_transition_conv",
    "LeNet": "stage1_block1_conv1 stage2_block1_conv1 fc1",
}


def table_counts(model, result):
    """As the tables count: one operation for every bias and every filter, too."""
    convolutions = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
    ]
    dense = [x for x in model.layers if isinstance(x, keras.layers.Dense)]
    extra = sum(x.output.shape[-1] for x in convolutions + dense)
    params = result.trainable_params
    if "dense" in model.name:
        # Two parameters a filter where there are two a channel read.
        norms = [
            x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)
        ]
        params -= 2 * sum(int(x.gamma.shape[0]) for x in norms)
        params += 2 * sum(x.filters for x in convolutions if x.name != "stem_conv")
    return params, result.macs + extra


@pytest.mark.parametrize("name", sorted(CIFAR_PRESETS))
def test_sizes(name):
    row = CIFAR_PRESETS[name]
    constructor = applications.get_model(name)
    model = constructor()
    result = profile(model)
    assert (result.trainable_params, result.macs) == (row["params"], row["macs"])
    assert not result.unknown
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    assert f"Builds {name}" in constructor.__doc__
    for layer in NAMES[name].split():
        model.get_layer(layer)
    if name in PUBLISHED:
        params, operations = table_counts(model, result)
        printed = f"{params / 1e6:.2f}", f"{operations / 1e6:.2f}"
        assert printed == PUBLISHED[name]
    if name == "CIFARDenseNet121":
        assert round(params, -3) == 6_893_000
    signature = NetworkSignature.of_model(model)
    assert signature.preset == (name if "ResNet" in name else None)


@pytest.mark.parametrize(
    "name",
    [
        "CIFARResNet20",
        "LeNet",
        pytest.param("CIFARDenseNet121", marks=pytest.mark.large),
        pytest.param("CIFARMobileNetV2", marks=pytest.mark.large),
        pytest.param("CIFARVGG16", marks=pytest.mark.large),
    ],
)
def test_application(name, tmp_path):
    constructor = applications.get_model(name)
    channels = 1 if name == "LeNet" else 3
    model = constructor(classes=7, input_shape=(40, 36, channels))
    x = np.random.normal(size=(2, 40, 36, channels)).astype("f")
    y = infer(model, x)
    assert y.shape == (2, 7)
    np.testing.assert_allclose(y.sum(-1), 1, atol=1e-5)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(infer(reloaded, x), y, atol=1e-6)
    again = constructor(
        classes=7,
        input_shape=(40, 36, channels),
        weights=tmp_path / "model.weights.h5",
    )
    np.testing.assert_allclose(infer(again, x), y, atol=1e-6)
    body = constructor(include_top=False, pooling="avg")
    assert body.predict(x, verbose=0).shape == (2, body.output_shape[-1])
    assert body.name == model.name and "conv1" not in model.name


def test_shortcut_without_parameters():
    """Every second position, zero channels in front and behind."""
    model = applications.CIFARResNet20(input_shape=(33, 32, 3))
    names = [f"stage{n}_block1_{part}" for n in (2, 3) for part in ("conv1", "add")]
    probe = keras.Model(
        model.input,
        [model.get_layer("stage1_block3_out").output]
        + [model.get_layer("stage2_block1_bn2").output]
        + [model.get_layer(name).output for name in names],
    )
    x = np.random.normal(size=(2, 33, 32, 3)).astype("f")
    before, branch, _, total, _, last = infer(probe, x)
    picked = before[:, ::2, ::2]
    shortcut = np.pad(picked, ((0, 0), (0, 0), (0, 0), (8, 8)))
    assert shortcut.shape == (2, 17, 16, 32)
    np.testing.assert_allclose(total, branch + shortcut, atol=1e-5)
    assert last.shape == (2, 9, 8, 64)


def test_strided_convolutions_pad_on_both_sides():
    model = applications.CIFARMobileNetV2()
    layer = model.get_layer("stage3_block1_conv2")
    assert layer.padding == "valid" and layer.strides == (2, 2)
    assert model.get_layer("stage3_block1_conv2_pad").padding == ((1, 1), (1, 1))
    # Every kernel starts at the deviation of its size and its number of filters.
    for name, filters in (("stage3_block1_conv2", 144), ("head_conv", 1280)):
        kernel = np.array(model.get_layer(name).kernel)
        size = kernel.shape[0] * kernel.shape[1]
        assert kernel.std() == pytest.approx((2 / (size * filters)) ** 0.5, rel=0.1)
    assert np.array(model.get_layer("predictions").kernel).std() == pytest.approx(
        0.01, rel=0.1
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert (layer.epsilon, layer.momentum) == (1e-5, 0.9)


@pytest.mark.parametrize("name", ["CIFARResNet20", "LeNet"])
def test_training(name):
    channels, size = (1, 28) if name == "LeNet" else (3, 32)
    model = build_classifier(applications.get_model(name), size, channels, 4)
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9), "categorical_crossentropy")
    labels = np.arange(16) % 4
    x = np.random.uniform(0, 255, size=(16, size, size, channels)).astype("f")
    x *= (labels[:, None, None, None] + 1) / 4
    y = np.eye(4)[labels]
    losses = model.fit(x, y, epochs=12, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    with pytest.raises(InvalidInputError, match="no option depth_attention"):
        build_classifier(
            applications.get_model(name), size, channels, 4, depth_attention=False
        )


def test_mixed_precision_keeps_the_head_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = applications.CIFARResNet20()
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert model.get_layer("avg_pool").compute_dtype == "float32"
    assert model.output.dtype == "float32"


@pytest.mark.parametrize("name", ["CIFARResNet20", "CIFARMobileNetV2"])
def test_channels_first(name):
    """The same layers with the channels in front (built only: CPUs cannot run it)."""
    keras.config.set_image_data_format("channels_first")
    try:
        model = applications.get_model(name)(input_shape=(3, 32, 32))
    finally:
        keras.config.set_image_data_format("channels_last")
    assert model.output_shape == (None, 10)
    params = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert params == CIFAR_PRESETS[name]["params"]


def test_names():
    assert applications.get_model("cifarresnet56") is applications.CIFARResNet56
    info = applications.model_info("CIFARVGG16")
    assert info["published_top1"] == 93.77 and info["published_on"] == "CIFAR-10"
    assert applications.model_info("SDAResNet86")["published_on"] == "ImageNet"
    # Trained weights of a network that differs in the shortcuts do not fit.
    with pytest.raises(InvalidInputError, match="published under 'cifar10' for CIFAR"):
        applications.CIFARResNet20(weights="cifar10")


@pytest.mark.parametrize(
    "kwargs, text",
    [
        ({"input_shape": (16, 16, 3)}, "at least 32x32"),
        ({"pooling": "mean"}, "`pooling`"),
        ({"classes": 0}, "`classes`"),
        ({"weights": "a.bin"}, "`weights`"),
    ],
)
def test_bad_arguments(kwargs, text):
    with pytest.raises(InvalidInputError, match=text):
        applications.CIFARResNet20(**kwargs)


def test_smallest_image_of_lenet():
    assert applications.LeNet(input_shape=(16, 16, 1)).output_shape == (None, 10)
    with pytest.raises(InvalidInputError, match="at least 16x16"):
        applications.LeNet(input_shape=(15, 16, 1))
