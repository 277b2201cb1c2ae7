"""Models of sequences, attention, and operations that move values about."""

import keras
from keras import layers, ops
from pruning.zoo import conv, image_model
from pruning.zoo_structures import block

SEQUENCES = {}


def topology(function):
    SEQUENCES[function.__name__] = function
    return function


def sequence_model(body, shape=(5, 4)):
    x = keras.Input(shape)
    return keras.Model(x, layers.Dense(2, name="predictions")(body(x)))


@topology
def lstm():
    def body(x):
        x = layers.Conv1D(6, 1, activation="sigmoid")(x)
        x = layers.LSTM(7, return_sequences=True, activation="gelu")(x)
        x = layers.LSTM(6, use_bias=False, recurrent_activation="hard_sigmoid")(x)
        return layers.Dense(5, activation="tanh")(x)

    return sequence_model(body)


@topology
def gru():
    def body(x):
        x = layers.GRU(7, return_sequences=True, dropout=0.3)(layers.Dense(6)(x))
        x = layers.GRU(6, return_sequences=True, reset_after=False, unroll=True)(x)
        return layers.GRU(5, go_backwards=True, use_bias=False)(x)

    return sequence_model(body)


@topology
def simple_rnn():
    def body(x):
        x = layers.SimpleRNN(7, return_sequences=True, activation="sigmoid")(x)
        return layers.SimpleRNN(6, use_bias=False)(x)

    return sequence_model(body)


@topology
def recurrent_states():
    """An encoder hands its states to a decoder."""

    def body(x):
        _, h, c = layers.LSTM(6, return_state=True)(layers.Dense(5)(x))
        y = layers.LSTM(6, return_sequences=True)(x, initial_state=[h, c])
        y, state = layers.GRU(5, return_sequences=True, return_state=True)(y)
        return layers.Concatenate()([layers.GlobalMaxPooling1D()(y), state, h])

    return sequence_model(body)


@topology
def recurrent_shared():
    def body(x):
        shared = layers.LSTM(6, return_sequences=True)
        x = shared(layers.Dense(5)(x)) + shared(layers.Dense(5, "sigmoid")(x))
        again = layers.GRU(6, return_sequences=True)
        return again(again(x))

    return sequence_model(body)


@topology
def bidirectional():
    def body(x):
        rnn = layers.LSTM(5, return_sequences=True, activation="sigmoid")
        x = layers.Bidirectional(rnn)(layers.Dense(6, "sigmoid")(x))
        return layers.Bidirectional(layers.GRU(6), merge_mode="mul")(x)

    return sequence_model(body)


@topology
def bidirectional_merges():
    def body(x):
        rnn = layers.SimpleRNN(5, return_sequences=True, activation="sigmoid")
        x = layers.Bidirectional(rnn, merge_mode="ave")(x)
        gru = layers.GRU(4, return_sequences=True)
        parts = layers.Bidirectional(gru, merge_mode=None)(x)
        return layers.Bidirectional(layers.GRU(6), "sum")(ops.concatenate(parts, -1))

    return sequence_model(body)


@topology
def bidirectional_states():
    def body(x):
        forward = layers.LSTM(4, return_state=True, return_sequences=True)
        backward = layers.LSTM(
            4,
            return_state=True,
            return_sequences=True,
            go_backwards=True,
            use_bias=False,
        )
        y, h1, c1, h2, c2 = layers.Bidirectional(forward, backward_layer=backward)(x)
        rnn = layers.LSTM(4)
        y = layers.Bidirectional(rnn, "sum")(y, initial_state=[h1, c1, h2, c2])
        return layers.Dense(5, "tanh")(layers.Concatenate()([y, c1]))

    return sequence_model(body)


@topology
def embedded_sequence():
    x = keras.Input((5, 4))
    indices = ops.cast(ops.abs(x[..., 0]) * 3, "int32")
    y = layers.Embedding(9, 6, mask_zero=True)(indices)
    y = layers.LSTM(6, return_sequences=True)(layers.Dropout(0.2)(y))
    y = layers.Bidirectional(layers.GRU(5))(y)
    return keras.Model(x, layers.Dense(2, name="predictions")(y))


@topology
def convolutional_lstm():
    def body(x):
        x = layers.ConvLSTM2D(5, 3, return_sequences=True, padding="same")(x)
        x = layers.TimeDistributed(layers.Conv2D(6, 1, activation="sigmoid"))(x)
        x, h, _ = layers.ConvLSTM2D(
            4, 2, strides=2, return_state=True, activation="sigmoid"
        )(x)
        return conv(layers.Concatenate()([x, h]))

    return image_model(body, (3, 6, 6, 2))


@topology
def bidirectional_convolutional_lstm():
    def body(x):
        rnn = layers.ConvLSTM1D(4, 3, padding="same", return_sequences=True)
        x = layers.Bidirectional(rnn)(x)
        return layers.ConvLSTM1D(5, 2, use_bias=False)(x)

    x = keras.Input((3, 6, 2))
    y = layers.GlobalAveragePooling1D()(body(x))
    return keras.Model(x, layers.Dense(2, name="predictions")(y))


