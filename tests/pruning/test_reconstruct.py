"""The kernels that stay take over from the channels that go."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers
from pruning.surgery_checks import random_inputs, random_plan, randomize
from pruning.test_random_graphs import grow, steps
from pruning.zoo import conv, head

from keras_sda.graph import ChannelGraph, remove_channels
from keras_sda.layers import GroupedConv2D
from keras_sda.pruning import (
    PruningPlan,
    make_plan,
    prune,
    reconstruct,
    removable_blocks,
    shrink,
)
from keras_sda.pruning.refit.calibration_batches import calibration_batches
from keras_sda.pruning.refit.refit_kernels import refit_kernels
from keras_sda.utils import InvalidInputError


def outputs(model, inputs):
    return keras.ops.convert_to_numpy(model(inputs, training=False))


def chain(*readers, shape=(8, 8, 3), writer=None):
    """A layer whose second half of channels repeats the first, and what reads it."""
    x = keras.Input(shape)
    writer = writer or layers.Conv2D(8, 3, padding="same", name="writer")
    y = layers.ReLU()(writer(x))
    for reader in readers:
        y = reader(y)
    model = keras.Model(x, y)
    randomize(model)
    for variable in writer.weights:
        value = np.array(variable)
        half = value.shape[-1] // 2
        value[..., half:] = 0.5 * value[..., :half]
        variable.assign(value)
    return model


def half_plan(model, name="writer"):
    graph = ChannelGraph(model)
    made = graph.layers[name].made
    removed = np.zeros(len(graph.units.pinned), bool)
    removed[graph.units.classes[made[len(made) // 2 :]]] = True
    return PruningPlan.from_classes(graph, removed)


def nested_reader():
    inner = keras.Input((8, 8, 8))
    return keras.Model(inner, layers.Conv2D(3, 3, name="reader")(inner), name="inner")


READERS = {
    "1x1": [layers.Conv2D(4, 1)],
    "3x3": [layers.Conv2D(4, 3, padding="same")],
    "strided": [layers.Conv2D(4, 3, strides=2, padding="same")],
    "dilated": [layers.Conv2D(4, 3, dilation_rate=2)],
    "activation": [layers.Conv2D(4, 3, activation="relu")],
    "normalized": [
        layers.Conv2D(4, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
    ],
    "flattened": [layers.Flatten(), layers.Dense(3)],
    "pooled": [layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")],
    "nested": [nested_reader()],
}


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("name", READERS)
def test_what_is_redundant_costs_nothing(name, sequential):
    model = chain(*map(_fresh, READERS[name]))
    plan = half_plan(model)
    images = np.random.default_rng(1).normal(size=(48, 8, 8, 3)).astype("float32")
    small = reconstruct(model, plan, images, ridge=1e-7, sequential=sequential)
    expected = outputs(model, images)
    assert np.abs(outputs(shrink(model, plan), images) - expected).max() > 0.02
    scale = max(np.abs(expected).max(), 1)
    np.testing.assert_allclose(outputs(small, images), expected, atol=1e-4 * scale)


def _fresh(layer):
    if isinstance(layer, keras.Model):
        return nested_reader()
    return type(layer).from_config(layer.get_config())


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("kind", [layers.Conv2D, GroupedConv2D])
def test_grouped_kernels_are_fitted_group_by_group(kind, sequential):
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(8, 1, name="writer")(x)
    model = keras.Model(x, kind(6, 3, groups=2, name="reader")(y))
    randomize(model)
    writer = model.get_layer("writer")
    for variable in writer.weights:  # in every group the second half is the first
        value = np.array(variable)
        value[..., [2, 3, 6, 7]] = value[..., [0, 1, 4, 5]]
        variable.assign(value)
    graph = ChannelGraph(model)
    removed = np.zeros(len(graph.units.pinned), bool)
    removed[graph.units.classes[graph.layers["writer"].made[[2, 3, 6, 7]]]] = True
    plan = PruningPlan.from_classes(graph, removed)
    images = np.random.default_rng(1).normal(size=(32, 8, 8, 3)).astype("float32")
    small = reconstruct(model, plan, images, ridge=1e-7, sequential=sequential)
    assert small.get_layer("reader").kernel.shape[-2] == 2
    np.testing.assert_allclose(
        outputs(small, images), outputs(model, images), atol=1e-3
    )


def test_a_shared_layer_is_corrected_once():
    x = keras.Input((8, 8, 3))
    writer = layers.Conv2D(8, 1, name="writer")
    shared = layers.Conv2D(8, 1, name="shared", use_bias=False)
    y = layers.Add()([shared(writer(x)), shared(layers.ReLU()(writer(x)))])
    model = keras.Model(x, layers.Conv2D(2, 1, name="last")(y))
    randomize(model)
    for variable in writer.weights:
        value = np.array(variable)
        value[..., 4:] = value[..., :4]
        variable.assign(value)
    plan = half_plan(model)
    images = np.random.default_rng(1).normal(size=(32, 8, 8, 3)).astype("float32")
    small = reconstruct(model, plan, images, ridge=1e-7)
    np.testing.assert_allclose(
        outputs(small, images), outputs(model, images), atol=1e-3
    )


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(steps=steps, seed=st.integers(0, 99), sequential=st.booleans())
def test_no_fit_makes_a_layer_worse(steps, seed, sequential):
    x, y = grow(steps)
    model = keras.Model(x, head(conv(conv(y, 5), 4)))
    randomize(model)
    graph = ChannelGraph(model)
    plan = random_plan(graph, seed)
    removed = plan.classes(graph)
    small, cut = remove_channels(graph, removed), remove_channels(graph, removed)
    batches = calibration_batches(random_inputs(model, batch_size=6), model)
    rows = refit_kernels(graph, removed, small, batches, sequential=sequential)
    assert rows
    fitted = {row.layer.split("/")[0] for row in rows if not row.reason}
    for row in rows:
        if row.error_after is not None:
            assert row.error_after <= row.error_before * (1 + 1e-6) + 1e-9, row
    for old, new in zip(cut.layers, small.layers, strict=True):
        is_normal = isinstance(old, layers.BatchNormalization)
        if old.name in fitted or is_normal or old.name in model_names(model):
            continue
        for one, other in zip(old.weights, new.weights, strict=True):
            np.testing.assert_array_equal(one, other)
    assert all(np.isfinite(np.asarray(v)).all() for v in small.weights)


def model_names(model):
    return {layer.name for layer in model.layers if isinstance(layer, keras.Model)}


def test_is_deterministic_and_leaves_the_model_alone():
    model = chain(layers.Conv2D(6, 3, padding="same"), layers.Conv2D(2, 1))
    before = [np.array(v) for v in model.weights]
    plan = make_plan(model, macs=0.6)
    images = np.random.default_rng(1).normal(size=(40, 8, 8, 3)).astype("float32")
    one, two = (reconstruct(model, plan, images, max_rows=500) for _ in range(2))
    for a, b in zip(one.weights, two.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [layer.name for layer in one.layers] == [x.name for x in model.layers]


def test_data_of_every_kind_give_the_same():
    import tensorflow as tf

    model = chain(layers.Conv2D(4, 1))
    plan = half_plan(model)
    images = np.random.default_rng(1).normal(size=(64, 8, 8, 3)).astype("float32")
    labels = np.zeros((64, 1))
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(32)
    expected = reconstruct(model, plan, images).weights
    for data in ((images, labels), dataset, [(images[:32],), (images[32:],)]):
        for one, other in zip(
            expected, reconstruct(model, plan, data).weights, strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    "data, kwargs, message",
    [
        (None, {}, "`data` is missing"),
        (np.zeros((1, 8, 8, 3)), {}, "at least 2 samples"),
        (np.zeros((4, 6, 6, 1)), {}, "`data`"),
        (np.full((4, 8, 8, 3), np.nan), {}, "not finite"),
        (np.zeros((4, 8, 8, 3)), {"max_samples": 1}, "`max_samples`"),
        (np.zeros((4, 8, 8, 3)), {"max_rows": 0}, "`max_rows`"),
        (np.zeros((4, 8, 8, 3)), {"ridge": -1.0}, "`ridge`"),
    ],
)
def test_bad_input_is_one_clear_line(data, kwargs, message):
    model = chain(layers.Conv2D(4, 1))
    with pytest.raises(InvalidInputError, match=message):
        reconstruct(model, half_plan(model), data, **kwargs)


def test_prune_reconstructs_in_every_step_and_reports():
    model = chain(layers.Conv2D(6, 3, padding="same"), layers.Conv2D(2, 1))
    images = np.random.default_rng(1).normal(size=(40, 8, 8, 3)).astype("float32")
    settings = {"macs": 0.6, "importance": "l1", "data": images}
    one = prune(model, **settings, reconstruct=True)
    again = reconstruct(model, one.plan, images)
    for a, b in zip(one.model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.report.settings["reconstruct"] is True
    rows = [row for row in one.report.refits if row.error_before is not None]
    assert rows and all(row.error_after <= row.error_before for row in rows)
    assert "kernels fitted anew" in one.report.to_text()
    expected = outputs(model, images)

    def error(small):
        return np.square(outputs(small, images) - expected).mean()

    three = prune(model, **settings, reconstruct=True, steps=2)
    cut = shrink(model, one.plan)
    assert error(one.model) < 0.5 * error(cut)
    assert error(three.model) < error(cut)


def test_a_plan_with_blocks_is_reconstructed_without_them():
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(x)
    for number in (1, 2):
        z = layers.Conv2D(6, 3, padding="same", name=f"block{number}_conv")(y)
        y = layers.Add(name=f"block{number}_add")([y, z])
    model = keras.Model(x, layers.Conv2D(2, 1, name="last")(y))
    randomize(model)
    images = np.random.default_rng(1).normal(size=(40, 8, 8, 3)).astype("float32")
    names = [block.name for block in removable_blocks(model)][:1]
    one = prune(model, macs=0.4, data=images, reconstruct=True, blocks=names)
    again = reconstruct(model, one.plan, images)
    assert len(again.layers) < len(model.layers)
    for a, b in zip(one.model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_prune_says_what_reconstruct_needs():
    model = chain(layers.Conv2D(4, 1))
    with pytest.raises(InvalidInputError, match="`reconstruct` needs `data`"):
        prune(model, macs=0.6, reconstruct=True)
    images = np.zeros((8, 8, 8, 3), "float32")
    with pytest.raises(InvalidInputError, match="read once"):
        prune(model, macs=0.6, reconstruct=True, data=iter([images]))


def test_a_pruning_that_was_killed_ends_in_the_same_model(tmp_path):
    model = chain(layers.Conv2D(6, 3, padding="same"), layers.Conv2D(2, 1))
    images = np.random.default_rng(1).normal(size=(40, 8, 8, 3)).astype("float32")
    settings = {"macs": 0.6, "data": images, "reconstruct": True, "steps": 2}
    whole = prune(model, **settings, folder=tmp_path / "whole", fine_tune=_keep)

    def killed(small):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(model, **settings, folder=tmp_path / "part", fine_tune=killed)
    rest = prune(model, **settings, folder=tmp_path / "part", fine_tune=_keep)
    for a, b in zip(whole.model.weights, rest.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    other = {**settings, "data": images + 1}
    with pytest.raises(InvalidInputError, match="other data"):
        prune(model, **other, folder=tmp_path / "part", fine_tune=_keep)


def _keep(small):
    return small


def test_streams_of_single_samples_are_fitted_alike():
    import tensorflow as tf

    model = chain(layers.Conv2D(4, 1))
    plan = half_plan(model)
    images = np.random.default_rng(1).normal(size=(16, 8, 8, 3)).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((images,)).batch(1)
    expected = reconstruct(model, plan, images)
    for one, other in zip(
        expected.weights, reconstruct(model, plan, dataset).weights, strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)
    cut = shrink(model, plan)
    assert np.abs(cut.weights[-2] - expected.weights[-2]).max() > 1e-3


def test_a_normalization_along_another_axis_takes_up_nothing():
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(8, 3, padding="same", name="writer")(x)
    y = layers.Conv2D(6, 1, use_bias=False, name="reader")(y)
    model = keras.Model(x, layers.BatchNormalization(axis=1, name="rows")(y))
    randomize(model)
    images = np.random.default_rng(1).normal(size=(16, 6, 6, 3)).astype("float32")
    small = reconstruct(model, half_plan(model), images)
    for one, other in zip(
        model.get_layer("rows").weights, small.get_layer("rows").weights, strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_constraint_on_a_kernel_still_holds():
    layer = layers.Conv2D(4, 1, kernel_constraint="non_neg", name="reader")
    model = chain(layer)
    model.get_layer("reader").kernel.assign(np.abs(model.get_layer("reader").kernel))
    images = np.random.default_rng(1).normal(size=(16, 8, 8, 3)).astype("float32")
    result = prune(model, macs=0.6, data=images, reconstruct=True)
    assert np.min(result.model.get_layer("reader").kernel) >= 0
    rows = {row.layer: row for row in result.report.refits}
    assert "constraint" in rows["reader"].reason


def test_samples_of_arrays_are_drawn_from_all_of_them():
    model = chain(layers.Conv2D(4, 1))
    images = np.zeros((100, 8, 8, 3), "float32") + np.arange(100)[:, None, None, None]
    batches = calibration_batches(images, model, 40)
    seen = np.concatenate([batch[:, 0, 0, 0] for batch in batches])
    assert len(np.unique(seen)) == 40 and seen.max() > 80 and seen.min() < 20
    assert [len(batch) for batch in batches] == [32, 8]


def test_the_report_of_a_finished_run_still_says_what_was_fitted(tmp_path):
    model = chain(layers.Conv2D(6, 3, padding="same"), layers.Conv2D(2, 1))
    images = np.random.default_rng(1).normal(size=(16, 8, 8, 3)).astype("float32")
    settings = {"macs": 0.6, "data": images, "reconstruct": True, "folder": tmp_path}
    one, two = (prune(model, **settings).report for _ in range(2))
    assert one == two
    assert any(row.error_before is not None for row in two.refits)
