"""Depth attention added to networks that others made."""

import keras
import numpy as np
import pytest
from keras import layers
from keras_networks import make_network
from test_case import infer

from keras_sda.applications import SDAResNet20
from keras_sda.depth import attach
from keras_sda.export import export_saved_model
from keras_sda.layers import SelectiveDepthAttention
from keras_sda.utils import InvalidInputError


def photographs(size, count):
    """Crops of the two photographs that come with scikit-learn, pixels 0 to 255."""
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(5)
    crops = []
    for index in range(count):
        photograph = load_sample_images().images[index % 2]
        side = int(generator.integers(size, 400))
        top = generator.integers(photograph.shape[0] - side)
        left = generator.integers(photograph.shape[1] - side)
        crop = photograph[top : top + side, left : left + side].astype("float32")
        crops.append(keras.ops.image.resize(crop, (size, size)))
    return np.stack([keras.ops.convert_to_numpy(crop) for crop in crops])


def hub_backbone():
    keras_hub = pytest.importorskip("keras_hub", reason="needs keras-hub")
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128],
        stackwise_num_blocks=[2, 3],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(64, 64, 3),
    )
    x = keras.layers.GlobalAveragePooling2D()(backbone.output)
    x = keras.layers.Dense(10)(x)
    return keras.Model(backbone.inputs, x)


def small_resnet(version):
    """The function behind keras.applications.ResNet50 and ResNet50V2."""
    from keras.src.applications import resnet

    stack = getattr(resnet, f"stack_residual_blocks_v{version}")
    strides = {1: (1, 2), 2: (2, 1)}[version]  # version 2: of the last block

    def stages(x):
        for number, stride in enumerate(strides, 2):
            x = stack(x, 4 * 2**number, 3, stride1=stride, name=f"conv{number}")
        return x

    return lambda: resnet.ResNet(
        stages,
        preact=version == 2,
        use_bias=True,
        weights=None,
        input_shape=(64, 64, 3),
        classes=10,
        classifier_activation=None,
    )


def small_convnext():
    # Stock grouped convolutions are slow to compile on CPU: few and narrow ones.
    from keras.src.applications.convnext import ConvNeXt

    return ConvNeXt(
        [1, 2, 3, 1],
        [16, 16, 32, 32],
        weights=None,
        input_shape=(32, 32, 3),
        classes=10,
        classifier_activation=None,
    )


def application(name, small=False, **options):
    return lambda: make_network(name, small, size=64, **options)


# One row a family: how to build it, and how many stages get attention.
ROWS = {
    "ResNet": (small_resnet(1), 2),
    "ResNetV2": (small_resnet(2), 2),
    "MobileNetV3Small": (application("MobileNetV3Small", small=True), 1),
    "EfficientNetB0": (application("EfficientNetB0", small=True), 2),
    "EfficientNetV2B0": (application("EfficientNetV2B0", small=True), 3),
    "ConvNeXt": (small_convnext, 2),
    "KerasHub ResNetBackbone": (hub_backbone, 2),
}
LARGE_ROWS = {
    "MobileNetV2": (application("MobileNetV2", alpha=0.35), 5),
    "MobileNetV3Small": (application("MobileNetV3Small"), 4),
    "EfficientNetB0": (application("EfficientNetB0"), 5),
    "EfficientNetV2B0": (application("EfficientNetV2B0"), 5),
}


def attentions(model):
    return [x for x in model.layers if isinstance(x, SelectiveDepthAttention)]


def logits(model, images):
    return infer(model, images)


def adapt(model, images):
    """Gives an untrained network the statistics of images, and sizeable logits.

    The trained ResNet20 of the benchmarks has logits of standard deviation 4.3.
    """
    normalizations = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momenta = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    model(images, training=True)
    for layer, momentum in zip(normalizations, momenta, strict=True):
        layer.momentum = momentum
    head = [
        layer for layer in model.layers if getattr(layer, "kernel", None) is not None
    ]
    head[-1].kernel.assign(head[-1].kernel * 4.0 / logits(model, images).std())


