"""Packed models compute what the masked ones do, and their reports are true."""

import types
import unittest.mock

import keras
import numpy as np
import pytest
from export.export_checks import run_export_test, with_telling_outputs
from grouping.pack_checks import (
    cut_at_random,
    layer_names,
    masked_network,
    pack_with_made_up_times,
    run_pack_test,
)
from pruning.surgery_checks import flat_outputs, random_inputs, randomize
from pruning.zoo import conv, head, image_model
from pruning.zoo_structures import TOPOLOGIES

from keras_sda import applications
from keras_sda.grouping import find_groupable_layers, pack, self_group
from keras_sda.grouping.packing.packed_forms import packed_forms
from keras_sda.grouping.packing.time_forms import FormTimer
from keras_sda.grouping.packing.trim_unread import trim_unread
from keras_sda.layers import (
    GatherChannels,
    GroupedConv2D,
    PackedConv2D,
    PackedDense,
    SelfGroupedConv2D,
)
from keras_sda.layers.compression.self_grouped import SelfGrouped
from keras_sda.utils import InvalidInputError

layers = keras.layers
# Keras cannot load the original either.
NOT_LOADABLE = ("layer_shared_between_models",)


def groupable(model):
    return [x.name for x in find_groupable_layers(model) if not x.reason]


@pytest.mark.parametrize(
    "form", ["auto", pytest.param("lists", marks=pytest.mark.large)]
)
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_zoo(name, form):
    """Random masks, with filters that read nothing and channels that nobody reads."""
    model = TOPOLOGIES[name]()
    if not groupable(model):
        pytest.skip("no layer of it can have groups")
    run_pack_test(model, (form,), prepare=cut_at_random)


SAVED = "residual concat shared_layers".split()
SAVED += [
    pytest.param(name, marks=pytest.mark.large)
    for name in "flatten_dense nested_shared squeeze_excite_layer depthwise "
    "split_res2net two_inputs dictionaries".split()
]


@pytest.mark.parametrize("name", SAVED)
def test_zoo_saved_and_exported(name, tmp_path):
    run_pack_test(TOPOLOGIES[name](), ("lists", "grouped"), tmp_path=tmp_path)


@pytest.mark.parametrize(
    "name, balance",
    [
        ("residual", "disjoint"),
        ("nested", "disjoint"),
        ("concat", "equal"),
        ("shared_layers", "equal"),
    ],
)
def test_zoo_balanced(name, balance):
    run_pack_test(TOPOLOGIES[name](), conv_rate=0.5, dense_rate=0, balance=balance)


def dense_network():
    """Every block reads what all before it made."""

    def body(x):
        x = conv(x, 8)
        for _ in range(3):
            x = layers.Concatenate()([x, conv(conv(x, 8, size=1), 4)])
        return conv(layers.AveragePooling2D(2)(x), 10)

    return image_model(body)


def test_dense_network(tmp_path):
    _, results = run_pack_test(dense_network(), ("grouped", "auto"), tmp_path=tmp_path)
    rows = results["grouped"].report.layers
    assert max(row.num_groups for row in rows) <= 3


def test_filters_of_one_group_with_other_masks():
    def cut(masked):
        cut_at_random(masked, silent=False)

    masked, results = run_pack_test(dense_network(), prepare=cut)
    labels = masked.get_layer("predictions").labels
    assert len(set(np.asarray(labels).tolist())) == 3
    assert max(row.num_groups for row in results["lists"].report.layers) > 3
    options = {"regroup": "every_step", "steps": 6, "num_groups": 6}
    run_pack_test(dense_network(), ("lists", "auto"), **options)


def test_le_net(tmp_path):
    """Flattened maps, and layers that leave little."""
    model = applications.LeNet(classifier_activation=None)
    options = {"conv_rate": 0.95, "dense_rate": 0.95, "num_groups": 16}
    masked, results = run_pack_test(
        model, ("lists", "auto"), tmp_path=tmp_path, **options
    )
    packed, report = results["lists"].model, results["lists"].report
    assert type(packed.get_layer("fc1")) is PackedDense
    assert type(packed.get_layer("stage2_block1_conv1")) is PackedConv2D
    assert report.unread > 0
    assert packed.count_params() < 0.06 * model.count_params()
    # Every channel that the report counts is gone from a kernel.
    before = sum(masked.get_layer(n).kernel.shape[-1] for n in KERNELS)
    after = sum(number_of_filters(packed.get_layer(n)) for n in KERNELS)
    assert before - after == report.unread


