"""What cannot be removed stays, is reported by name, and the rest is pruned."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from pruning.surgery_checks import run_surgery_test
from pruning.zoo import conv, head

from keras_sda.graph import ChannelGraph, register_rule
from keras_sda.graph.rules.channel_rules import _REGISTERED
from keras_sda.layers import ConvolutionalBlockAttention2D
from keras_sda.pruning import make_plan, mask, shrink
from keras_sda.utils import InvalidInputError

NUM_CHANNELS = 6


@keras.saving.register_keras_serializable("keras_sda_tests")
def cumulated(x):
    return ops.cumsum(x, axis=-1)


class Reverse(layers.Layer):
    """A layer that no rule knows."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, x):
        return x[..., ::-1] * self.scale


class Doubled(keras.Model):
    """A subclassed model in a functional one."""

    def call(self, x):
        return x * 2


def quantized(x):
    layer = layers.Dense(5)
    y = layer(x)
    layer.quantize("int8")
    return y


def with_lora(x):
    layer = layers.Dense(5)
    y = layer(x)
    layer.enable_lora(2)
    return y


def attention(x):
    x = layers.Reshape((64, NUM_CHANNELS))(x)
    return layers.Reshape((8, 8, NUM_CHANNELS))(layers.Attention()([x, x]))


def shuffled(x):
    x = ops.reshape(x, (-1, 8, 8, 2, 3))
    return ops.reshape(ops.transpose(x, (0, 1, 2, 4, 3)), (-1, 8, 8, NUM_CHANNELS))


def recurrent(x):
    cells = [layers.LSTMCell(4), layers.GRUCell(4)]
    return layers.Reshape((1, 1, 4))(layers.RNN(cells)(layers.Reshape((64, 6))(x)))


def both_ways(x):
    rnn = layers.RNN(layers.LSTMCell(2))
    x = layers.Bidirectional(rnn)(layers.Reshape((64, 6))(x))
    return layers.Reshape((1, 1, 4))(x)


CASES = {
    "mixing_reshape": (layers.Reshape((16, 8, 3)), "takes channels apart"),
    "shuffle": (shuffled, "takes channels apart"),
    "layer_normalization": (layers.LayerNormalization(), "across channels"),
    "group_normalization": (layers.GroupNormalization(2), "across channels"),
    "unit_normalization": (layers.UnitNormalization(), "across channels"),
    "softmax_layer": (layers.Softmax(), "across channels"),
    "softmax_operation": (ops.softmax, "across channels"),
    "softmax_activation": (layers.Activation("softmax"), "across channels"),
    "own_activation": (
        layers.Activation(cumulated),
        "across channels",
    ),
    "attention": (attention, "attention without heads"),
    "recurrent": (recurrent, "no channel rule for RNN"),
    "both_ways": (both_ways, "it wraps RNN, for which there is no"),
    "time_distributed": (
        layers.TimeDistributed(layers.SpectralNormalization(layers.Conv1D(4, 3))),
        "it wraps SpectralNormalization, for which there is no",
    ),
    "time_distributed_normalization": (
        layers.TimeDistributed(layers.LayerNormalization()),
        "across channels",
    ),
    "time_distributed_over_channels": (
        lambda x: layers.Permute((2, 3, 1))(
            layers.TimeDistributed(layers.Conv1D(4, 3))(layers.Permute((3, 1, 2))(x))
        ),
        "steps in time are the channels",
    ),
    "repeated_flat": (
        lambda x: ops.reshape(ops.repeat(x, 2), (-1, 8, 8, 6)),
        "flattens",
    ),
    "rolled_flat": (lambda x: ops.roll(x, 2), "flattens"),
    "turned": (lambda x: ops.rot90(x, axes=(2, 3)), "turns the channel axis"),
    "taken_apart": (lambda x: ops.stack(ops.unstack(x, axis=-1), -1), "one by one"),
    "taken_to_two_axes": (
        lambda x: ops.reshape(ops.take(x, [[0, 1], [2, 3]], -1), (-1, 8, 8, 4)),
        "along several axes",
    ),
    "spectral": (
        lambda x: layers.SpectralNormalization(layers.Conv2D(4, 1))(x),
        "no channel rule for SpectralNormalization",
    ),
    "without_rule": (lambda x: Reverse()(x), "no channel rule for Reverse"),
    "lambda": (lambda x: layers.Lambda(lambda t: t * 2)(x), "rule for Lambda"),
    "subclassed": (lambda x: Doubled()(x), "no channel rule for Doubled"),
    "augmentation": (layers.RandomFlip(), "no channel rule for RandomFlip"),
    "constants": (lambda x: x + np.ones((6,), "float32"), "array of constants"),
    "rescaling": (layers.Rescaling(np.arange(6.0)), "constant of its own"),
    "einsum": (lambda x: ops.einsum("nhwc,nhwd->nhwc", x, x), "rule for Einsum"),
    "matmul": (
        lambda x: ops.matmul(ops.transpose(x, (0, 1, 3, 2)), x),
        "rule for Matmul",
    ),
    "einsum_dense": (
        lambda x: ops.expand_dims(layers.EinsumDense("abcd,cd->abd", (8, 6))(x), 1),
        "no plain dense layer",
    ),
    "lora": (with_lora, "quantized or has LoRA"),
    "quantized": (quantized, "quantized or has LoRA"),
    "spatial_attention": (ConvolutionalBlockAttention2D(3), "over channels"),
    "one_channel": (lambda x: ops.expand_dims(x[..., 2], -1), "a single channel"),
    "mean_over_channels": (lambda x: ops.mean(x, -1, keepdims=True), "across channels"),
    "logarithm": (lambda x: ops.log(x), "channels that are zero"),
    "division": (lambda x: 1.0 / (x + 0.0), "zero once masked"),
    "exponent": (lambda x: x**-1.0, "positive exponents"),
    "padded_channels": (
        lambda x: ops.pad(x, [[0, 0], [0, 0], [0, 0], [1, 1]]),
        "pads the channels",
    ),
    "other_axis": (
        lambda x: layers.Dense(4)(layers.Permute((1, 3, 2))(x)),
        "another axis",
    ),
    "first_axis": (
        lambda x: ops.transpose(ops.transpose(x, (3, 0, 1, 2)) ** 2.0, (1, 2, 3, 0)),
        None,
    ),
    "gate_over_channels": (
        lambda x: x * layers.Conv2D(1, 1, name="b")(x),
        None,
    ),
}


