"""Multiply-accumulates per layer type against numbers worked out by hand."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sda.analysis import count_macs, profile, register_macs_rule
from keras_sda.graph import layer_calls
from keras_sda.utils import InvalidInputError


def macs(layer, *shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    outputs = layer(inputs[0] if len(inputs) == 1 else inputs)
    result = profile(keras.Model(inputs, outputs))
    assert result.unknown == ()
    return result.macs


@pytest.mark.parametrize(
    "layer, shape, expected",
    [
        # output positions x window x input channels x filters
        (lambda: layers.Conv1D(5, 3), (8, 4), 6 * 3 * 4 * 5),
        (lambda: layers.Conv1D(5, 3, padding="causal"), (8, 4), 8 * 3 * 4 * 5),
        (lambda: layers.Conv2D(8, 3, 2, "same"), (9, 9, 4), 25 * 9 * 4 * 8),
        (lambda: layers.Conv2D(8, 3, groups=2), (5, 5, 4), 9 * 9 * 2 * 8),
        (lambda: layers.Conv2D(8, 3, dilation_rate=2), (7, 7, 4), 9 * 9 * 4 * 8),
        (lambda: layers.Conv2D(8, (1, 3)), (4, 4, 2), 4 * 2 * 3 * 2 * 8),
        (lambda: layers.Conv3D(3, 2), (3, 3, 3, 2), 8 * 8 * 2 * 3),
        # input positions x window x input channels x filters
        (lambda: layers.Conv1DTranspose(5, 3), (8, 4), 8 * 3 * 4 * 5),
        (
            lambda: layers.Conv2DTranspose(5, 3, 2, "same"),
            (4, 4, 2),
            16 * 9 * 2 * 5,
        ),
        (lambda: layers.Conv3DTranspose(3, 2), (2, 2, 2, 2), 8 * 8 * 2 * 3),
        (lambda: layers.DepthwiseConv1D(3), (8, 4), 6 * 3 * 4),
        (
            lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
            (5, 5, 4),
            9 * 9 * 4 * 2,
        ),
        (lambda: layers.SeparableConv1D(5, 3), (8, 4), 6 * (3 * 4 + 4 * 5)),
        (
            lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2),
            (5, 5, 4),
            9 * (9 * 8 + 8 * 5),
        ),
        (lambda: layers.Dense(5), (4,), 20),
        (lambda: layers.Dense(5), (3, 2, 4), 6 * 20),
        (lambda: layers.EinsumDense("abc,cd->abd", (None, 5)), (3, 4), 3 * 4 * 5),
        (lambda: layers.EinsumDense("...x,xy->...y", 5), (3, 2, 4), 6 * 20),
        (
            lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 5)),
            (3, 4),
            3 * 4 * 2 * 5,
        ),
        (lambda: layers.LSTM(5), (7, 4), 7 * 4 * 5 * (4 + 5)),
        (lambda: layers.GRU(5, return_sequences=True), (7, 4), 7 * 3 * 5 * (4 + 5)),
        (lambda: layers.SimpleRNN(5), (7, 4), 7 * 5 * (4 + 5)),
        (
            lambda: layers.RNN([layers.LSTMCell(5), layers.GRUCell(3)]),
            (7, 4),
            7 * (4 * 5 * (4 + 5) + 3 * 3 * (5 + 3)),
        ),
        (
            lambda: layers.Bidirectional(layers.GRU(5)),
            (7, 4),
            2 * 7 * 3 * 5 * (4 + 5),
        ),
        # four gates; the recurrent convolution keeps the size of the state
        (lambda: layers.ConvLSTM2D(2, 3), (5, 6, 6, 3), 5 * 4 * 16 * 9 * 2 * (3 + 2)),
        (
            lambda: layers.ConvLSTM1D(2, 3, padding="same", return_sequences=True),
            (5, 6, 3),
            5 * 4 * 6 * 3 * 2 * (3 + 2),
        ),
        (
            lambda: layers.TimeDistributed(layers.Conv2D(2, 3)),
            (5, 6, 6, 3),
            5 * 16 * 9 * 3 * 2,
        ),
        (lambda: layers.SpectralNormalization(layers.Dense(5)), (4,), 20),
    ],
)
def test_layers_with_one_input(layer, shape, expected):
    assert macs(layer(), shape) == expected


@pytest.mark.parametrize("channels", [(2, 6, 6), (4, 6, 6)])
def test_channels_first(channels):
    layer = layers.Conv2D(8, 3, data_format="channels_first")
    assert macs(layer, channels) == 16 * 9 * channels[0] * 8


@pytest.mark.parametrize(
    "layer",
    [
        layers.BatchNormalization,
        layers.LayerNormalization,
        layers.GroupNormalization(2).__class__,
        layers.PReLU,
        layers.GlobalAveragePooling2D,
        layers.MaxPooling2D,
        layers.ZeroPadding2D,
        layers.Flatten,
        lambda: layers.Dropout(0.5),
        lambda: layers.Activation("gelu"),
        lambda: layers.RandomFlip(),
        lambda: layers.Resizing(3, 3),
    ],
)
def test_known_zero(layer):
    layer = layer(2) if layer is layers.GroupNormalization else layer()
    assert macs(layer, (4, 4, 4)) == 0


def test_embedding_is_a_lookup_and_a_product_in_reverse():
    embedding = layers.ReversibleEmbedding(10, 4, name="table")
    x = keras.Input((3,), dtype="int32")
    calls = layer_calls(keras.Model(x, embedding(embedding(x), reverse=True)))
    assert [count_macs(call) for call in calls] == [0, 3 * 4 * 10]


def test_dot():
    assert macs(layers.Dot(2), (3, 4), (5, 4)) == 3 * 5 * 4
    assert macs(layers.Dot((2, 1)), (3, 4), (4, 6)) == 3 * 6 * 4
    assert macs(layers.Dot(-1), (4,), (4,)) == 4


def test_attention_layers():
    # scores and weighted sum: queries x keys x (width + value width)
    assert macs(layers.Attention(), (3, 8), (5, 8)) == 3 * 5 * (8 + 8)
    assert macs(layers.Attention(score_mode="concat"), (3, 8), (5, 8)) == 3 * 5 * 8
    assert macs(layers.AdditiveAttention(), (3, 8), (5, 8)) == 3 * 5 * (8 + 8)
    shapes = (3, 8), (5, 6), (5, 8)
    assert macs(layers.Attention(), *shapes) == 3 * 5 * (8 + 6)


def test_multi_head_attention():
    query, value = keras.Input((3, 8)), keras.Input((5, 6))
    layer = layers.MultiHeadAttention(num_heads=2, key_dim=4, value_dim=7)
    result = profile(keras.Model([query, value], layer(query, value)))
    projections = 3 * 8 * 2 * 4 + 5 * 6 * 2 * 4 + 5 * 6 * 2 * 7 + 3 * 2 * 7 * 8
    assert result.macs == projections + 2 * 3 * 5 * (4 + 7)
    assert result.params == layer.count_params()


def test_multi_head_attention_over_one_of_two_axes():
    x = keras.Input((3, 5, 8))
    layer = layers.MultiHeadAttention(2, 4, attention_axes=2, use_gate=True)
    expected = 15 * 8 * 8 * 5 + 3 * 2 * 5 * 5 * (4 + 4)
    assert profile(keras.Model(x, layer(x, x))).macs == expected


def test_grouped_query_attention():
    x = keras.Input((5, 12))
    layer = layers.GroupQueryAttention(4, 6, 2)
    projections = 5 * 12 * (6 * 4 + 2 * 2 * 4) + 5 * 12 * 6 * 4
    expected = projections + 2 * 6 * 5 * 5 * 4
    assert profile(keras.Model(x, layer(x, x))).macs == expected


@pytest.mark.parametrize(
    "function, expected",
    [
        (lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))), 6 * 6 * 4),
        (lambda x: x @ np.ones((4, 5), "float32"), 6 * 4 * 5),
        (lambda x: ops.dot(x, np.ones((4, 5), "float32")), 6 * 4 * 5),
        (lambda x: ops.inner(x, np.ones((5, 4), "float32")), 6 * 4 * 5),
        (lambda x: ops.tensordot(x, np.ones((4, 5), "float32"), 1), 6 * 4 * 5),
        (
            lambda x: ops.tensordot(x, np.ones((6, 5), "float32"), ([1], [0])),
            6 * 4 * 5,
        ),
        (lambda x: ops.einsum("btc,bsc->bts", x, x), 6 * 6 * 4),
        (lambda x: ops.einsum("...tc,...sc->...ts", x, x), 6 * 6 * 4),
        (lambda x: ops.einsum("btc,btc->btc", x, x), 0),
        (lambda x: ops.einsum("btc->bct", x), 0),
        (lambda x: ops.conv(x, np.ones((3, 4, 5), "float32")), 4 * 3 * 4 * 5),
        (lambda x: ops.depthwise_conv(x, np.ones((3, 4, 1), "float32")), 4 * 3 * 4),
        (
            lambda x: ops.separable_conv(
                x, np.ones((3, 4, 1), "float32"), np.ones((1, 4, 5), "float32")
            ),
            4 * (3 * 4 + 4 * 5),
        ),
        (
            lambda x: ops.conv_transpose(x, np.ones((3, 5, 4), "float32"), 2),
            6 * 4 * 3 * 5,
        ),
        (lambda x: ops.softmax(2 * x + 1), 0),
    ],
)
def test_operations(function, expected):
    x = keras.Input((6, 4))
    result = profile(keras.Model(x, function(x)))
    assert result.macs == expected
    assert result.unknown == ()


def test_dot_product_attention_operation():
    x = keras.Input((5, 2, 4))
    model = keras.Model(x, ops.dot_product_attention(x, x, x))
    assert profile(model).macs == 2 * 5 * 5 * (4 + 4)


def test_operations_that_nobody_can_count_are_unknown():
    x = keras.Input((4, 4))
    model = keras.Model(x, [ops.cholesky(x), ops.einsum("bij,bjk,bkl->bil", x, x, x)])
    assert len(profile(model).unknown) == 2


class Doubling(layers.Conv2D):
    def call(self, inputs):
        return super().call(super().call(inputs))


class Renamed(layers.Conv2D):
    pass


class WithMethod(layers.Layer):
    def call(self, inputs):
        return inputs[0] + inputs[1]

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def compute_macs(self, input_shape, output_shape):
        assert input_shape == [(1, 3, 4), (1, 3, 4)]
        assert output_shape == (1, 3, 4)
        return 100


def test_a_subclass_with_its_own_call_is_looked_into():
    assert macs(Renamed(3, 1), (4, 4, 3)) == 16 * 9
    x = keras.Input((4, 4, 3))
    result = profile(keras.Model(x, Doubling(3, 1, name="twice")(x)))
    assert result.unknown == () and result.macs == 2 * 16 * 9


def test_the_method_of_a_layer_comes_first():
    assert macs(WithMethod(), (3, 4), (3, 4)) == 100


class Registered(layers.Layer):
    def call(self, inputs):
        return inputs


def test_register_macs_rule():
    @register_macs_rule(Registered)
    def rule(call):
        return 7 * call.output_shapes[0][0]

    assert macs(Registered(), (3,)) == 21
    name = f"{__name__}.ByName"
    by_name = type("ByName", (layers.Layer,), {"call": lambda self, inputs: inputs})
    by_name.__module__ = __name__
    register_macs_rule(name, lambda call: 5)
    assert macs(by_name(), (3,)) == 5
    with pytest.raises(InvalidInputError, match="layer_type"):
        register_macs_rule(3, rule)
    with pytest.raises(InvalidInputError, match="rule"):
        register_macs_rule(Registered, "zero")
