"""Networks of keras.applications: grouped, packed, saved, loaded and exported."""

import gc

import keras
import numpy as np
import pytest
from export.export_checks import sample_images
from grouping.pack_checks import run_pack_test
from keras_networks import make_network
from pruning.surgery_checks import flat_outputs, randomize

from keras_sda.export import export_saved_model
from keras_sda.grouping import find_groupable_layers, self_group

# The form that is asked for, and options of `self_group`; few groups where the layers
# are many.
NETWORKS = {
    "ResNet50": ("auto", {}),
    "DenseNet121": ("lists", {"num_groups": 2}),
    "VGG16": ("grouped", {"balance": "disjoint", "dense_rate": 0.0}),
    "MobileNetV2": ("auto", {}),
    "EfficientNetB0": ("lists", {"num_groups": 2}),
    "ConvNeXtTiny": ("lists", {"num_groups": 2}),
}
# The same with fewer blocks of each kind. In so small a ResNet or VGG the stem, which
# has no groups, is nearly all there is: test_pack.py has blocks like theirs.
SMALL = {
    "DenseNet121": ("lists", {"num_groups": 2}),
    "MobileNetV3Small": ("lists", {"num_groups": 2}),
    "EfficientNetB0": ("grouped", {"balance": "disjoint", "dense_rate": 0.0}),
    "ConvNeXtTiny": ("lists", {"num_groups": 2}),
}
# One of each form. test_pack.py packs what the others are made of.
QUICK = ("MobileNetV3Small", "EfficientNetB0")
# Larger layers get groups by chance: clustering them takes long and shows no more.
_CLUSTERED = 10_000


@pytest.fixture(autouse=True)
def clean_up():
    yield
    keras.backend.clear_session()
    gc.collect()


def make_outputs_tell(model):
    """Fits normalization and the last layer to what the masks leave.

    Otherwise the outputs hardly depend on the image.
    """
    images = sample_images(16, 32, 32, 3, seed=9).astype("float32")
    normalizations = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in normalizations:
        layer.momentum = 0.0
    model(images, training=True)
    for layer in normalizations:
        layer.momentum = 0.99
    last = model.layers[-1]
    logits = flat_outputs(model, images)[0] - np.asarray(last.bias)
    scale = 1 / logits.std(axis=0)
    last.kernel.assign(last.kernel * scale.astype("float32"))
    last.bias.assign(-(logits * scale).mean(axis=0))


@pytest.mark.extra_large
@pytest.mark.parametrize("name", NETWORKS)
def test_packed_is_masked(name, tmp_path):
    check_packed(name, False, *NETWORKS[name], tmp_path)


@pytest.mark.parametrize(
    "name",
    [x if x in QUICK else pytest.param(x, marks=pytest.mark.large) for x in SMALL],
)
def test_packed_is_masked_for_every_block(name, tmp_path):
    check_packed(name, True, *SMALL[name], tmp_path)


def check_packed(name, small, form, options, tmp_path):
    """Groups, packs, saves, loads and exports; outputs stay those of the masks."""
    import tensorflow as tf

    options = {"num_groups": 4, **options}
    body = make_network(name, small, include_top=False, pooling="avg")
    logits = keras.layers.Dense(10, name="logits")(body.output)
    model = keras.Model(body.input, logits)
    randomize(model)
    if name == "VGG16":  # it has no normalization: biases would drown the image
        for weight in model.weights:
            if len(weight.shape) == 1:
                weight.assign(0.02 * weight)
    found = [x for x in find_groupable_layers(model) if not x.reason]
    if "balance" not in options:
        options["labels"] = {
            x.name: np.arange(x.layer.kernel.shape[-1]) % options["num_groups"]
            for x in found
            if np.prod(x.layer.kernel.shape[-2:]) > _CLUSTERED
        }
    masked = self_group(model, **options).model
    make_outputs_tell(masked)
    images = sample_images(2, 32, 32, 3).astype("float32")
    _, results = run_pack_test(
        None,
        (form,),
        masked=masked,
        inputs=images,
        tolerance=1e-4,
        tmp_path=tmp_path,
        export=False,
    )
    packed, report = results[form].model, results[form].report
    assert len(report.layers) == len(found) - (form == "grouped")  # the last Dense
    assert report.macs_after < 0.9 * report.macs_before
    assert report.params_after < 0.9 * report.params_before
    expected = np.exp(flat_outputs(masked, images)[0])
    expected /= expected.sum(axis=-1, keepdims=True)
    assert expected.max() < 0.999 and np.ptp(expected, axis=0).max() > 0.01

    # Normalization is folded on the way.
    labels = [str(number) for number in range(10)]
    export = export_saved_model(
        packed,
        tmp_path / "export",
        labels=labels,
        preprocessing="none",
        activation="softmax",
    )
    signature = tf.saved_model.load(str(export)).signatures["serving_default"]
    received = signature(images=tf.constant(images))["probabilities"].numpy()
    np.testing.assert_allclose(received, expected, atol=1e-4)