def run_attach_test(model, num_stages, tmp_path):
    """What must hold for every family: equal at the start, learns, saves, exports."""
    images = photographs(model.input_shape[1], count=16)
    adapt(model, images)
    old = [np.array(w) for w in model.get_weights()]
    before = logits(model, images)
    attended = attach(model)
    assert len(attentions(attended)) == num_stages
    for weight, value in zip(model.get_weights(), old, strict=True):
        np.testing.assert_array_equal(weight, value)
    names = [layer.name for layer in attended.layers]
    assert set(layer.name for layer in model.layers) <= set(names)

    after = logits(attended, images)
    assert np.ptp(before, axis=0).max() > 0.1, "the images look alike to the network"
    assert np.abs(after - before).max() < 1e-2
    np.testing.assert_array_equal(after.argmax(-1), before.argmax(-1))

    path = tmp_path / "attended.keras"
    attended.save(path)
    reloaded = keras.saving.load_model(path)
    np.testing.assert_allclose(logits(reloaded, images), after, atol=1e-4)
    check_export(attended, images, tmp_path)

    projections = [np.array(layer.expand.kernel) for layer in attentions(attended)]
    attended.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=True)
    attended.fit(images[:8], np.eye(8, 10), batch_size=4, epochs=2, verbose=0)
    for layer, projection in zip(attentions(attended), projections, strict=True):
        assert np.abs(np.array(layer.expand.kernel) - projection).max() > 1e-4
    np.testing.assert_array_equal(model.get_weights()[0], old[0])


def check_export(model, images, tmp_path):
    import tensorflow as tf

    path = export_saved_model(
        model, tmp_path / "export", preprocessing="none", activation="softmax"
    )
    served = tf.saved_model.load(path)
    outputs = served.signatures["serving_default"](tf.constant(images[:4]))
    expected = keras.ops.softmax(model(images[:4]))
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-4)


QUICK = ("ResNet", "MobileNetV3Small", "KerasHub ResNetBackbone")


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.large)
        for name in ROWS
    ],
)
def test_families(name, tmp_path):
    build, num_stages = ROWS[name]
    run_attach_test(build(), num_stages, tmp_path)


@pytest.mark.large
@pytest.mark.parametrize("name", LARGE_ROWS)
def test_whole_networks(name, tmp_path):
    build, num_stages = LARGE_ROWS[name]
    run_attach_test(build(), num_stages, tmp_path)


def residual_model(num_blocks=3, before=None):
    x = keras.Input((8, 8, 3))
    y = x if before is None else before(x)
    y = layers.Conv2D(16, 3, padding="same", name="stem")(y)
    for number in range(1, num_blocks + 1):
        z = layers.Conv2D(16, 3, padding="same", name=f"conv{number}")(y)
        z = layers.Add(name=f"add{number}")([y, z])
        y = layers.ReLU(name=f"act{number}")(z)
    y = layers.GlobalAveragePooling2D()(y)
    return keras.Model(x, layers.Dense(4, name="head")(y))


def images(count=6):
    return np.random.default_rng(1).normal(size=(count, 8, 8, 3)).astype("float32")


def test_mix_is_that_of_the_layer():
    model = residual_model()
    attended = attach(model, start="uniform")
    layer = attended.get_layer("stage1_sda")
    maps = keras.Model(
        model.input, [model.get_layer(f"add{k}").output for k in (1, 2, 3)]
    )
    collected = [keras.ops.convert_to_tensor(m) for m in maps(images())]
    mixed = keras.ops.relu(layer(collected))
    expected = model.get_layer("head")(keras.ops.mean(mixed, (1, 2)))
    np.testing.assert_allclose(attended(images()), expected, atol=1e-5)
    assert layer.activation is keras.activations.linear
    weights = keras.ops.convert_to_numpy(layer.compute_attention(collected))
    assert weights.shape == (6, 3, 16) and weights.max() < 0.95


def test_explicit_stages_are_the_automatic_ones():
    model = residual_model()
    automatic = attach(model)
    explicit = attach(model, stages=[["add1", "add2", "add3"]])
    np.testing.assert_allclose(automatic(images()), explicit(images()), atol=1e-6)
    two = attach(model, stages=[["add1", "add2"]], reduction=4, min_width=2)
    assert two.get_layer("stage1_sda").width == 4
    np.testing.assert_allclose(two(images()), model(images()), atol=1e-2)


