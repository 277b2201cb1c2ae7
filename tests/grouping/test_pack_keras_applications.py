"""Networks of keras.applications: grouped, packed, saved, loaded and exported."""

import gc

import keras
import numpy as np
import pytest
from grouping.pack_checks import run_pack_test
from pruning.surgery_checks import flat_outputs, randomize

from keras_sda.export import export_saved_model
from keras_sda.grouping import find_groupable_layers, self_group

# The form that is asked for, and options of `self_group`.
NETWORKS = {
    "ResNet50": ("auto", {}),
    "DenseNet121": ("lists", {}),
    "VGG16": ("grouped", {"balance": "disjoint", "dense_rate": 0.0}),
    "MobileNetV2": ("auto", {}),
    "EfficientNetB0": ("lists", {}),
    "ConvNeXtTiny": ("lists", {}),
}
# Larger layers get groups by chance: clustering them takes long and shows no more.
_CLUSTERED = 40_000


@pytest.fixture(autouse=True)
def clean_up():
    yield
    keras.backend.clear_session()
    gc.collect()


@pytest.mark.parametrize("name", NETWORKS)
def test_packed_is_masked(name, tmp_path):
    import tensorflow as tf

    form, options = NETWORKS[name]
    body = getattr(keras.applications, name)(
        weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3)
    )
    head = keras.layers.Dense(10, name="logits")
    model = keras.Model(body.input, head(body.output))
    randomize(model)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("f")
    logits = flat_outputs(model, images)[0]
    head.kernel.assign(head.kernel / logits.std())  # probabilities that tell
    found = [x for x in find_groupable_layers(model) if not x.reason]
    if "balance" not in options:
        options["labels"] = {
            x.name: np.arange(x.layer.kernel.shape[-1]) % 4
            for x in found
            if np.prod(x.layer.kernel.shape[-2:]) > _CLUSTERED
        }
    masked = self_group(model, num_groups=4, **options).model
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
    assert len(report.layers) == len(found)
    assert report.macs_after < 0.9 * report.macs_before
    assert report.params_after < 0.9 * report.params_before

    # Normalization is folded on the way.
    labels = [str(number) for number in range(10)]
    export = export_saved_model(
        packed, tmp_path / "export", labels=labels, preprocessing="none"
    )
    signature = tf.saved_model.load(str(export)).signatures["serving_default"]
    received = signature(images=tf.constant(images))["probabilities"].numpy()
    expected = np.exp(flat_outputs(masked, images)[0])
    expected /= expected.sum(axis=-1, keepdims=True)
    assert expected.max() < 0.999 and np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(received, expected, atol=1e-4)
