"""Exports answer like the Keras model, without Keras, in Python and through C."""

import os
import pathlib

import keras
import numpy as np
import pytest
from export.export_checks import (
    HERE,
    run_export_test,
    sample_images,
    signature_tensors,
    with_telling_outputs,
)
from keras import layers
from keras_networks import make_network

from keras_sda.applications import SDAResNet
from keras_sda.export import export_saved_model, to_float32
from keras_sda.export.formats.check_no_xla import check_no_xla_functions
from keras_sda.layers import GroupedConv2D
from keras_sda.utils import InvalidInputError

SHAPE = (32, 32, 3)
LOAD_ONLY = ("load_client.py",)
PROCESSES = ("load_client.py", "c_api_client.py")


def build(shape=SHAPE, classes=4, activation="softmax", rescale=False, dtype=None):
    """A tiny classifier with every kind of layer that export treats in its own way."""
    x = inputs = keras.Input(shape)
    if rescale:
        x = layers.Rescaling(1 / 255, offset=-0.5)(x)
    x = layers.Conv2D(8, 3, 2, use_bias=False, dtype=dtype)(x)
    x = layers.ReLU()(layers.BatchNormalization(dtype=dtype)(x))
    x = GroupedConv2D(8, 3, groups=2, padding="same", dtype=dtype)(x)
    x = layers.Dropout(0.5)(layers.BatchNormalization(dtype=dtype)(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(classes, activation=activation, dtype=dtype)(x)
    return vary(keras.Model(inputs, x))


def vary(model, preprocessing="none"):
    """Gives the weights that are zeros and ones at first a value of their own."""
    generator = np.random.default_rng(2)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(generator.uniform(0.6, 1.6, weight.shape))
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(0.2 * generator.normal(size=weight.shape))
    return with_telling_outputs(model, preprocessing)


def test_colour_model_with_its_own_scaling(tmp_path):
    run_export_test(build(rescale=True), tmp_path, clients=PROCESSES)


def test_imagenet_preprocessing(tmp_path):
    model = vary(build(classes=7), "imagenet")
    run_export_test(model, tmp_path, preprocessing="imagenet")


def test_depth_attention_and_ten_labels(tmp_path):
    model = SDAResNet(
        [1, 2], base_width=8, stem_width=8, input_shape=(32, 32, 1), classes=10
    )
    export = run_export_test(
        vary(model), tmp_path, top_k=3, clients=(HERE, "c_api_client.py")
    )
    assert (export / "assets" / "labels.txt").read_text().count("\n") == 10


@pytest.mark.parametrize(
    ("name", "small", "preprocessing"),
    [
        ("EfficientNetB0", True, "none"),
        pytest.param("MobileNetV2", False, "imagenet", marks=pytest.mark.large),
    ],
)
def test_networks_of_keras(name, small, preprocessing, tmp_path):
    model = make_network(name, small, classes=6, classifier_activation="softmax")
    run_export_test(
        vary(model, preprocessing),
        tmp_path,
        preprocessing=preprocessing,
        # Against float64, Keras itself is off by 5e-5 on this untrained network.
        tolerance=3e-4,
    )


def test_logits_unfolded_and_two_channels(tmp_path):
    model = build((32, 48, 2), activation=None)
    export = run_export_test(
        model, tmp_path, logits=True, fold=False, activation="softmax"
    )
    assert sorted(signature_tensors(export)) == ["serve_images", "serving_default"]


def test_auto_preprocessing(tmp_path):
    """None after Rescaling, ImageNet for our networks, else it has to be said."""
    import tensorflow as tf

    images = np.random.default_rng(0).integers(0, 256, (2, 40, 36, 3), "uint8")
    ours = SDAResNet([1], base_width=4, stem_width=4, input_shape=SHAPE, classes=4)
    ours = vary(ours, "imagenet")
    for model, same_as in ((build(rescale=True), "none"), (ours, "imagenet")):
        loaded = [
            tf.saved_model.load(export_saved_model(model, tmp_path, preprocessing=p))
            for p in ("auto", same_as)
        ]
        a, b = (
            item.signatures["serve_images"](images=images)["probabilities"]
            for item in loaded
        )
        np.testing.assert_array_equal(a, b)
    with pytest.raises(InvalidInputError, match="cannot tell"):
        export_saved_model(build(), tmp_path)


def test_portable_export_runs_without_onednn(tmp_path):
    run_export_test(
        build(rescale=True),
        tmp_path,
        portable=True,
        clients=LOAD_ONLY,
        environment={"TF_ENABLE_ONEDNN_OPTS": "0"},
    )


def test_mixed_precision_is_exported_in_float32(tmp_path):
    import tensorflow as tf

    model = build(rescale=True, dtype="mixed_bfloat16")
    images = np.random.default_rng(0).uniform(0, 255, (2, *SHAPE)).astype("float32")
    loaded = tf.saved_model.load(export_saved_model(model, tmp_path))
    received = loaded.signatures["serving_default"](images=images)["probabilities"]
    exact = to_float32(model)
    assert {layer.compute_dtype for layer in exact.layers} == {"float32"}
    np.testing.assert_allclose(received, exact(images), atol=1e-5)
    kept = tf.saved_model.load(export_saved_model(model, tmp_path, float32=False))
    received = kept.signatures["serving_default"](images=images)["probabilities"]
    assert received.dtype == tf.float32
    np.testing.assert_allclose(received, exact(images), atol=5e-2)


def test_versions_names_and_default_labels(tmp_path):
    import tensorflow as tf

    model = build(rescale=True)
    first = export_saved_model(model, tmp_path / "new" / "place", name="flowers")
    assert first == tmp_path / "new" / "place" / "flowers" / "1"
    folder = first.parent
    assert export_saved_model(model, folder, version=7) == folder / "7"
    assert export_saved_model(model, folder).name == "8"
    labels = tmp_path / "labels.txt"
    labels.write_text("rose\ntulip\ndaisy\nWolfsmilch\n")
    again = export_saved_model(model, folder, labels, version=7, overwrite=True)
    assert sorted(p.name for p in folder.iterdir()) == ["1", "7", "8"]
    images = np.zeros((1, *SHAPE), "float32")
    for path, expected in ((first, b"class_0"), (again, b"rose")):
        loaded = tf.saved_model.load(path)
        outputs = loaded.signatures["serving_default"](images=images)
        assert expected in outputs["classes"].numpy()
    assert (again / "assets" / "labels.txt").read_text() == labels.read_text()


def test_weights_are_stored_once(tmp_path):
    x = keras.Input(SHAPE)
    # Large beside the operations that read and turn image files.
    model = keras.Model(x, layers.Dense(320)(layers.Flatten()(x)))
    size = 4 * model.count_params()
    export = export_saved_model(
        model, tmp_path, preprocessing="none", activation="softmax"
    )
    stored = sum(p.stat().st_size for p in export.rglob("*") if p.is_file())
    assert size < stored < 1.1 * size


def test_huge_models_keep_variables(tmp_path, monkeypatch):
    from keras_sda.export.formats import serving_module

    monkeypatch.setattr(serving_module, "_MAX_CONSTANT_BYTES", 0)
    export = run_export_test(build(rescale=True), tmp_path)
    data = next((export / "variables").glob("*.data*"))
    assert data.stat().st_size > 2000


class OwnConv2D(layers.Conv2D):
    """Keras's own convolution by another name."""


def grouped_model(convolution=OwnConv2D):
    x = keras.Input(SHAPE)
    y = convolution(6, 3, groups=3, name="wide")(x)
    return keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))