@topology
def time_distributed():
    def body(x):
        each = layers.TimeDistributed
        x = each(layers.Conv2D(6, 3, padding="same"))(x)
        x = each(layers.BatchNormalization())(x)
        x = each(layers.Activation("sigmoid"))(x)
        x = each(layers.MaxPooling2D())(each(layers.DepthwiseConv2D(3))(x))
        x = layers.Concatenate()([x, each(layers.Conv2D(5, 1))(x)])
        x = each(layers.Flatten())(x)
        x = each(layers.Dense(7, activation="tanh"))(x)
        shared = each(layers.Dense(7, activation="sigmoid"))
        return layers.LSTM(6)(shared(shared(x)))

    return sequence_model(body, (3, 6, 6, 2))


@topology
def time_distributed_sequences():
    """A layer that is recurrent itself, at every step."""

    def body(x):
        each = layers.TimeDistributed
        x = each(layers.LSTM(6, return_sequences=True))(x)
        x = each(layers.Bidirectional(layers.GRU(5)))(x)
        return layers.SimpleRNN(4)(x)

    return sequence_model(body, (3, 4, 2))


@topology
def time_distributed_models():
    def body(x):
        each = layers.TimeDistributed
        x = each(layers.Conv2D(6, 1, activation="sigmoid"))(x)
        x = each(block(4))(x)
        last = keras.Sequential([layers.Conv2D(5, 3), layers.GlobalMaxPooling2D()])
        x = each(last, name="last")(x)
        return layers.GRU(4)(x)

    return sequence_model(body, (3, 6, 6, 2))


@topology
def rearranged():
    def body(x):
        x = conv(x, 6)
        y = ops.image.resize(x, (4, 4), interpolation="nearest")
        y = ops.repeat(ops.repeat(y, 2, axis=1), 2, axis=2)
        x = conv(ops.concatenate([x, y], axis=-1), 5)
        x = conv(ops.repeat(x, 2, axis=-1), 5)
        x = conv(ops.repeat(x, [1, 2, 0, 3, 1], axis=-1), 5)
        x = conv(ops.tile(x[:, :4], (1, 2, 1, 2)), 6)
        x = conv(ops.roll(ops.roll(x, 2, axis=-1), (1, 3, 1), axis=(1, 3, 2)), 6)
        x = x + ops.flip(conv(ops.flip(x, axis=(-1, 1)), 6), axis=2)
        x = conv(ops.take(x, [4, 1, -1, 1], axis=-1), 4)
        return conv(ops.take(ops.rot90(x, axes=(1, 2)), [0, 2, 3], axis=1), 5)

    return image_model(body)


@topology
def permuted_by_operations():
    """Every one is coupled with the others, as it is in its place again."""

    def body(x):
        x = conv(x, 6)
        x = conv(x + ops.flip(x, axis=-1), 6)
        y = ops.swapaxes(ops.sigmoid(ops.swapaxes(x, 1, -1)), 1, -1)
        y = ops.moveaxis(ops.tanh(ops.moveaxis(y, -1, 1)), [1], [-1])
        y = ops.stack([conv(x, 6), y], axis=1)
        y = ops.sum(ops.moveaxis(y, (1, 4), (-1, 1)), axis=-1)[:, ::-1]
        y = layers.Permute((2, 3, 1))(y)
        return conv(y, 5)

    return image_model(body)


@topology
def stacked():
    def body(x):
        x = ops.stack([conv(x, 6), conv(x, 6)], axis=-1)
        x = conv(ops.reshape(x, (-1, 8, 8, 12)), 6)
        one, other = ops.unstack(ops.stack([x, conv(x, 6)], axis=2), axis=2)
        return conv(ops.maximum(one, other))

    return image_model(body)


@topology
def blocks_of_pixels():
    def body(x):
        x = conv(x, 12)
        x = conv(ops.nn.depth_to_space(x, 2), 5)
        x = conv(ops.nn.space_to_depth(x, 4), 5)
        return x

    return image_model(body)


@topology
def multi_head_attention():
    def body(x):
        x = layers.Dense(6, "sigmoid")(x)
        y = layers.MultiHeadAttention(4, 3)(x, x, use_causal_mask=True)
        x = layers.Dense(5, "tanh")(x + y)
        y = layers.MultiHeadAttention(3, 2, value_dim=4, output_shape=7)(y, x)
        y = layers.MultiHeadAttention(3, 2, use_bias=False)(query=y, key=y, value=x)
        return layers.Dense(3, "tanh")(y)

    return sequence_model(body)


@topology
def attention_scores_and_masks():
    def body(x):
        y = layers.Dense(6, "sigmoid")(x)
        mask = ops.greater(ops.matmul(x, ops.swapaxes(x, 1, 2)), 0)
        y, scores = layers.MultiHeadAttention(4, 3)(
            y, y, attention_mask=mask, return_attention_scores=True
        )
        scores = ops.mean(ops.transpose(scores, (0, 2, 3, 1)), axis=2)
        return layers.Dense(5, "tanh")(layers.Concatenate()([scores, y]))

    return sequence_model(body)


@topology
def attention_over_space():
    def body(x):
        x = conv(x, 6)
        y = layers.MultiHeadAttention(3, 2, attention_axes=(1, 2), use_gate=True)(x, x)
        return conv(layers.Add()([x, y]))

    return image_model(body, (4, 4, 3))


@topology
def grouped_query_attention():
    def body(x):
        x = layers.Dense(6, "sigmoid")(x)
        x = x + layers.GroupQueryAttention(3, 6, 3)(
            x, layers.Dense(6)(x), layers.Dense(5)(x)
        )
        x = layers.GroupQueryAttention(2, 4, 4, use_gate=True, use_bias=False)(x, x)
        return layers.Dense(5, "tanh")(x)

    return sequence_model(body)
