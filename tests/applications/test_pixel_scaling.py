"""Trainer, exporter and the networks agree on what pixels become."""

import importlib

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda import applications
from keras_sda.applications import list_models
from keras_sda.applications.pixel_scaling import PixelScaling
from keras_sda.export.formats.preprocess_for_serving import preprocess_for_serving
from keras_sda.training import build_classifier
from keras_sda.utils import InvalidInputError

# One of each module; the others are alike and are looked at in `make test-all`.
QUICK = (
    "ConvNeXtTiny DenseNet121 EfficientNetB0 EfficientNetV2B0 EfficientNetV2S "
    "InceptionV3 MobileNet MobileNetV2 MobileNetV3Small NASNetMobile ResNet50 "
    "ResNet50V2 VGG16 Xception CIFARDenseNet121 CIFARMobileNetV2 CIFARResNet20 "
    "CIFARVGG16 LeNet ProxylessSupernet SDAPyConv50 SDAResNet20"
).split()
ALL = [name for name in dir(keras.applications) if name[0].isupper()] + list_models()
assert set(QUICK) <= set(ALL)
WEIGHTED = (layers.Conv2D, layers.DepthwiseConv2D)


class Stop(Exception):
    """The network is built far enough."""


@pytest.fixture
def stem(monkeypatch):
    """Calls a constructor and stops it after some layers.

    Returns the model up to the last layer, and the tensor of its first convolution.
    """
    original = layers.Layer.__call__
    seen = {}

    def call(self, *args, **kwargs):
        if "count" not in seen:
            return original(self, *args, **kwargs)
        outermost = not seen["stack"]
        seen["stack"].append(args[0])
        result = original(self, *args, **kwargs)
        if isinstance(self, WEIGHTED):
            # A stem may be a nested model: what that reads.
            seen.setdefault("first", seen["stack"][0])
        seen["stack"].pop()
        seen["count"] += 1
        if seen["count"] >= seen["limit"] and outermost:
            seen["last"] = result
            raise Stop
        return result

    monkeypatch.setattr(layers.Layer, "__call__", call)

    def build(make, limit):
        seen.update(count=0, stack=[], limit=limit)
        try:
            seen["last"] = make().output
        except Stop:
            pass
        del seen["count"]
        last, first = seen.pop("last"), seen.pop("first")
        (source,) = keras.utils.get_source_inputs(first)
        return keras.Model(source, last), keras.Model(source, first)

    return build


def check_network(name, stem, channels=3, size=96):
    ours = name in list_models()
    module = applications if ours else keras.applications
    constructor = getattr(module, name)
    shape = (size, size, channels)
    # Their marks come late, or on a branch beside.
    limit = 48 if name.startswith(("Inception", "NASNet")) else 18
    trained, trained_first = stem(
        lambda: build_classifier(constructor, *shape[1:], 5), limit
    )
    bare, bare_first = stem(
        lambda: constructor(input_shape=shape, weights=None, classes=5), limit
    )
    images = np.zeros((3, *shape), "float32")
    images[1] += np.linspace(10, 240, channels)
    images[2] += 255
    if channels != 3:
        documented = images / 127.5 - 1
    elif ours:
        documented = applications.preprocess_input(images.copy())
    else:
        source = importlib.import_module(constructor.__module__)
        documented = source.preprocess_input(images.copy())
    expected = np.asarray(bare_first(documented))
    served = preprocess_for_serving(bare, "auto", channels)(images.copy())
    np.testing.assert_allclose(bare_first(served), expected, atol=2e-5)
    np.testing.assert_allclose(trained_first(images), expected, atol=2e-4)
    # What was trained scales by itself.
    assert PixelScaling.of_model(trained, channels).mode == "none"
    return expected


@pytest.mark.parametrize("name", QUICK)
def test_one_of_each_kind(name, stem):
    found = check_network(name, stem)
    assert np.ptp(found) < 300 and np.abs(found).max() < 160


@pytest.mark.large
@pytest.mark.parametrize("name", sorted(set(ALL) - set(QUICK)))
def test_all_networks(name, stem):
    check_network(name, stem)


@pytest.mark.parametrize("name", ["LeNet", "SDAResNet20", "MobileNetV2", "ResNet50"])
def test_one_channel(name, stem):
    found = check_network(name, stem, channels=1)
    assert (found.min(), found.max()) == (-1, 1)


def test_caffe_is_written_out():
    scaling = PixelScaling.of_constructor("ResNet50", 3)
    images = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype("float32")
    expected = images[..., ::-1] - [103.939, 116.779, 123.68]
    np.testing.assert_allclose(scaling(images.copy()), expected, atol=1e-4)
    x = keras.Input((4, 4, 3))
    model = keras.Model(x, scaling.as_layers(x))
    np.testing.assert_allclose(model(images), expected, atol=1e-4)