def test_grouped_convolutions_of_keras_are_replaced(tmp_path):
    import tensorflow as tf

    model = grouped_model(layers.Conv2D)
    path = export_saved_model(
        model, tmp_path / "out", preprocessing="none", activation="softmax"
    )
    assert check_no_xla_functions(path) is None
    images = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("float32")
    served = tf.saved_model.load(path)
    outputs = served.signatures["serving_default"](tf.constant(images))
    expected = keras.ops.softmax(model(images))
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)


def output_model(x, y):
    return lambda: keras.Model(x, y)


IMAGE = keras.Input(SHAPE)
MODELS = {
    "vector input": (lambda: chain((8,)), "one image input"),
    "unknown size": (lambda: chain((None, None, 3), pool=True), "fixed size"),
    "fixed batch": (lambda: chain(None, (4, *SHAPE), pool=True), "batches of 4"),
    "two inputs": (
        lambda: keras.Model(
            [a := keras.Input(SHAPE), b := keras.Input(SHAPE)],
            layers.Dense(2)(layers.GlobalAveragePooling2D()(a + b)),
        ),
        "one image input",
    ),
    "feature maps": (output_model(IMAGE, layers.Conv2D(2, 3)(IMAGE)), "one output"),
    "two outputs": (
        output_model(IMAGE, [layers.Flatten()(IMAGE), layers.Flatten()(IMAGE)]),
        "one output",
    ),
    "xla": (grouped_model, r"'wide' is a OwnConv2D\(groups>1\).*GroupedConv2D"),
}


def chain(shape, batch_shape=None, pool=False):
    x = y = keras.Input(shape, batch_shape=batch_shape)
    if pool:
        y = layers.GlobalAveragePooling2D()(y)
    return keras.Model(x, layers.Dense(2)(y))