def test_attention_learns_from_the_start_at_the_last_block():
    """Targets that only the first block explains: its weight has to rise."""
    keras.utils.set_random_seed(0)
    model = residual_model()
    teacher = keras.Model(
        model.input,
        model.get_layer("head")(
            keras.ops.mean(keras.ops.relu(model.get_layer("add1").output), (1, 2))
        ),
    )
    x = images(64)
    y = teacher.predict(x, verbose=0)
    attended = attach(model)
    for layer in attended.layers:
        layer.trainable = layer.name == "stage1_sda"
    attended.compile(keras.optimizers.Adam(1e-2), "mse")
    loss = attended.evaluate(x, y, verbose=0)
    attended.fit(x, y, epochs=40, batch_size=32, verbose=0)
    assert attended.evaluate(x, y, verbose=0) < 0.5 * loss
    maps = keras.Model(
        attended.input, [attended.get_layer(f"add{k}").output for k in (1, 2, 3)]
    )
    weights = attended.get_layer("stage1_sda").compute_attention(
        [keras.ops.convert_to_tensor(m) for m in maps(x)]
    )
    assert keras.ops.convert_to_numpy(weights)[:, 0].mean() > 0.1


def test_every_output_and_policy_survives():
    keras.config.set_dtype_policy("mixed_bfloat16")
    x = keras.Input((8, 8, 3), name="image")
    y = layers.Conv2D(8, 3, padding="same")(x)
    a = layers.Add(name="a")([y, layers.Conv2D(8, 3, padding="same")(y)])
    b = layers.Add(name="b")([a, layers.Conv2D(8, 3, padding="same", name="frozen")(a)])
    model = keras.Model({"image": x}, {"map": b, "early": a}, name="two")
    model.get_layer("frozen").trainable = False
    attended = attach(model)
    assert attended.name == "two" and list(attended.output) == list(model.output)
    assert attended.get_layer("stage1_sda").compute_dtype == "bfloat16"
    assert not attended.get_layer("frozen").trainable
    outputs = attended({"image": images()})
    for key, value in model({"image": images()}).items():
        np.testing.assert_allclose(
            keras.ops.cast(outputs[key], "float32"),
            keras.ops.cast(value, "float32"),
            atol=0.05,
        )


def test_a_nested_model_without_blocks_is_kept():
    augmentation = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Rescaling(0.5)], name="augmentation"
    )
    model = residual_model(before=augmentation)
    attended = attach(model)
    assert attended.get_layer("augmentation") is not augmentation
    np.testing.assert_allclose(attended(images()), model(images()), atol=1e-2)


def nested_model():
    x = keras.Input((8, 8, 3))
    inner = residual_model()
    shared = inner(x) + inner(x * 0.5)
    return keras.Model(x, shared, name="outer")


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


BAD = [
    (lambda: Subclassed(), {}, "subclassed"),
    (lambda: keras.Sequential([layers.Dense(2)]), {}, "Sequential model that is not"),
    (lambda: "resnet", {}, "functional Keras model"),
    (nested_model, {}, "nested model .* called 2 times"),
    (lambda: residual_model(1), {}, "'add1'.*one block"),
    (
        lambda: make_network("DenseNet121", small=True),
        {},
        "Concatenate",
    ),
    (
        lambda: make_network("VGG16", include_top=False, pooling="avg"),
        {},
        "plain chain",
    ),
    (SDAResNet20, {}, "depth attention already"),
    (residual_model, {"stages": "all"}, "'auto' or a list"),
    (residual_model, {"stages": ["add1", "add2"]}, "list of lists"),
    (residual_model, {"stages": []}, "list of lists"),
    (residual_model, {"stages": [["add1"]]}, "at least two"),
    (residual_model, {"stages": [["add1", "add1"]]}, "twice"),
    (residual_model, {"stages": [["add1", "ad2"]]}, "Did you mean 'add"),
    (residual_model, {"stages": [["add2", "add1"]]}, "the other way round"),
    (residual_model, {"stages": [["add1", "head"]]}, r"'head' \(4,\)"),
    (residual_model, {"stages": [["add1", "add2"], ["add2", "add3"]]}, "one stage"),
    (residual_model, {"start": "first"}, "'last' or 'uniform'"),
    (residual_model, {"reduction": 0}, "reduction"),
]


@pytest.mark.parametrize("build, arguments, message", BAD)
def test_bad_input(build, arguments, message):
    model = build()
    with pytest.raises(InvalidInputError, match=message):
        attach(model, **arguments)
