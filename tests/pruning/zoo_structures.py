"""Models of other structure: nested, shared, many inputs, `keras.ops`, sequences."""

import keras
from keras import layers, ops
from pruning.zoo import TOPOLOGIES, conv, head, image_model, topology

from keras_sda.layers import SelectiveDepthAttention, SqueezeExcite2D

__all__ = ["TOPOLOGIES"]


def block(filters, inputs=6, name="block"):
    x = keras.Input((None, None, inputs))
    y = layers.Add()([x, conv(conv(x, filters), inputs)])
    return keras.Model(x, y, name=name)


@topology
def nested():
    return image_model(lambda x: conv(block(4)(conv(x, 6))))


@topology
def nested_shared():
    def body(x):
        shared = block(4)
        return conv(layers.Concatenate()([shared(conv(x, 6)), shared(conv(x, 6))]))

    return image_model(body)


@topology
def nested_without_weights_shared():
    def body(x):
        inner = keras.Input((8, 8, 6))
        one, other = ops.split(inner, 2, axis=-1)
        swap = keras.Model(inner, ops.concatenate([other, one], axis=-1))
        return conv(ops.concatenate([swap(conv(x, 6)), swap(conv(x, 6))], axis=-1))

    return image_model(body)


@topology
def nested_in_nested():
    def body(x):
        inner = keras.Input((8, 8, 6))
        outer = keras.Model(inner, block(4, name="i")(conv(inner, 6)), name="outer")
        sequential = keras.Sequential(
            [layers.Conv2D(5, 3, name="c"), layers.BatchNormalization(), block(3, 5)],
            name="sequential",
        )
        return conv(sequential(outer(conv(x, 6))))

    return image_model(body)


@topology
def nested_with_many_tensors():
    def body(x):
        a, b = keras.Input((8, 8, 4), name="a"), keras.Input((8, 8, 6), name="b")
        y, z = conv(layers.Concatenate()([b, a]), 7), conv(a, 5)
        inner = keras.Model({"a": a, "b": b}, [y, z], name="inner")
        y, z = inner({"b": conv(x, 6), "a": conv(x, 4)})
        return conv(layers.Concatenate()([z, y]))

    return image_model(body)


@topology
def layer_shared_between_models():
    def body(x):
        shared = layers.Conv2D(6, 3, padding="same", name="shared")
        inner = keras.Input((8, 8, 6))
        model = keras.Model(inner, conv(shared(inner), 6), name="inner")
        return conv(shared(model(conv(x, 6))))

    return image_model(body)


@topology
def two_inputs():
    x, z = keras.Input((8, 8, 3), name="x"), keras.Input((4,), name="z")
    y = conv(conv(x, 6), 6)
    y = layers.Multiply()([y, layers.Dense(6, "sigmoid")(layers.Dense(5)(z))])
    return keras.Model([x, z], head(conv(y)))


@topology
def two_outputs():
    x = keras.Input((8, 8, 3))
    y = conv(conv(x, 6), 6)
    box = layers.Dense(4, name="box")(layers.Flatten()(conv(y, 5)))
    return keras.Model(x, [head(y), box])


@topology
def dictionaries():
    x, z = keras.Input((8, 8, 3), name="x"), keras.Input((8, 8, 1), name="z")
    y = layers.Concatenate()([conv(x, 6), conv(z, 4)])
    outputs = {"classes": head(conv(y, 5)), "map": layers.Conv2D(2, 1)(y)}
    return keras.Model({"z": z, "x": x}, outputs)


@topology
def pyramid_outputs():
    """Outputs that the network goes on with stay whole."""
    x = keras.Input((8, 8, 3))
    first = conv(conv(x, 5), 6, name="first")
    second = conv(conv(layers.MaxPooling2D()(first), 5), 7, name="second")
    return keras.Model(x, {"P1": first, "P2": second, "top": head(conv(second))})


@topology
def transposed():
    def body(x):
        x = layers.Conv2DTranspose(6, 3, strides=2, activation="sigmoid")(conv(x, 8))
        return layers.Conv2DTranspose(5, 3)(layers.BatchNormalization()(x))

    return image_model(body)


@topology
def separable():
    def body(x):
        x = layers.SeparableConv2D(6, 3, activation="sigmoid")(conv(x, 8))
        x = layers.SeparableConv2D(5, 3, depth_multiplier=2, use_bias=False)(x)
        return conv(x)

    return image_model(body)


@topology
def without_normalization():
    return image_model(
        lambda x: conv(conv(x, 8, bn=False), 6, bn=False, use_bias=False)
    )


@topology
def partial_normalization():
    def body(x):
        x = layers.BatchNormalization(scale=False)(layers.Conv2D(8, 3)(x))
        x = layers.BatchNormalization(center=False)(layers.Conv2D(6, 3)(x))
        x = layers.BatchNormalization(center=False, scale=False)(layers.Conv2D(5, 3)(x))
        return conv(layers.Activation("sigmoid")(x))

    return image_model(body)


@topology
def depth_attention_stage():
    def body(x):
        blocks = [conv(x, 8)]
        for _ in range(2):
            blocks.append(layers.Add()([blocks[-1], conv(conv(blocks[-1], 4), 8)]))
        return conv(SelectiveDepthAttention()(blocks))

    return image_model(body)


