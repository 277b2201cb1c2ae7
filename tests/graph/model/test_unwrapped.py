"""What a class does around its graph comes back as layers or is refused."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.depth import attach
from keras_sda.export import (
    export_saved_model,
    fold_batch_normalization,
    split_groups,
    to_float32,
)
from keras_sda.graph import as_functional, unwrapped
from keras_sda.grouping import pack, self_group
from keras_sda.pruning import make_plan, mask, prune, shrink
from keras_sda.search import add_channel_gates
from keras_sda.utils import InvalidInputError

METHODS = {
    "prune": lambda model: prune(model, macs=0.9),
    "mask": lambda model: mask(model, make_plan(model, macs=0.9)),
    "shrink": lambda model: shrink(model, make_plan(model, macs=0.9)),
    "add_channel_gates": add_channel_gates,
    "self_group": lambda model: self_group(model, 0.5, 0.0),
    "attach": attach,
    "pack": pack,
    "fold": fold_batch_normalization,
    "split_groups": split_groups,
    "to_float32": to_float32,
    "export": lambda model: export_saved_model(model, "never", preprocessing="none"),
}


def graph():
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="bn1")(y))
    y = layers.Conv2D(8, 3, name="conv2")(y)
    y = layers.GlobalAveragePooling2D()(y)
    return x, layers.Dense(3, activation="softmax")(y)


class Plain(keras.Model):
    """A name and nothing else."""


class Preprocessing(keras.Model):
    preprocessor = staticmethod(lambda images: images / 255)


def overriding(name):
    def method(self, *args, **kwargs):
        return getattr(keras.Model, name)(self, *args, **kwargs)

    return type(f"Own_{name}", (keras.Model,), {name: method})


@pytest.mark.parametrize("method", METHODS)
def test_own_predict_is_refused(method):
    model = overriding("predict")(*graph())
    with pytest.raises(InvalidInputError, match=r"overrides `predict\(\)`.*alone"):
        METHODS[method](model)


@pytest.mark.parametrize(
    "name",
    ["train_step", "test_step", "predict_step", "__call__", "compute_loss", "fit"],
)
def test_other_methods_are_refused(name):
    with pytest.raises(InvalidInputError, match=rf"overrides `{name}\(\)`"):
        unwrapped(overriding(name)(*graph()))


def test_call_is_refused_as_before():
    with pytest.raises(InvalidInputError, match="overrides .call"):
        prune(overriding("call")(*graph()), macs=0.9)


def test_an_unknown_preprocessor_is_refused():
    with pytest.raises(InvalidInputError, match="has a `preprocessor`.*by hand") as e:
        prune(Preprocessing(*graph()), macs=0.9)
    assert "\n" not in str(e.value)
    model = Preprocessing(*graph())
    assert prune(keras.Model(model.inputs, model.outputs), macs=0.9).model


def test_what_adds_nothing_goes_through():
    model = Plain(*graph())
    assert unwrapped(model) is model
    small = prune(model, macs=0.9).model
    assert small.count_params() < model.count_params()

    # A layer of the graph under the name is not lost.
    class Named(keras.Model):
        pass

    x, y = graph()
    named = Named(x, y)
    named.preprocessor = named.layers[1]
    assert unwrapped(named) is named
    # The same for instances of Keras, whose methods ignore the attribute.
    stock = keras.Model(*graph())
    stock.preprocessor = abs
    assert unwrapped(stock) is stock
    sequential = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3)])
    assert unwrapped(sequential) is sequential


def test_nested_models_are_called_without_their_methods():
    x = keras.Input((8, 8, 3))
    inner = overriding("predict")(*graph())
    model = keras.Model(x, inner(x))
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    folded = fold_batch_normalization(model)
    np.testing.assert_allclose(folded(images), model(images), atol=1e-5)


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("keras_hub", reason="needs keras-hub")


@pytest.fixture(scope="module")
def backbone(hub):
    return small_backbone(hub, (None, None, 3))


def small_backbone(hub, image_shape):
    return hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=image_shape,
    )


def classifier_of(hub, backbone, preprocessor, **options):
    return hub.models.ImageClassifier(
        backbone=backbone, num_classes=3, preprocessor=preprocessor, **options
    )


def converter(hub, **options):
    return hub.models.ImageClassifierPreprocessor(
        image_converter=hub.layers.ImageConverter(**options)
    )


IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
SCALINGS = {
    "scale": {"scale": 1 / 255},
    "offset": {"offset": -100.0},
    "both per channel": {"scale": (0.1, 0.2, 0.3), "offset": (-1.0, -2.0, 3.0)},
    "mean and variance": {"mean": (3.0, 4.0, 5.0), "variance": (4.0, 9.0, 16.0),
                          "scale": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("name", SCALINGS)
def test_the_scaling_of_keras_hub_comes_back(hub, backbone, name):
    preprocessor = converter(hub, image_size=(16, 16), **SCALINGS[name])
    classifier = classifier_of(hub, backbone, preprocessor)
    model = unwrapped(classifier)
    expected = classifier.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(model(IMAGES), expected, atol=1e-4, rtol=1e-4)
    assert model.get_layer("preprocessor_scaling") is model.layers[1]
    assert unwrapped(classifier) is model
    assert unwrapped(model) is model
    # What the classifier would resize is an error, not another answer.
    assert model.input_shape == (None, 16, 16, 3)
    with pytest.raises(ValueError, match="16, 16"):
        model(np.zeros((1, 20, 20, 3), "float32"))


def test_every_method_keeps_it(hub, backbone, tmp_path):
    import tensorflow as tf

    preprocessor = converter(hub, image_size=(16, 16), scale=1 / 255)
    classifier = classifier_of(hub, backbone, preprocessor, activation="softmax")
    expected = classifier.predict(IMAGES, verbose=0)
    plan = make_plan(classifier, macs=0.999)
    masked = mask(classifier, plan)
    small = shrink(classifier, plan)
    np.testing.assert_allclose(masked(IMAGES), small(IMAGES), atol=1e-5)
    for model in (
        prune(classifier, macs=1.0).model,
        fold_batch_normalization(classifier),
        to_float32(classifier),
        split_groups(classifier),
    ):
        assert type(model).__name__ == "Functional"
        np.testing.assert_allclose(model(IMAGES), expected, atol=1e-5)
    served = tf.saved_model.load(str(export_saved_model(classifier, tmp_path)))
    found = served.signatures["serve_images"](images=IMAGES.astype("uint8"))
    expected = classifier.predict(np.floor(IMAGES), verbose=0)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)


def test_the_scaling_stays_under_the_strategy(hub):
    tf = pytest.importorskip("tensorflow")
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        backbone = small_backbone(hub, (16, 16, 3))
        preprocessor = converter(hub, image_size=(16, 16), scale=1 / 255)
        classifier = classifier_of(hub, backbone, preprocessor)
    assert unwrapped(classifier).distribute_strategy is strategy


def test_a_task_without_preprocessor_goes_through(hub, backbone):
    classifier = classifier_of(hub, backbone, None)
    assert unwrapped(classifier) is classifier
    empty = hub.models.ImageClassifierPreprocessor()
    assert unwrapped(classifier_of(hub, backbone, empty)) is not None
    assert unwrapped(backbone) is backbone
    rescaling = classifier_of(hub, backbone, layers.Rescaling(1 / 255))
    np.testing.assert_allclose(
        unwrapped(rescaling)(IMAGES), rescaling.predict(IMAGES, verbose=0), atol=1e-5
    )


def test_what_cannot_be_layers_is_refused(hub, backbone):
    class Own(hub.layers.ImageConverter):
        def call(self, inputs):
            return super().call(inputs) * 2

    own = hub.models.ImageClassifierPreprocessor(image_converter=Own(scale=0.5))
    fixed = small_backbone(hub, (16, 16, 3))
    for model, text in (
        (classifier_of(hub, backbone, own), "cannot be turned into layers"),
        (classifier_of(hub, backbone, lambda x: x / 2), "cannot be turned into layers"),
        (classifier_of(hub, fixed, converter(hub, image_size=(20, 20))), "resizes"),
    ):
        with pytest.raises(InvalidInputError, match=f"{text}.*model.backbone"):
            prune(model, macs=0.9)
    classifier = classifier_of(hub, backbone, own)
    plain = keras.Model(classifier.inputs, classifier.outputs)
    assert as_functional(unwrapped(plain)) is plain
