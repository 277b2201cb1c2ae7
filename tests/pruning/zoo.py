"""Models in which channels take every kind of way: layers, merges, gates, splits."""

import keras
from keras import layers, ops

from keras_sda.layers import (
    GroupedConv2D,
    PyramidalConv2D,
    PyramidSplitAttention2D,
    SqueezeExcite2D,
)

TOPOLOGIES = {}


def topology(function):
    TOPOLOGIES[function.__name__] = function
    return function


def conv(x, filters=8, size=3, activation="sigmoid", bn=True, name=None, **arguments):
    """Sigmoid by default: it is not zero where its input is."""
    x = layers.Conv2D(filters, size, padding="same", name=name, **arguments)(x)
    if bn:
        x = layers.BatchNormalization(name=name and f"{name}_bn")(x)
    return layers.Activation(activation)(x)


def head(x, units=3):
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(units, name="predictions")(x)


def image_model(body, shape=(8, 8, 3)):
    x = keras.Input(shape)
    return keras.Model(x, head(body(x)))


@topology
def chain():
    return image_model(lambda x: conv(conv(conv(x), 6), 4))


@topology
def residual():
    def body(x):
        x = conv(x, 8)
        x = layers.Add()([x, conv(conv(x, 6), 8, activation="linear")])
        x = layers.Activation("gelu")(x)
        return layers.Add()([x, conv(conv(x, 4), 8)])

    return image_model(body)


@topology
def other_merges():
    def body(x):
        x, y, z = conv(x), conv(x), conv(x)
        x = layers.Maximum()([layers.Average()([x, y]), z])
        x = layers.Minimum()([layers.Subtract()([x, y]), z])
        return conv(x)

    return image_model(body)


@topology
def concat():
    def body(x):
        x = layers.Concatenate()([conv(x, 5), conv(x, 7), x])
        return conv(layers.BatchNormalization()(x))

    return image_model(body)


@topology
def concat_of_one_tensor_twice():
    def body(x):
        x = conv(x, 6)
        return conv(layers.Concatenate()([x, x]))

    return image_model(body)


@topology
def concat_along_height():
    def body(x):
        return conv(layers.Concatenate(axis=1)([conv(x, 6), conv(x, 6)]))

    return image_model(body)


@topology
def depthwise():
    def body(x):
        x = layers.DepthwiseConv2D(3, activation="tanh")(conv(x, 6))
        return conv(x, 5)

    return image_model(body)


@topology
def depthwise_with_multiplier():
    def body(x):
        x = layers.DepthwiseConv2D(3, depth_multiplier=3)(conv(x, 6))
        return conv(layers.BatchNormalization()(x), 5)

    return image_model(body)


@topology
def grouped():
    def body(x):
        x = GroupedConv2D(12, 3, groups=4, padding="same", use_bias=True)(conv(x, 8))
        x = layers.Conv2D(8, 3, groups=2)(layers.Activation("sigmoid")(x))
        return conv(x)

    return image_model(body)


@topology
def grouped_depthwise():
    def body(x):
        x = GroupedConv2D(16, 3, groups=8, use_bias=True)(conv(x, 8))
        x = layers.Conv2D(16, 3, groups=16)(layers.Activation("sigmoid")(x))
        return conv(x)

    return image_model(body)


@topology
def grouped_after_concat():
    def body(x):
        x = conv(x, 4)
        x = layers.Concatenate()([x, conv(x, 4), x])
        return conv(layers.Conv2D(12, 1, groups=3)(x))

    return image_model(body)


@topology
def squeeze_excite_by_hand():
    def body(x):
        x = conv(x, 8)
        y = layers.GlobalAveragePooling2D(keepdims=True)(x)
        y = layers.Conv2D(4, 1, activation="relu")(y)
        x = layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(y)])
        y = layers.Dense(3, activation="swish")(layers.GlobalMaxPooling2D()(x))
        y = layers.Reshape((1, 1, 8))(layers.Dense(8, activation="sigmoid")(y))
        return conv(layers.Multiply()([x, y]))

    return image_model(body)


