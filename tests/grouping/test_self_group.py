"""Any functional model in, a masked one out, and what the report says of it."""

import csv
import json
import logging

import keras
import numpy as np
import pytest
from keras_networks import make_cifar_resnet, make_network

from keras_sda import applications
from keras_sda.analysis import profile
from keras_sda.grouping import (
    GroupingReport,
    cluster_filters,
    find_groupable_layers,
    group_mask,
    importance_vectors,
    self_group,
)
from keras_sda.layers import SelfGroupedConv2D, SelfGroupedDense
from keras_sda.utils import InvalidInputError

layers = keras.layers


def network(trained=True):
    """Nested block, attention, depthwise, grouped, a shared layer, two inputs."""
    x = keras.Input((8, 8, 3), name="image")
    extra = keras.Input((5,), name="extra")
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(x)
    inner = keras.Input((8, 8, 8))
    z = layers.Conv2D(8, 1, name="first")(inner)
    z = layers.BatchNormalization(name="norm")(z)
    block = keras.Model(inner, layers.Add(name="sum")([inner, z]), name="block")
    y = block(block(y))
    s = layers.GlobalAveragePooling2D(keepdims=True)(y)
    s = layers.Conv2D(8, 1, activation="sigmoid", name="excite")(s)
    y = layers.Multiply(name="scale")([y, s])
    y = layers.DepthwiseConv2D(3, name="depthwise")(y)
    y = layers.Conv2D(8, 1, groups=2, name="grouped")(y)
    y = layers.Dense(12, name="pointwise")(y)
    y = layers.GlobalAveragePooling2D()(y)
    y = layers.Concatenate()([y, extra])
    model = keras.Model(
        {"image": x, "extra": extra}, layers.Dense(4, name="predictions")(y)
    )
    if trained:
        model.get_layer("stem").bias.assign(np.ones(8))
    return model


DATA = {
    "image": np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("f"),
    "extra": np.random.default_rng(1).normal(size=(2, 5)).astype("f"),
}


def test_rule():
    found = {x.name: (x.kind, x.reason) for x in find_groupable_layers(network())}
    assert found == {
        "stem": ("conv", "it is a stem: no layer with a kernel comes before it"),
        "block/first": ("conv", ""),
        "excite": ("conv", "it is attention: it makes a factor for 'block'"),
        "depthwise": ("conv", "it is depthwise: every filter reads one channel"),
        "grouped": ("conv", "it is grouped already (groups=2)"),
        "pointwise": ("conv", ""),
        "predictions": ("dense", ""),
    }