SHAPE = (32, 32, 3)


def network(x, names=("Conv1", "expanded_conv_depthwise", "block_1_expand")):
    for name in names:
        x = layers.Conv2D(2, 1, name=name)(x)
    return x


def head(x):
    return layers.Dense(2)(layers.GlobalAveragePooling2D()(x))


class OwnScaling(layers.Layer):
    def call(self, inputs):
        return inputs / 255


def nested(x):
    inner = keras.Input(SHAPE)
    return keras.Model(inner, network(inner))(x)


def tutorial(x):
    """Augmentation, preprocess_input, network, as in the transfer-learning tutorial."""
    x = keras.Sequential([layers.RandomFlip("horizontal")])(x)
    return nested(keras.applications.resnet.preprocess_input(x))


MODES = {
    "stock network": (network, "tf"),
    "nested network": (nested, "tf"),
    "augmentation first": (lambda x: nested(layers.RandomFlip()(x)), "tf"),
    "resized": (lambda x: nested(layers.Resizing(32, 32)(x)), "tf"),
    "Rescaling": (lambda x: network(layers.Rescaling(1 / 255)(x)), "none"),
    "Rescaling after augmentation": (
        lambda x: network(layers.Rescaling(1 / 255)(layers.RandomFlip()(x))),
        "none",
    ),
    "Normalization": (
        lambda x: network(layers.Normalization(mean=1.0, variance=4.0)(x)),
        "none",
    ),
    "nested scaling": (
        lambda x: network(keras.Sequential([layers.Rescaling(1 / 255)])(x)),
        "none",
    ),
    "division": (lambda x: network(x / 255.0), "none"),
    "tutorial": (tutorial, "none"),
    "lambda": (
        lambda x: network(layers.Lambda(lambda y: y / 255, output_shape=SHAPE)(x)),
        None,
    ),
    "layer of the user": (lambda x: nested(OwnScaling()(x)), None),
    "unknown network": (lambda x: network(x, ["a", "b"]), None),
    "two ways": (
        lambda x: network(layers.Concatenate()([layers.Rescaling(0.1)(x),
                                                layers.Conv2D(3, 1)(x)])),
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODES)
def test_models_of_the_user(name):
    end, mode = MODES[name]
    x = keras.Input(SHAPE)
    model = keras.Model(x, head(end(x)))
    if mode is not None:
        assert preprocess_for_serving(model, "auto", 3).mode == mode
        return
    with pytest.raises(InvalidInputError, match="cannot tell"):
        preprocess_for_serving(model, "auto", 3)
    assert preprocess_for_serving(model, "caffe", 3).mode == "caffe"


def test_pruned_networks_are_recognised():
    from keras_sda.export import fold_batch_normalization
    from keras_sda.pruning import prune

    model = applications.SDAResNet(
        [1, 1], base_width=8, stem_width=8, classes=3, input_shape=(32, 32, 3)
    )
    small = fold_batch_normalization(prune(model, macs=0.5).model)
    assert preprocess_for_serving(small, "auto", 3).mode == "imagenet"


def test_backbones_of_keras_hub_are_no_networks_of_keras_applications():
    """Their VGG has the names of keras.applications and takes other pixels."""
    hub = pytest.importorskip("keras_hub", reason="needs keras-hub")
    from keras_sda.pruning import prune

    backbone = hub.models.VGGBackbone(
        stackwise_num_repeats=[2, 2, 3],
        stackwise_num_filters=[4, 4, 4],
        image_shape=(32, 32, 3),
    )
    for model in (backbone, prune(backbone, macs=0.9).model):
        with pytest.raises(InvalidInputError, match="cannot tell"):
            preprocess_for_serving(model, "auto", 3)


def test_a_constructor_of_the_user_that_scales_pixels():
    def own(input_tensor, weights, classes):
        x = layers.Rescaling(1 / 255, name="own_scaling")(input_tensor)
        (source,) = keras.utils.get_source_inputs(input_tensor)
        x = layers.Conv2D(2, 3, name="stem")(x)
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(source, layers.Dense(classes, activation="softmax")(x))

    model = build_classifier(own, 8, 3, 4)
    assert "pixel_scaling" not in [layer.name for layer in model.layers]
    first = keras.Model(model.input, model.get_layer("stem").input)
    assert float(np.max(first(np.full((1, 8, 8, 3), 255.0)))) == 1