KERNELS = ("stage1_block1_conv1", "stage2_block1_conv1", "fc1", "predictions")


def number_of_filters(layer):
    if isinstance(layer, (PackedConv2D, PackedDense)):
        return layer.num_filters
    return layer.kernel.shape[-1]


def test_unread_channels_go_through_the_network():
    """What only an unread channel reads is unread; norms and readers follow."""
    model = image_model(lambda x: conv(conv(conv(x, 6, name="a"), 5, name="b"), 4))
    randomize(model)
    masked = self_group(model, 0.3, 0.3, num_groups=2).model
    last = masked.get_layer("predictions")
    third = next(x for x in masked.layers[::-1] if isinstance(x, SelfGroupedConv2D))
    last.set_groups(np.ones(last.mask.shape))
    mask = np.ones((5, 4))
    mask[[0, 3]] = 0  # two filters of b
    third.set_groups(mask)
    mask = np.zeros((6, 5))
    mask[:, [0, 3]] = 1  # four of a are read by these two only
    mask[[1, 2]] = 1
    masked.get_layer("b").set_groups(mask)
    trimmed, count = trim_unread(masked)
    assert count == 2 + 4
    assert trimmed.get_layer("a").kernel.shape[-1] == 2
    assert trimmed.get_layer("b").kernel.shape[-2:] == (2, 3)
    assert tuple(trimmed.get_layer("b").mask.shape) == (2, 3)
    assert trimmed.get_layer("b_bn").gamma.shape == (3,)
    _, results = run_pack_test(None, ("lists",), masked=masked)
    assert results["lists"].report.unread == 6
    assert trim_unread(trimmed) == (trimmed, 0)


def test_residual_channels_count_once_per_writer():
    def body(x):
        x = conv(x, 6, name="a")
        x = layers.Add()([x, conv(x, 6, name="b")])
        return conv(x, 4, name="c")

    model = image_model(body)
    randomize(model)
    masked = self_group(model, 0.3, 0.0, num_groups=2).model
    for name in ("b", "c"):
        layer = masked.get_layer(name)
        mask = np.ones(layer.mask.shape)
        mask[2] = 0
        layer.set_groups(mask)
    assert trim_unread(masked)[1] == 2
    masked.get_layer("b").set_groups(np.tri(6))  # b still reads channel 2
    assert trim_unread(masked)[1] == 0


def test_a_layer_without_connections_is_a_constant():
    """It stays as it is, and so does one channel of what it reads."""
    model = image_model(lambda x: conv(conv(conv(x, 6), 5, name="b"), 4))

    def silence(masked):
        layer = masked.get_layer("b")
        layer.set_groups(np.zeros(layer.mask.shape), np.arange(5) % 2)

    _, results = run_pack_test(model, prepare=silence)
    for result in results.values():
        row = next(row for row in result.report.layers if row.name == "b")
        assert (row.form, row.channels, row.kept) == ("dense", 1, 0)
        assert result.report.unread >= 5


def test_shared_layer_between_gathers():
    """A grouped convolution called twice has one gather, called twice."""

    def body(x):
        x = conv(x, 8)
        shared = layers.Conv2D(8, 3, padding="same", name="shared")
        x = layers.Add()([x, shared(x)])
        return conv(layers.Add()([x, shared(x)]), 4, name="reader")

    model = image_model(body)

    def scatter(masked):
        # It reads and writes one stream, divided in two ways.
        read, made = np.arange(8) % 2, np.arange(8) // 2 % 2
        masked.get_layer("shared").set_groups(read[:, None] == made, made)
        reader = masked.get_layer("reader")
        reader.set_groups(np.ones(reader.mask.shape))

    masked, results = run_pack_test(model, ("grouped", "auto"), prepare=scatter)
    packed = results["grouped"].model
    assert type(packed.get_layer("shared")) is GroupedConv2D
    assert packed.get_layer("shared").groups == 2
    names = layer_names(packed)
    gathers = [name for name in names if name.startswith("shared_")]
    assert len(set(gathers)) == len(gathers) >= 1
    row = next(r for r in results["grouped"].report.layers if r.name == "shared")
    assert row.gathers or row.reorders