@pytest.mark.parametrize("name", MODELS)
def test_refuses_models(name, tmp_path):
    make, message = MODELS[name]
    with pytest.raises(InvalidInputError, match=message):
        export_saved_model(make(), tmp_path / "out", preprocessing="none")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["a", "b"]}, "holds 2 names, but the model has 4 outputs"),
        ({"labels": ["a", "", "c", "d"]}, "name 1 is ''"),
        ({"labels": "missing.txt"}, "missing.txt cannot be read"),
        ({"preprocessing": "torch"}, "`preprocessing` must be one of"),
        ({"top_k": 0}, "`top_k`"),
        ({"version": 0}, "`version`"),
        ({"version": 3}, "exists. Leave `version` out"),
    ],
)
def test_refuses_arguments(arguments, message, tmp_path):
    (tmp_path / "out" / "3").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match=message):
        export_saved_model(
            build(), tmp_path / "out", **{"preprocessing": "none", **arguments}
        )
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["3"]
    assert not any((tmp_path / "out" / "3").iterdir())


def test_imagenet_needs_three_channels(tmp_path):
    with pytest.raises(InvalidInputError, match="preprocessing='none'"):
        export_saved_model(build((32, 32, 1)), tmp_path)


def test_output_below_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInputError, match="is a file"):
        export_saved_model(build(rescale=True), tmp_path / "file" / "export")


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    import tensorflow as tf

    model = build(rescale=True)
    kept = export_saved_model(model, tmp_path / "kept")
    before = (kept / "saved_model.pb").read_bytes()

    def fail(module, path, **_):
        pathlib.Path(path).mkdir()
        (pathlib.Path(path) / "saved_model.pb").write_text("half")
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        export_saved_model(model, tmp_path / "out" / "deep")
    with pytest.raises(OSError, match="No space left"):
        export_saved_model(model, tmp_path / "kept", version=1, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert [p.name for p in (tmp_path / "kept").iterdir()] == ["1"]
    assert (kept / "saved_model.pb").read_bytes() == before


def test_an_interrupted_replacement_restores_the_old_version(tmp_path, monkeypatch):
    model = build(rescale=True)
    kept = export_saved_model(model, tmp_path)
    before = (kept / "saved_model.pb").read_bytes()
    rename = os.rename

    def fail_second(source, target, calls=[]):  # noqa: B006
        calls.append(source)
        if len(calls) == 2:
            raise PermissionError("denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_second)
    with pytest.raises(PermissionError):
        export_saved_model(model, tmp_path, version=1, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["1"]
    assert (kept / "saved_model.pb").read_bytes() == before


def test_adapted_normalization_and_augmentation_inside_the_model(tmp_path):
    images = sample_images(16, 32, 32, 3).astype("float32")
    scale = layers.Normalization()
    scale.adapt(images)
    x = keras.Input(SHAPE)
    y = layers.RandomFlip()(scale(x))
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, 2)(y))
    y = layers.GlobalAveragePooling2D()(layers.ReLU()(y))
    model = vary(keras.Model(x, layers.Dense(4, activation="softmax")(y)))
    run_export_test(model, tmp_path, preprocessing="auto")


def test_global_policy_does_not_change_a_float32_model(tmp_path):
    import tensorflow as tf

    model = build(rescale=True)
    images = sample_images(2, *SHAPE).astype("float32")
    expected = model(images)
    keras.config.set_dtype_policy("mixed_bfloat16")
    loaded = tf.saved_model.load(export_saved_model(model, tmp_path))
    received = loaded.signatures["serving_default"](images=images)["probabilities"]
    np.testing.assert_allclose(received, expected, atol=1e-5)


def test_hidden_state_of_a_layer_is_found(tmp_path):
    class Hidden(layers.Layer):
        factor = 1.0

        def call(self, inputs):
            return inputs * self.factor

    x = keras.Input(SHAPE)
    hidden = Hidden()
    hidden.factor = 5.0
    y = layers.GlobalAveragePooling2D()(hidden(x))
    model = keras.Model(x, layers.Dense(2, activation="softmax")(y))
    with pytest.raises(InvalidInputError, match="fold=False"):
        export_saved_model(model, tmp_path / "out", preprocessing="none")
    export_saved_model(model, tmp_path / "out", preprocessing="none", fold=False)


def test_diverged_model(tmp_path):
    model = build(rescale=True)
    model.layers[-1].kernel.assign(np.full((8, 4), np.nan))
    with pytest.raises(InvalidInputError, match="not finite"):
        export_saved_model(model, tmp_path / "out")


def test_other_backend(tmp_path, monkeypatch):
    model = build(rescale=True)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(InvalidInputError, match="KERAS_BACKEND=tensorflow"):
        export_saved_model(model, tmp_path / "out")


def test_a_compiled_function_inside_a_layer_is_found(tmp_path):
    import tensorflow as tf

    class Compiled(layers.Layer):
        def call(self, inputs):
            return tf.function(lambda x: x * 2, jit_compile=True)(inputs)

    x = keras.Input(SHAPE)
    y = layers.GlobalAveragePooling2D()(Compiled()(layers.Rescaling(1 / 255)(x)))
    model = keras.Model(x, layers.Dense(2, activation="softmax")(y))
    with pytest.raises(InvalidInputError, match="compiled by XLA"):
        export_saved_model(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    plain = export_saved_model(build(rescale=True), tmp_path / "out")
    assert check_no_xla_functions(plain) is None
