"""Layers of users without a rule: they stay by name, and their cost counts."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops
from pruning.custom_layers import (
    Branches,
    ConvBlock,
    NestedBlock,
    Projection,
    TensorFlowBlock,
    TensorFlowProduct,
    network,
)
from pruning.zoo import TOPOLOGIES

from keras_sda.analysis import profile, register_macs_rule
from keras_sda.analysis.macs import macs_rules
from keras_sda.graph import ChannelGraph, inner_calls, layer_calls
from keras_sda.graph.rules.made_inside import num_made
from keras_sda.grouping import find_groupable_layers, self_group
from keras_sda.pruning import PruningReport, make_plan, prune
from keras_sda.search import add_channel_gates, find_gate_positions
from keras_sda.search.gates.gate_cost import GateCost
from keras_sda.search.search_options import check_budget
from keras_sda.utils import InvalidInputError

BLOCKS = {
    "keras": lambda: [ConvBlock(name="b")],
    "tensorflow": lambda: [TensorFlowBlock(name="b")],
    "nested": lambda: [NestedBlock(name="b")],
    "own_weights": lambda: [Projection(name="b")],
    "branches": lambda: [Branches(6, name="b")],
    "several": lambda: [ConvBlock(4, name="b"), Branches(12, name="c")],
}


def shared_block():
    block = ConvBlock(name="b")
    return [block, block]


BLOCKS["shared"] = shared_block


@pytest.mark.parametrize("name", BLOCKS)
def test_the_cost_of_layers_inside_is_counted_as_by_hand(name):
    model, macs = network(*BLOCKS[name]())
    result = profile(model)
    assert result.macs == macs and result.unknown == ()
    assert result.params == model.count_params()


def test_half_of_the_macs_is_half_of_the_whole_model(tmp_path):
    """The blocks cost 80 % of the model, and stay."""
    model, macs = network(ConvBlock(8, name="b"), width=16)
    small = prune(model, macs=0.7)
    f = small.model.get_layer("last").filters
    by_hand = macs - 64 * 9 * 8 * (16 - f) - 3 * (16 - f)
    assert small.report.macs_before == macs
    assert small.report.macs_after == by_hand <= 0.7 * macs
    assert small.plan.expected["macs"] == by_hand
    small.report.save(tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    rows = {row["name"]: row for row in content["layers"]}
    assert rows["b"]["macs_after"] == 64 * (9 * 16 * 8 + 64)
    assert rows["b"]["untouchable"] == 16
    assert "no channel rule for ConvBlock" in rows["b"]["reason"]
    assert content["uncounted"] == []
    assert PruningReport.load(tmp_path) == small.report


def test_a_target_that_the_blocks_exceed_is_refused_by_name():
    model, _ = network(ConvBlock(32, name="b"))
    with pytest.raises(InvalidInputError, match="floor is .* b: there is no channel"):
        prune(model, macs=0.5)


def test_parameters_of_layers_inside_count():
    model, _ = network(ConvBlock(8, name="b"), width=16)
    small = prune(model, params=0.7)
    assert small.model.count_params() <= 0.7 * model.count_params()
    assert small.report.params_after == small.model.count_params()


def test_a_latency_target_needs_no_macs():
    model, _ = network(TensorFlowProduct(8, name="b"), width=8)
    small = prune(model, latency=1.0, batch_size=1)
    assert small.report.uncounted == ("b",)


def test_what_nobody_can_count_is_an_error_that_a_rule_answers(tmp_path):
    model, _ = network(TensorFlowProduct(8, name="odd"), width=16)
    with pytest.raises(
        InvalidInputError, match="`macs` .*odd .TensorFlowProduct.*regi"
    ):
        prune(model, macs=0.8)
    small = prune(model, params=0.9)
    assert small.report.uncounted == ("odd",)
    assert "MACs not counted, no rule: odd" in small.report.to_text()
    small.report.save(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["uncounted"] == ["odd"]
    assert PruningReport.load(tmp_path) == small.report
    register_macs_rule(TensorFlowProduct, lambda call: 1000)
    try:
        report = prune(model, macs=0.8).report
        assert report.uncounted == ()
        assert {r.name: r.macs_after for r in report.layers}["odd"] == 1000
    finally:
        del macs_rules._rules[TensorFlowProduct]


def test_a_layer_that_counts_itself_is_asked():
    class Counted(TensorFlowProduct):
        def compute_macs(self, input_shape, output_shape):
            return 17

    model, _ = network(Counted(8, name="b"))
    assert {row.name: row.macs for row in profile(model).layers}["b"] == 17


def test_a_cheap_layer_that_nobody_can_count_is_no_error():
    import tensorflow as tf

    spectrum = layers.Lambda(
        lambda t: tf.math.real(tf.signal.fft(tf.cast(t, tf.complex64))), name="odd"
    )
    model, _ = network()
    y = spectrum(model.input)
    model = keras.Model(model.input, model(y))
    small = prune(model, macs=0.8)
    assert small.report.uncounted == ("odd",)


def test_looking_inside_leaves_no_trace():
    model, _ = network(TensorFlowBlock(name="b"), ConvBlock(name="c"))
    model.get_layer("c").first.activity_regularizer = keras.regularizers.L2(0.1)
    before = keras.layers.Add().name
    for name in "bc":
        block = model.get_layer(name)
        call = next(c for c in layer_calls(model) if c.name == name)
        inside = [x.name for x in inner_calls(call) if x.layer in block._layers]
        assert inside == [f"{name}/{x.name}" for x in (block.first, block.bn,
                                                       block.second)]  # fmt: skip
        assert not block.first._inbound_nodes and not block.losses
        assert "call" not in vars(block.first)
    number = int(before.rpartition("_")[2]) if before[-1].isdigit() else 0
    assert keras.layers.Add().name == f"add_{number + 1}"
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(np.zeros((2, 8, 8, 3)), np.zeros((2, 3)), verbose=0)


def test_a_network_of_blocks_is_refused_by_their_names():
    """As MobileOne and RepVGG are written: all convolutions are inside."""
    x = keras.Input((8, 8, 3), name="x")
    y = Branches(8, name="one")(x)
    y = layers.BatchNormalization()(Branches(6, name="two")(y))
    y = layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, layers.Dense(3, name="predictions")(y))
    found = {u.layer: u for u in ChannelGraph(model).untouchable}
    assert set(found) == {"one", "two", "predictions"}
    assert found["one"].num_channels == 16 and found["two"].num_channels == 12
    assert "8 in 'conv2d" in found["one"].reason
    names = "one: there is no channel rule for Branches.*two: there is no channel rule"
    with pytest.raises(InvalidInputError, match=f"{names}.*register_rule"):
        make_plan(model, macs=0.5)
    positions = {p.layer: p.reason for p in find_gate_positions(model)}
    assert "no channel rule for Branches" in positions["one"]
    with pytest.raises(InvalidInputError, match="one: .* Branches.*two: .* Branches"):
        add_channel_gates(model)
    bare = keras.Model(x, layers.Flatten()(Branches(4, name="bare")(x)))
    with pytest.raises(InvalidInputError, match="no BatchNorm.*bare: .* Branches"):
        add_channel_gates(bare)
    reasons = {entry.name: entry.reason for entry in find_groupable_layers(model)}
    assert "inside of a Branches" in reasons["one"]
    with pytest.raises(InvalidInputError, match="one: .*two: .*Branches"):
        self_group(model, dense_rate=0.0)


def test_a_sequential_model_of_blocks():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), ConvBlock(4, name="b"), layers.Flatten(),
         layers.Dense(5, name="d"), layers.Dense(2, name="e")]
    )  # fmt: skip
    found = {u.layer: u for u in ChannelGraph(model).untouchable}
    assert found["b"].num_channels == 8 and set(found) == {"b", "e"}


def test_a_custom_layer_in_a_nested_model():
    inner = keras.Input((8, 8, 8))
    nested = keras.Model(inner, ConvBlock(8, name="b")(inner), name="nested")
    x = keras.Input((8, 8, 3))
    y = nested(layers.Conv2D(8, 3, padding="same", name="stem")(x))
    y = layers.Conv2D(16, 3, name="last")(y)
    y = layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, layers.Dense(2, name="predictions")(y))
    found = {u.layer: u for u in ChannelGraph(model).untouchable}
    assert found["nested/b"].num_channels == 16
    macs = 64 * 27 * 8 + 64 * (9 * 64 + 64) + 36 * 9 * 8 * 16 + 32
    assert profile(model).macs == macs
    report = prune(model, macs=0.8).report
    assert report.macs_before == macs and report.macs_after <= 0.8 * macs
    assert {r.name: r.untouchable for r in report.layers}["nested/b"] == 16


class Shell(layers.Wrapper):
    """A wrapper of a user."""

    def call(self, x):
        return self.layer(x)


class Vector(layers.Layer):
    """A learned vector in place of its input: it makes channels without a kernel."""

    def build(self, shape):
        self.vector = self.add_weight(shape=(5,), name="vector")

    def call(self, x):
        return x[..., :1] * 0.0 + self.vector


class Subclassed(keras.Model):
    """A subclassed model, which has no graph."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(7, name="inner")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x)


