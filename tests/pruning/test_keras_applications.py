"""Networks of keras.applications, KerasHub and this package, pruned to half."""

import gc

import keras
import numpy as np
import pytest
from keras_networks import make_network
from pruning.surgery_checks import randomize, run_surgery_test

from keras_sda import applications
from keras_sda.graph import ChannelGraph
from keras_sda.pruning import make_plan, prune, shrink

# One member per family, at the smallest size that leaves something to compute.
NETWORKS = {
    "VGG16": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "DenseNet121": 32,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "InceptionV3": 75,
    "InceptionResNetV2": 75,
    "Xception": 71,
    "NASNetMobile": 32,
    "ConvNeXtTiny": 32,
}
# Networks which Keras makes with fewer blocks too; a VGG is among those of CIFAR.
SMALL = (
    "ResNet50 ResNet50V2 DenseNet121 MobileNet MobileNetV3Small EfficientNetB0 "
    "EfficientNetV2B0 ConvNeXtTiny"
).split()
SDA_NETWORKS = "SDAResNet SDASENet SDARes2Net SDAPyConv SDAEPSANet SDACBAM".split()


@pytest.fixture(autouse=True)
def clean_up():
    yield
    keras.backend.clear_session()
    gc.collect()


def half(model, graph):
    plan = make_plan(model, macs=0.5, importance="l2", graph=graph)
    assert 0.45 < plan.expected["macs"] / plan.expected["macs_before"] <= 0.5
    return plan


def run(model):
    size, channels = model.input_shape[1:3][0], model.input_shape[-1]
    image = np.random.default_rng(0).uniform(0, 255, (1, size, size, channels))
    return run_surgery_test(
        model, image.astype("float32"), half, tolerance=1e-4, exact_macs=False
    )


@pytest.mark.large
@pytest.mark.parametrize("name", NETWORKS)
def test_keras_networks(name):
    run(make_network(name, size=NETWORKS[name]))


@pytest.mark.parametrize("name", SMALL)
def test_blocks_of_keras_networks(name):
    """The same blocks, fewer of them."""
    run(make_network(name, small=True))


def check_reconstructs(model, tmp_path):
    """No kernel gets worse, the whole output better, and files give the same."""
    randomize(model)
    size, channels = model.input_shape[1:3][0], model.input_shape[-1]
    images = np.random.default_rng(0).uniform(0, 255, (8, size, size, channels))
    images = images.astype("float32")
    for layer in model.layers:  # statistics of these images, as after training
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)
    result = prune(model, macs=0.5, importance="l2", data=images, reconstruct=True)
    rows = [row for row in result.report.refits if row.error_after is not None]
    assert rows
    for row in rows:
        assert row.error_after <= row.error_before * (1 + 1e-5) + 1e-9, row.layer
    expected = model.predict(images, verbose=0)
    cut = shrink(model, result.plan).predict(images, verbose=0)
    small = result.model.predict(images, verbose=0)
    assert np.square(small - expected).mean() < np.square(cut - expected).mean()
    result.model.save(tmp_path / "small.keras")
    again = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(again.predict(images, verbose=0), small)


@pytest.mark.large
@pytest.mark.parametrize("name", NETWORKS)
def test_keras_networks_are_reconstructed(name, tmp_path):
    check_reconstructs(make_network(name, size=NETWORKS[name]), tmp_path)


@pytest.mark.parametrize(
    "name",
    ["MobileNetV3Small", pytest.param("ConvNeXtTiny", marks=pytest.mark.large)],
)
def test_blocks_of_keras_networks_are_reconstructed(name, tmp_path):
    check_reconstructs(make_network(name, small=True), tmp_path)


def test_every_family_is_here():
    """A family that Keras adds has to be looked at."""
    families = (
        "ConvNeXt DenseNet EfficientNetB EfficientNetV2 InceptionV3 InceptionResNet "
        "MobileNet NASNet ResNet VGG Xception"
    ).split()
    assert all(any(name.startswith(f) for name in NETWORKS) for f in families)
    for name, function in vars(keras.applications).items():
        if name[0].isupper() and callable(function):
            assert name.startswith(tuple(families)), name


QUICK = "SDAResNet", "SDASENet"


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.large)
        for name in SDA_NETWORKS
    ],
)
def test_sda_networks(name):
    constructor = getattr(applications, name)
    model = constructor(
        [2, 2, 1],
        weights=None,
        input_shape=(32, 32, 3),
        classes=10,
        classifier_activation=None,
    )
    run(model)


@pytest.mark.parametrize(
    "name",
    [
        "CIFARResNet20",
        "LeNet",
        pytest.param("CIFARVGG16", marks=pytest.mark.large),
        pytest.param("CIFARMobileNetV2", marks=pytest.mark.large),
    ],
)
def test_cifar_networks(name):
    """The streams of CIFARResNet20 pad their channels."""
    run(getattr(applications, name)(classifier_activation=None))


def test_keras_hub_backbone():
    keras_hub = pytest.importorskip("keras_hub")
    model = keras_hub.models.ResNetBackbone(
        input_conv_filters=[16],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 128],
        stackwise_num_blocks=[2, 1],
        stackwise_num_strides=[1, 2],
        block_type="bottleneck_block",
        image_shape=(32, 32, 3),
    )
    run_surgery_test(model, plan=4, tolerance=1e-4)
    assert {u.reason for u in ChannelGraph(model).untouchable} == {
        "it is an output of the model"
    }