def test_model_and_report(tmp_path):
    model = network()
    model.get_layer("pointwise").trainable = False
    before = [np.array(w) for w in model.weights]
    result = self_group(model, 0.5, 0.25, num_groups=3)
    masked, report = result.model, result.report
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)  # the model is as it was
    assert [row.name for row in report.layers] == [
        "block/first",
        "pointwise",
        "predictions",
    ]
    block = masked.get_layer("block")
    assert type(block.get_layer("first")) is SelfGroupedConv2D
    assert type(masked.get_layer("predictions")) is SelfGroupedDense
    assert not masked.get_layer("pointwise").trainable
    assert masked.get_layer("predictions").trainable
    # With open masks it is the model that it was made from.
    masks = {}
    for layer in masked._flatten_layers():
        if hasattr(layer, "set_groups"):
            masks[layer.name] = np.array(layer.mask)
            layer.set_groups(np.ones(layer.mask.shape))
    np.testing.assert_allclose(masked(DATA), model(DATA), atol=1e-6)
    # With zeros in the kernels the model is the masked one.
    for layer in masked._flatten_layers():
        if layer.name in masks:
            layer.set_groups(masks[layer.name])
            old = model.get_layer("block") if layer.name == "first" else model
            old = old.get_layer(layer.name)
            old.kernel.assign(np.array(old.kernel) * masks[layer.name])
    np.testing.assert_allclose(masked(DATA), model(DATA), atol=1e-6)

    whole = profile(model)
    cut = {row.name: row.connections - row.kept for row in report.layers}
    assert (report.params_before, report.macs_before) == (whole.params, whole.macs)
    assert report.params_after == whole.params - sum(cut.values())
    assert report.macs_after == (
        whole.macs - 128 * cut["block/first"] - 36 * cut["pointwise"]
        - cut["predictions"]
    )  # fmt: skip
    row = report.layers[1]
    mask = masks["pointwise"].T
    assert (row.filters, row.channels, row.num_groups) == (12, 8, 3)
    assert sum(row.group_sizes) == 12 and row.kept == mask.sum()
    assert row.kept_share == pytest.approx(mask.mean()) and row.kept_share <= 0.5
    assert len(report.left_alone) == 4
    (frozen,) = report.warnings
    assert frozen.startswith("14 of 24 weights train") and "('pointwise')" in frozen

    report.save(tmp_path)
    assert GroupingReport.load(tmp_path) == report
    rows = list(csv.DictReader((tmp_path / "report.csv").open()))
    assert [r["name"] for r in rows][:4] == [*cut, "Total"] and len(rows) == 8
    assert int(rows[3]["macs_after"]) == report.macs_after
    markdown = (tmp_path / "report.md").read_text()
    assert "| grouped | Conv2D | it is grouped already (groups=2) |" in markdown
    # A report of the same numbers from the saved model.
    masked.save(tmp_path / "model.keras")
    again = GroupingReport.of(keras.saving.load_model(tmp_path / "model.keras"))
    assert [r.kept for r in again.layers] == [r.kept for r in report.layers]
    assert again.macs_after == report.macs_after
    (tmp_path / "report.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(InvalidInputError, match="damaged"):
        GroupingReport.load(tmp_path)
    with pytest.raises(InvalidInputError, match="no masked layer"):
        GroupingReport.of(model)


def test_follows_the_functions():
    model = applications.LeNet()
    kernel = np.asarray(model.get_layer("fc1").kernel)
    clusters = cluster_filters(importance_vectors(kernel), 8, seed=3)
    expected = group_mask(clusters.centroids, clusters.labels, 90)
    result = self_group(model, 0.9, 0.9, num_groups=8, seed=3)
    layer = result.model.get_layer("fc1")
    np.testing.assert_array_equal(layer.mask, expected.mask.T)
    np.testing.assert_array_equal(layer.labels, clusters.labels)


def test_steps():
    model = make_cifar_resnet()
    once = self_group(model, 0.6, 0.6, steps=6).report
    every = self_group(model, 0.6, 0.6, steps=6, regroup="every_step").report
    assert all(row.num_masks <= row.num_groups for row in once.layers)
    for row in once.layers + every.layers:
        assert row.kept <= 0.4 * row.connections + 1
    assert all(row.kept_share > 0.3 for row in once.layers)
    # Fewer filters than groups.
    assert once.layers[-1].note == "10 groups instead of 16: 10 filters"
    # A second call goes on from the masks: nothing comes back, groups stay.
    start = self_group(model, 0.3, 0.3)
    further = self_group(start.model, 0.6, 0.6)
    for row in further.report.layers:
        old, new = (x.model.get_layer(row.name) for x in (start, further))
        assert (np.asarray(new.mask) <= np.asarray(old.mask)).all()
        np.testing.assert_array_equal(new.labels, old.labels)
        assert row.kept <= 0.4 * row.connections + 1


def test_attention_shortcuts_and_stems_of_networks():
    def masked(model):
        found = find_groupable_layers(model)
        return {x.name for x in found if not x.reason}, {
            x.name: x.reason for x in found if x.reason
        }

    some, rest = masked(make_network("ResNet50", small=True, include_top=False))
    assert len(some) == 2 * 2 * 3
    assert set(rest) == {"conv1_conv"} | {f"conv{i}_block1_0_conv" for i in (2, 3)}
    some, rest = masked(make_network("EfficientNetB0", small=True))
    assert {name for name in rest if "_se_" in name} == {
        name for name in rest if rest[name].startswith("it is attention")
    }
    assert "block2a_expand_conv" in some and "predictions" in some
    some, rest = masked(applications.SDAResNet([1, 2], groups=8, base_width=8,
                                               input_shape=(32, 32, 3)))  # fmt: skip
    assert "stage1_sda" not in some and "stage1_sda" in rest
    assert "stage2_block1_conv1" in some and "stage2_block1_conv2" in rest
    some, rest = masked(applications.LeNet())
    assert some == {"stage2_block1_conv1", "fc1", "predictions"}


def test_convnext_with_nested_models():
    model = make_network("ConvNeXtTiny", small=True, name="convnext_tiny")
    found = {x.name: x for x in find_groupable_layers(model)}
    stem = "convnext_tiny_stem/convnext_tiny_stem_conv"
    assert found[stem].reason.startswith("it is a stem")
    assert found["convnext_tiny_stage_0_block_0_pointwise_conv_1"].kind == "conv"
    assert found["convnext_tiny_head_dense"].kind == "dense"
    down = "convnext_tiny_downsampling_block_0/convnext_tiny_downsampling_conv_0"
    result = self_group(model, layers=[down])
    assert [row.name for row in result.report.layers] == [down]
    x = np.random.normal(size=(1, 32, 32, 3)).astype("f")
    assert np.isfinite(result.model(x)).all()


def test_untrained_models_warn(caplog):
    with caplog.at_level(logging.WARNING):
        report = self_group(network(trained=False), 0.5, 0.5, num_groups=2).report
    assert "untrained" in report.warnings[0] and "untrained" in report.to_text()
    assert "untrained" in caplog.text
    model = network(trained=False)
    model.get_layer("block").get_layer("norm").moving_mean.assign(np.ones(8))
    assert not self_group(model, 0.5, 0.5, num_groups=2).report.warnings


@pytest.mark.parametrize(
    "options, text",
    [
        ({"conv_rate": 70}, "For 70 % give 0.7"),
        ({"conv_rate": -0.1}, "`conv_rate` must be from 0 to below 1"),
        ({"dense_rate": 101}, "`dense_rate`"),
        ({"dense_rate": 1.0}, "would cut every connection"),
        ({"dense_rate": "0.5"}, "`dense_rate`"),
        ({"conv_rate": float("nan")}, "`conv_rate`"),
        ({"num_groups": 0}, "`num_groups`"),
        ({"steps": 0}, "`steps`"),
        ({"regroup": "never"}, "`regroup`"),
        ({"balance": "square"}, "`balance`"),
        ({"layers": "pointwise"}, "Put the name into a list"),
        ({"layers": []}, "`layers` is empty"),
        ({"layers": ["nothing"]}, "'nothing', which is no layer"),
        ({"layers": ["depthwise"]}, "'depthwise'.*cannot have groups"),
        ({"exclude": ["nothing"]}, "`exclude` names"),
        ({"labels": {"stem": np.zeros(8, int)}}, "'stem', which gets no groups"),
        ({"labels": {"pointwise": np.zeros(5, int)}}, "'pointwise': `labels`"),
        ({"labels": [0, 1]}, "dict by layer name"),
        ({"init_centroids": {"pointwise": np.ones((2, 3))}}, "8 channels"),
        ({"conv_rate": 0, "dense_rate": 0}, "its rate is 0"),
        ({"dense_rate": 0.99, "num_groups": 1}, "leaves layer 'predictions'"),
    ],
)
def test_bad_input(options, text):
    with pytest.raises(InvalidInputError, match=text):
        self_group(network(), **{"conv_rate": 0.5, "dense_rate": 0.5, **options})


def test_subclassed_models_are_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(InvalidInputError, match="subclassed"):
        self_group(Own())


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: importance_vectors(np.ones(3)), "`kernel`"),
        (lambda: importance_vectors(np.ones((2, 3)), np.ones((2, 3))), "transposed"),
        (lambda: cluster_filters(np.ones(3)), "`vectors`"),
        (lambda: cluster_filters(np.full((2, 2), np.nan)), "not finite"),
        (lambda: cluster_filters(np.ones((2, 2)), 0), "`num_groups`"),
        (lambda: cluster_filters(np.eye(2), init_centroids=np.eye(3)), "2 channels"),
        (lambda: group_mask(np.eye(2), [0, 2], 50), "`labels` must be from 0 to 1"),
        (lambda: group_mask(np.eye(2), [0, 1], 101), "`percent`"),
        (lambda: group_mask(np.eye(2), [0], 50, np.ones((2, 1))), "transposed"),
    ],
)
def test_bad_arguments_of_functions(call, text):
    with pytest.raises(InvalidInputError, match=text):
        call()