def test_layer_names_that_packing_could_take():
    """Derived models have gathers of their own."""

    def body(x):
        x = conv(x, 8)
        x = GatherChannels([7, 0, 1, 2, 3, 4], name="b_gather")(x)
        return conv(conv(x, 6, name="b"), 4)

    run_pack_test(image_model(body), conv_rate=0.5, dense_rate=0, balance="disjoint")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_dtype_policies_survive(policy):
    keras.config.set_dtype_policy(policy)
    model = image_model(lambda x: conv(conv(conv(x), 8)))
    keras.config.set_dtype_policy("float32")
    _, results = run_pack_test(model, ("lists", "grouped"), tolerance=0.05)
    for result in results.values():
        for layer in result.model.layers[1:]:
            assert layer.compute_dtype == policy[6:]


def test_classifier_is_exported(tmp_path):
    """Signatures without this package, with folded normalization."""

    def body(x):
        x = conv(x, 8, activation="relu")
        return layers.Add()([x, conv(conv(x, 8, activation="relu"), 8)])

    x = keras.Input((16, 16, 3))
    y = layers.GlobalAveragePooling2D()(body(x))
    y = layers.Dense(4, activation="softmax", name="predictions")(y)
    model = keras.Model(x, y)
    randomize(model)
    masked = self_group(model, 0.6, 0.25, num_groups=4).model
    packed = pack(masked, form="lists").model
    images = random_inputs(masked)
    expected = flat_outputs(masked, images)[0]
    np.testing.assert_allclose(flat_outputs(packed, images)[0], expected, atol=1e-5)
    model = self_group(with_telling_outputs(model), 0.6, 0.0, num_groups=4).model
    run_export_test(pack(model, form="lists").model, tmp_path)


def test_auto_takes_what_is_faster_only():
    masked = masked_network()
    for seed in range(4):
        result = pack_with_made_up_times(masked, "auto", seed=seed)
        for row in result.report.layers:
            if row.form != "dense":
                assert row.ms[row.form] <= 0.95 * row.ms["dense"]
                assert row.ms[row.form] == min(row.ms.values())
        latency = result.report.settings["latency_ratio_to_dense"]
        assert latency in (None, 0.5, 0.995)


@pytest.mark.parametrize("factor, form", [(0.96, "dense"), (0.9, "lists")])
def test_auto_needs_a_margin(factor, form):
    ratios = {"dense": 1.0, "trimmed": 0.95, "rounded": 0.96, "packed": 0.9}
    compared = types.SimpleNamespace(ratios=ratios)
    with (
        unittest.mock.patch.object(
            FormTimer,
            "times_ms",
            lambda self, forms, shape: {
                f.name: {"dense": 1.0, "lists": factor}.get(f.name, 2.0) for f in forms
            },
        ),
        unittest.mock.patch(
            "keras_sda.grouping.packing.pack.compare_latency", lambda *a, **k: compared
        ),
    ):
        report = pack(masked_network()).report
    assert {row.form for row in report.layers} == {form}


def test_auto_takes_it_back_where_the_whole_model_is_slower():
    masked = masked_network()
    kept = pack_with_made_up_times(masked, "auto", ratio=0.99).report
    assert any(row.form != "dense" for row in kept.layers)
    result = pack_with_made_up_times(masked, "auto", ratio=1.2)
    for row in result.report.layers:
        assert row.form == "dense" and "whole model" in row.note
        assert row.computed == row.filters * row.channels and not row.gathers
    latency = result.report.settings["latency_ratio_to_dense"]
    assert latency == (0.995 if result.report.unread else 1.0)
    dense = pack(masked, form="dense").report
    assert result.report.macs_after == dense.macs_after
    assert [row.computed for row in result.report.layers] == [
        row.computed for row in dense.layers
    ]
    x = random_inputs(masked)
    np.testing.assert_allclose(
        flat_outputs(result.model, x)[0], flat_outputs(masked, x)[0], atol=1e-5
    )