@topology
def squeeze_excite_without_reshape():
    def body(x):
        x = conv(x, 8)
        y = layers.Dense(8, "sigmoid")(layers.GlobalAveragePooling2D()(x))
        return conv(layers.Multiply()([x, y]))

    return image_model(body)


@topology
def squeeze_excite_layer():
    return image_model(lambda x: conv(SqueezeExcite2D(4)(conv(x, 8))))


@topology
def spatial_gates():
    def body(x):
        x = conv(x, 6)
        x = layers.Multiply()([x, layers.Conv2D(1, 3, padding="same")(x)])
        x = x * ops.sigmoid(layers.Conv2D(1, 1)(x))
        return conv(x)

    return image_model(body)


@topology
def split_res2net():
    def body(x):
        x = conv(x, 12)
        parts = ops.split(x, 3, axis=-1)
        first = conv(parts[0], 4)
        second = conv(ops.add(first, parts[1]), 4)
        return conv(layers.Concatenate()([first, second, parts[2]]))

    return image_model(body)


@topology
def split_swapped():
    """The parts live in the same weights, but neither may become empty."""

    def body(x):
        one, other = ops.split(conv(x, 4), 2, axis=-1)
        other = layers.MaxPooling2D()(other)
        return conv(ops.concatenate([other, one[:, ::2, ::2]], axis=-1))

    return image_model(body)


@topology
def pyramidal():
    def body(x):
        x = PyramidalConv2D((4, 8), (3, 5), (1, 4))(conv(x, 8))
        return conv(x)

    return image_model(body)


@topology
def pyramid_split():
    return image_model(lambda x: conv(PyramidSplitAttention2D(64)(conv(x, 16))))


@topology
def flatten_dense():
    def body(x):
        x = layers.MaxPooling2D(4)(conv(x, 6))
        x = layers.Dense(10, activation="sigmoid")(layers.Flatten()(x))
        return layers.Dense(3)(layers.Dropout(0.5)(x))

    x = keras.Input((8, 8, 3))
    return keras.Model(x, body(x))


@topology
def reshape_that_keeps_channels():
    def body(x):
        x = layers.Reshape((16, 6))(layers.MaxPooling2D(2)(conv(x, 6)))
        x = layers.Reshape((4, 4, 6))(layers.Dense(6, "tanh")(x))
        x = layers.Reshape((-1, 6))(conv(x, 6))
        x = layers.Conv1D(5, 3)(x)
        return layers.GlobalAveragePooling1D()(layers.Reshape((7, -1, 5))(x)[:, 0])

    x = keras.Input((8, 8, 3))
    return keras.Model(x, layers.Dense(3)(body(x)))


@topology
def permute_and_repeat():
    x = keras.Input((6, 3))
    y = layers.Permute((2, 1))(layers.Conv1D(5, 1, activation="sigmoid")(x))
    y = layers.Permute((2, 1))(layers.Activation("tanh")(y))
    y = layers.GlobalAveragePooling1D()(layers.Conv1D(4, 1)(y))
    y = layers.RepeatVector(3)(y)
    y = layers.Conv1D(4, 2, activation="sigmoid")(y)
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))


@topology
def shared_layers():
    def body(x):
        shared, bn = layers.Conv2D(6, 3, padding="same"), layers.BatchNormalization()
        one, other = conv(x, 5), conv(x, 5)
        one, other = shared(one), shared(other)
        x = layers.Concatenate()([bn(one), layers.Activation("sigmoid")(bn(other))])
        again = layers.Conv2D(5, 1, padding="same")
        return again(again(conv(x, 5)))

    return image_model(body)


@topology
def shared_layers_without_weights():
    """Each has a setting that must fit both calls."""
    x = keras.Input((4, 3))
    flat = layers.Reshape((2, 2, 6))
    norm = layers.GroupNormalization(-1, center=False, scale=False)
    one = layers.Dense(6, activation="sigmoid")(x)
    other = layers.Dense(6, activation="sigmoid")(x)
    y = layers.Concatenate()([norm(flat(one)), norm(flat(other))])
    return keras.Model(x, head(conv(y)))
