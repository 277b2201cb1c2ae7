"""Layers of users: blocks with layers inside, weights of their own, wrappers."""

import keras
from keras import layers, ops

register = keras.saving.register_keras_serializable("keras_sda_custom")


class Composite(layers.Layer):
    """Saves its arguments, as a layer of a user would."""

    def __init__(self, filters=8, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.make()

    def make(self):
        self.first = layers.Conv2D(self.filters, 3, padding="same", use_bias=False)
        self.bn = layers.BatchNormalization()
        self.second = layers.Conv2D(self.filters, 1)

    def build(self, shape):
        inner = (*shape[:-1], self.filters)
        self.first.build(shape)
        self.bn.build(inner)
        self.second.build(inner)

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@register
class ConvBlock(Composite):
    """Two convolutions, called as Keras wants it."""

    def call(self, x, training=False):
        return self.second(ops.relu(self.bn(self.first(x), training=training)))


@register
class TensorFlowBlock(Composite):
    """The same with functions of TensorFlow."""

    def call(self, x, training=False):
        import tensorflow as tf

        return self.second(tf.nn.relu(self.bn(self.first(x), training=training)))


@register
class TensorFlowProduct(Composite):
    """A product of TensorFlow itself, which nobody counts."""

    def call(self, x):
        import tensorflow as tf

        y = self.second(self.first(x))
        return tf.matmul(y, y, transpose_a=True) + y


@register
class NestedBlock(Composite):
    """A block in a block."""

    def make(self):
        self.inner = ConvBlock(self.filters)
        self.last = layers.Conv2D(self.filters, 1)

    def build(self, shape):
        self.inner.build(shape)
        self.last.build((*shape[:-1], self.filters))

    def call(self, x):
        return self.last(self.inner(x)) + self.inner.second(self.inner(x))


@register
class Projection(layers.Layer):
    """A kernel of its own and no layers."""

    def __init__(self, units=8, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.units), name="w")

    def call(self, x):
        return ops.matmul(x, self.w)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@register
class Branches(Composite):
    """RepVGG's block: three branches in a sum, in a list."""

    def make(self):
        self.branches = [
            layers.Conv2D(self.filters, size, padding="same") for size in (1, 3)
        ]

    def build(self, shape):
        for branch in self.branches:
            branch.build(shape)

    def call(self, x):
        return sum(branch(x) for branch in self.branches)


def num_macs(layer, size, channels):
    """By hand, for a map of `size` positions."""
    f = getattr(layer, "filters", 0)
    if isinstance(layer, Projection):
        return size * channels * layer.units
    if isinstance(layer, Branches):
        return size * channels * f * 10
    block = size * (9 * channels * f + f * f)
    return 2 * block + 2 * size * f * f if isinstance(layer, NestedBlock) else block


def network(*blocks, width=8, size=8, bn=False):
    """Convolution, blocks, convolution, head; the model and its MACs by hand."""
    x = keras.Input((size, size, 3), name="x")
    y = layers.Conv2D(width, 3, padding="same", name="stem")(x)
    macs = size * size * 27 * width
    for block in blocks:
        channels = y.shape[-1]
        y = block(y)
        macs += num_macs(block, size * size, channels)
    if bn:
        y = layers.BatchNormalization(name="bn")(y)
    macs += size * size * 9 * y.shape[-1] * width + width * 3
    y = layers.Conv2D(width, 3, padding="same", name="last")(y)
    y = layers.GlobalAveragePooling2D()(layers.ReLU()(y))
    return keras.Model(x, layers.Dense(3, name="predictions")(y)), macs