@pytest.mark.parametrize(
    "trims, left",
    [((0.9, 0.95), (13, 21)), ((1.1, 0.9), (16, 24)), ((1.1, 1.2), (24, 24))],
)
def test_auto_removes_channels_only_where_that_is_faster(trims, left):
    """Without 11 and 3 of 24 channels; those up to a multiple of 8 may stay."""
    model = image_model(lambda x: conv(conv(conv(x, 24, name="a"), 24, name="b"), 8))
    randomize(model)
    masked = self_group(model, 0.3, 0.0, num_groups=2).model
    masked_layers = [x for x in masked.layers if isinstance(x, SelfGrouped)]
    for layer, read in zip(masked_layers, (13, 21), strict=True):
        mask = np.ones(layer.mask.shape)
        mask[read:] = 0
        layer.set_groups(mask)
    result = pack_with_made_up_times(masked, "auto", ratio=2.0, trims=trims)
    rows = {row.channels for row in result.report.layers}
    assert rows == set(left)
    assert result.report.unread == 48 - sum(left)
    assert (result.report.settings["latency_ratio_to_dense"] or 1.0) == min(1.0, *trims)
    x = random_inputs(masked)
    np.testing.assert_allclose(
        flat_outputs(result.model, x)[0], flat_outputs(masked, x)[0], atol=1e-5
    )


def test_auto_with_a_clock():
    """The forms really run; which is fastest is not asserted."""
    masked = masked_network()
    result = pack(masked, batch_size=2, num_runs=1)
    for row in result.report.layers:
        assert set(row.ms) >= {"dense", "lists"} and min(row.ms.values()) > 0
        assert row.ms[row.form] <= row.ms["dense"]
    assert result.report.settings["batch_size"] == 2
    x = random_inputs(masked)
    np.testing.assert_allclose(
        flat_outputs(result.model, x)[0], flat_outputs(masked, x)[0], atol=1e-5
    )


def test_open_input_shape():
    x = keras.Input((None, None, 3))
    model = keras.Model(x, head(conv(conv(x, 8), 8)))
    randomize(model)
    masked = self_group(model, 0.6, 0.0, num_groups=4, input_shape=(16, 16, 3)).model
    with pytest.raises(InvalidInputError, match="input_shape"):
        pack(masked, form="lists")
    result = pack(masked, num_runs=1, input_shape=(16, 16, 3))
    images = np.random.default_rng(0).normal(size=(2, 12, 20, 3)).astype("f")
    np.testing.assert_allclose(result.model(images), masked(images), atol=1e-5)


def test_short_layers_are_timed_in_a_row():
    """Every layer of the row is computed, once, and the row alone is taken off."""
    layer = next(x for x in masked_network().layers if isinstance(x, SelfGroupedConv2D))
    built = []

    class Step:
        def __init__(self, model, batch_size):
            names = [type(x).__name__ for x in model.layers]
            self.calls = sum(name in ("Conv2D", "PackedConv2D") for name in names)
            self.links = names.count("_After")
            built.append(self)

        def time_ms(self):
            return 5.0 + self.links + 2.0 * self.calls

    with unittest.mock.patch(
        "keras_sda.grouping.packing.time_forms.InferenceStep", Step
    ):
        times = FormTimer(1, 1).times_ms(packed_forms(layer), (8, 8, 8))
    assert {step.calls for step in built[1:]} == {0, 1}  # 7 ms once, so no row
    assert times == dict.fromkeys(times, 2.0)

    class Fast(Step):
        def time_ms(self):
            return super().time_ms() / 4

    built.clear()
    with unittest.mock.patch(
        "keras_sda.grouping.packing.time_forms.InferenceStep", Fast
    ):
        times = FormTimer(1, 1).times_ms(packed_forms(layer), (8, 8, 8))
    assert {step.calls for step in built[1:]} == {0, 4}
    assert {step.links for step in built[1:]} == {3}
    assert times == dict.fromkeys(times, 0.5)


def test_same_work_is_timed_once():
    masked = masked_network()
    timer, runs = FormTimer(1, 1), []
    timer._measure = lambda forms, shape: runs.append(shape) or {"dense": 1.0}
    first, second = (
        packed_forms(layer)
        for layer in masked.layers
        if isinstance(layer, SelfGroupedConv2D)
    )
    timer.times_ms(first, (8, 8, 8))
    timer.times_ms(first, (8, 8, 8))
    assert len(runs) == 1
    timer.times_ms(first, (4, 4, 8))
    assert len(runs) == 2
    timer.times_ms(second, (8, 8, 8))
    assert len(runs) == 2 + ([f.key for f in first] != [f.key for f in second])