def build(function):
    x = keras.Input((8, 8, 3), name="x")
    y = function(conv(x, NUM_CHANNELS, name="a"))
    return keras.Model(x, head(conv(conv(y, 5, name="z"), 4)))


@pytest.mark.parametrize("name", CASES)
def test_channels_stay_and_are_reported(name):
    function, reason = CASES[name]
    model = build(function)
    graph = ChannelGraph(model)
    found = {u.layer: u for u in graph.untouchable}
    if reason is None:
        assert "a" not in found
    else:
        assert found["a"].num_channels == NUM_CHANNELS
        assert reason in found["a"].reason, found["a"]
        assert found["a"].because_of
    if name in ("quantized",):
        small = shrink(model, make_plan(model, params=0.9))
        assert small.get_layer("z").filters < 5
        return
    small, plan = run_surgery_test(model, tolerance=3e-5)
    assert ("a" in plan.remove) == (reason is None)
    assert "z" in plan.remove
    assert small.get_layer("a").filters == 6 - len(plan.remove.get("a", ()))


def test_a_registered_rule_makes_them_removable():
    def rule(call):
        units = call.units()
        call.index(call.layer.scale, 0, units[::-1], "writes")
        return [type(call.inputs[0])(call.inputs[0].axis, units[::-1])]

    register_rule(Reverse, rule)
    try:
        _, plan = run_surgery_test(build(lambda x: Reverse()(x)))
        assert "a" in plan.remove
    finally:
        del _REGISTERED[Reverse]


def test_a_wrong_rule_is_an_error():
    register_rule(Reverse, lambda call: [])
    try:
        with pytest.raises(InvalidInputError, match="rule for Reverse does not desc"):
            ChannelGraph(build(lambda x: Reverse()(x)))
    finally:
        del _REGISTERED[Reverse]
    with pytest.raises(InvalidInputError, match="layer_class"):
        register_rule("Dense", lambda call: [])
    with pytest.raises(InvalidInputError, match="rule"):
        register_rule(Reverse, None)


def test_layers_that_do_not_come_back_are_refused():
    model = build(layers.Activation(lambda x: x * 2, name="doubled"))
    plan = make_plan(model, macs=0.9)
    with pytest.raises(InvalidInputError, match="'doubled' .* from its config"):
        shrink(model, plan)


def test_layers_that_share_a_weight_are_refused():
    dense = layers.Dense(6, name="dense")
    x = keras.Input((5, 6))
    y = layers.TimeDistributed(dense, name="wrapper")(dense(x))
    model = keras.Model(x, layers.Dense(2, name="last")(y))
    with pytest.raises(InvalidInputError, match="'dense' and 'wrapper'"):
        ChannelGraph(model)


def test_classes_and_inputs_are_never_removed():
    x = keras.Input((8, 8, 3), name="x")
    y = layers.Conv2D(7, 3, name="a")(x)
    y = layers.Dense(5, name="classes")(layers.GlobalAveragePooling2D()(y))
    model = keras.Model(x, layers.Softmax()(y))
    plan = make_plan(model, params=0.5)
    assert list(plan.remove) == ["a"]
    for changed in (mask(model, plan), shrink(model, plan)):
        assert changed.input_shape == (None, 8, 8, 3)
        assert changed.output_shape == (None, 5)


def test_subclassed_models_are_copied_by_their_config():
    class Inner(keras.Model):
        def __init__(self, units=4, **kwargs):
            super().__init__(**kwargs)
            self.units = units

        def build(self, shape):
            self.dense = layers.Dense(self.units)
            self.dense.build(shape)

        def call(self, x):
            return self.dense(x)

    model = build(lambda x: Inner(name="inner")(x))
    plan = make_plan(model, macs=0.9)
    inner = model.get_layer("inner")
    for function in (mask, shrink):
        copy = function(model, plan).get_layer("inner")
        assert copy is not inner and copy.dense is not inner.dense
        np.testing.assert_array_equal(copy.dense.kernel, inner.dense.kernel)

    # Without its argument it comes back with weights of other shapes.
    model = build(lambda x: Inner(5, name="inner")(x))
    Inner.get_config = lambda self: {"name": self.name}
    for function in (mask, shrink):
        with pytest.raises(InvalidInputError, match="'inner'.*get_config"):
            function(model, make_plan(model, macs=0.9))


@pytest.mark.parametrize("kind", ["subclassed", "not_built"])
def test_models_without_a_graph_are_refused(kind):
    model = Doubled() if kind == "subclassed" else keras.Sequential([layers.Dense(2)])
    with pytest.raises(InvalidInputError, match="`model`"):
        ChannelGraph(model)