@topology
def u_net():
    def body(x):
        one = conv(x, 4)
        two = conv(layers.MaxPooling2D()(one), 6)
        three = conv(layers.AveragePooling2D(2)(two), 8)
        up = layers.UpSampling2D(interpolation="bilinear")(three)
        two = conv(layers.Concatenate()([up, two]), 6)
        up = layers.Resizing(8, 8)(two)
        return conv(layers.Concatenate()([one, up]), 5)

    x = keras.Input((8, 8, 3))
    return keras.Model(x, layers.Conv2D(2, 1, activation="softmax")(body(x)))


@topology
def instance_normalization():
    def body(x):
        x = layers.GroupNormalization(groups=-1)(layers.Conv2D(6, 3)(x))
        x = layers.GroupNormalization(groups=8, scale=False)(layers.Conv2D(8, 3)(x))
        return conv(x)

    return image_model(body)


@topology
def softmax_over_space():
    def body(x):
        x = layers.Reshape((64, 6))(conv(x, 6))
        x = ops.softmax(layers.Softmax(axis=1)(x) * 30.0, axis=1) * x
        return layers.Reshape((8, 8, 6))(x)

    return image_model(lambda x: conv(body(x)))


@topology
def operators():
    def body(x):
        x = conv(x, 12)
        one, other = ops.split(x, [5], axis=-1)
        y = ops.concatenate([one * 2.0 + 1.0, ops.relu(other) ** 2], axis=-1)
        y = y + ops.mean(x, axis=(1, 2), keepdims=True)
        y = y * ops.expand_dims(ops.expand_dims(ops.max(x, axis=[1, 2]), 1), 1)
        y = conv(y[..., :4] - y[..., 4:8] + y[:, :, :, 11:3:-2])
        y = conv(ops.pad(y[:, 1:-1], [[0, 0], [1, 1], [2, 0], [0, 0]]) / 2.0)
        y = ops.transpose(y, (0, 3, 1, 2))
        y = ops.transpose(ops.sigmoid(y), (0, 2, 3, 1))
        return ops.average_pool(conv(ops.max_pool(y, 2), 6), 2)

    return image_model(body)


@topology
def reshape_operations():
    def body(x):
        x = conv(x, 6)
        y = ops.reshape(x, (-1, 64, 6))
        y = layers.Dense(6, "tanh")(y)
        y = ops.reshape(y, (-1, 8, 8, 6))
        z = ops.squeeze(ops.reshape(ops.mean(y, axis=(1, 2)), (-1, 1, 1, 6)), axis=1)
        return conv(y + ops.expand_dims(z, 1))

    return image_model(body)


@topology
def einsum_dense():
    x = keras.Input((5, 4))
    y = layers.EinsumDense("abc,cd->abd", (5, 8), bias_axes="d", activation="tanh")(x)
    y = layers.EinsumDense("...c,cd->...d", 6, activation="sigmoid")(y)
    return keras.Model(x, layers.Dense(2)(y))


@topology
def dense_on_sequences():
    x = keras.Input((5, 4))
    y = layers.Dense(6, "sigmoid")(layers.Dense(8, "gelu")(x))
    return keras.Model(x, layers.Dense(2)(y))


@topology
def activations():
    def body(x):
        x = layers.PReLU(shared_axes=[1, 2])(conv(x, 6))
        x = layers.PReLU()(conv(x, 6))
        x = layers.LeakyReLU()(layers.ELU()(layers.ReLU(6.0)(conv(x, 5))))
        x = conv(x, 5, activation=keras.activations.hard_silu)
        return conv(layers.Conv2D(5, 1, activation=layers.LeakyReLU(0.2))(x))

    return image_model(body)


@topology
def convolutions_1d():
    x = keras.Input((16, 3))
    y = layers.Conv1D(6, 3, padding="causal", activation="sigmoid")(x)
    y = layers.DepthwiseConv1D(3)(layers.ZeroPadding1D()(y))
    y = layers.SeparableConv1D(5, 3)(layers.MaxPooling1D()(y))
    y = layers.Conv1DTranspose(4, 3)(layers.Cropping1D()(layers.UpSampling1D()(y)))
    return keras.Model(x, layers.Dense(2)(layers.GlobalMaxPooling1D()(y)))


@topology
def convolutions_3d():
    x = keras.Input((6, 6, 6, 2))
    y = layers.Conv3D(5, 3, activation="sigmoid")(x)
    y = layers.Conv3DTranspose(4, 2)(layers.AveragePooling3D(2)(y))
    return keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling3D()(y)))


@topology
def input_reshaped():
    x = keras.Input((48,))
    y = conv(layers.Reshape((4, 4, 3))(x), 6)
    return keras.Model(x, head(conv(layers.Rescaling(0.5, 1.0)(y))))


@topology
def fixed_batch():
    x = keras.Input(batch_shape=(2, 8, 8, 3))
    y = ops.reshape(conv(x, 6), (-1, 6))
    y = ops.reshape(layers.Dense(5, "tanh")(y), (-1, 8, 8, 5))
    return keras.Model(x, head(conv(y)))


@topology
def settings():
    """Flags, policies and regularizers."""

    def body(x):
        x = conv(x, 6, name="a", kernel_regularizer="l2", trainable=False)
        inner = block(4)
        inner.trainable = False
        x = conv(inner(x), 5, name="b", kernel_constraint="max_norm", dtype="float32")
        x = SqueezeExcite2D(4, name="se")(x)
        return conv(x, name="c")

    model = image_model(body)
    model.get_layer("c_bn").trainable = False
    model.get_layer("se").squeeze.trainable = False
    return model