MAKERS = {
    "wrapper": (lambda: Shell(layers.Conv2D(7, 1, name="inner"), name="m"), 7),
    "vector": (lambda: Vector(name="m"), 5),
    "projection": (lambda: Projection(9, name="m"), 9),
    "subclassed": (lambda: Subclassed(name="m"), 7),
    "nested": (lambda: NestedBlock(4, name="m"), 12),
    "lambda": (
        lambda: layers.Lambda(lambda t: ops.concatenate([t, t], -1), name="m"),
        16,
    ),
    "two_outputs": (
        lambda: layers.Lambda(
            lambda t: ops.concatenate([ops.cumsum(t, -1), t[..., :1]], -1), name="m"
        ),
        9,
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_whatever_makes_channels_without_a_rule_is_named(name):
    make, count = MAKERS[name]
    found = {u.layer: u for u in ChannelGraph(network(make())[0]).untouchable}
    assert found["m"].num_channels == count
    assert found["m"].because_of == "m" and "no channel rule" in found["m"].reason
    assert found["stem"].because_of == "m"  # it reads what the stem makes


def test_a_layer_that_passes_channels_on_makes_none():
    layer = layers.Lambda(lambda t: t * 2, name="m")
    graph = ChannelGraph(network(layer)[0])
    assert {u.layer for u in graph.untouchable} == {"stem", "predictions"}


class Table(layers.Embedding):
    """An embedding of a user, and so without a rule."""


def test_an_embedding_and_a_head_of_blocks():
    x = keras.Input((6,), dtype="int32")
    y = Table(10, 8, name="table")(x)
    model = keras.Model(x, Projection(3, name="top")(y))
    found = {u.layer: (u.num_channels, u.reason) for u in
             ChannelGraph(model).untouchable}  # fmt: skip
    assert found["table"][0] == 8 and "no channel rule" in found["table"][1]
    assert found["top"] == (3, "it is an output of the model")
    with pytest.raises(InvalidInputError, match="table: .*Table"):
        prune(model, params=0.5)


def test_wrappers_of_what_has_no_rule_are_named():
    """Where a rule for `TimeDistributed` cannot open what it holds."""
    x = keras.Input((2, 8, 8, 3))
    y = layers.TimeDistributed(ConvBlock(6, name="inner"), name="outer")(x)
    y = layers.TimeDistributed(layers.GlobalAveragePooling2D())(y)
    model = keras.Model(x, layers.Dense(3)(layers.Dense(5, name="d")(y)))
    found = {u.layer: u for u in ChannelGraph(model).untouchable}
    assert found["outer"].num_channels == 12
    assert "there is no channel rule" in found["outer"].reason
    macs = 2 * (64 * (27 * 6 + 36) + 6 * 5 + 15)
    assert profile(model).macs == macs
    report = prune(model, params=0.99).report
    rows = {row.name: row for row in report.layers}
    assert report.macs_before == macs and rows["outer/inner"].untouchable == 12


def test_a_search_with_a_budget_needs_all_macs():
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(6, 3, name="a")(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = TensorFlowProduct(8, name="odd")(layers.Conv2D(6, 3, name="b")(y))
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))
    cost = GateCost(add_channel_gates(model))
    with pytest.raises(InvalidInputError, match="`target_macs` .*odd"):
        check_budget(0.5, cost)
    assert check_budget(None, cost) is None


def is_depthwise(layer):
    """Whether a convolution has one channel per group: it passes channels on."""
    return getattr(layer, "groups", 1) > 1 and layer.kernel.shape[-2] == 1


def check_nothing_is_forgotten(model):
    """Every layer that makes channels is in a group or untouchable."""
    graph = ChannelGraph(model)
    named = {u.layer for u in graph.untouchable}
    for group in graph.groups:
        named |= set(group.writers)
    for record in graph.layers.values():
        makes = isinstance(record.layer, layers.Layer) and any(
            num_made(layer) and not is_depthwise(layer)
            for layer in record.layer._flatten_layers()
        )
        assert not makes or record.name in named, record.name


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_nothing_is_forgotten_in_the_zoo(name):
    check_nothing_is_forgotten(TOPOLOGIES[name]())


@pytest.mark.parametrize("name", BLOCKS)
def test_nothing_is_forgotten_in_networks_of_blocks(name):
    check_nothing_is_forgotten(network(*BLOCKS[name]())[0])
    check_nothing_is_forgotten(network(*BLOCKS[name](), bn=True)[0])


@pytest.mark.large
@pytest.mark.parametrize(
    "name", ["MobileNetV3Small", "EfficientNetB0", "ConvNeXtTiny", "NASNetMobile"]
)
def test_nothing_is_forgotten_in_keras_applications(name):
    check_nothing_is_forgotten(
        getattr(keras.applications, name)(weights=None, input_shape=(64, 64, 3))
    )
