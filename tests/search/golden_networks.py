"""The small networks of the reference vectors for channel search, in Keras."""

import keras
import numpy as np
from keras import layers
from test_case import FIXTURES

from keras_sda.search import add_channel_gates


def load(name):
    """Arrays of one file of reference vectors."""
    return dict(np.load(FIXTURES / f"dev_dnal_{name}.npz"))


class _Builder:
    """Layers whose names are those of the reference, with weights from it."""

    def __init__(self, arrays, epsilon=1e-5):
        self.arrays, self.epsilon = arrays, epsilon
        self.made = []

    def conv(self, x, name, filters, size, strides=1, depthwise=False):
        bias = f"w_{name}.bias" in self.arrays
        if size > 1:
            x = layers.ZeroPadding2D(size // 2)(x)
        if depthwise:
            layer = layers.DepthwiseConv2D(
                size, strides, use_bias=bias, name=keras_name(name)
            )
        else:
            layer = layers.Conv2D(
                filters, size, strides, use_bias=bias, name=keras_name(name)
            )
        self.made.append((layer, name))
        return layer(x)

    def norm(self, x, name):
        layer = layers.BatchNormalization(
            momentum=0.9, epsilon=self.epsilon, name=keras_name(name)
        )
        self.made.append((layer, name))
        return layer(x)

    def dense(self, x, name, units):
        layer = layers.Dense(units, name=keras_name(name))
        self.made.append((layer, name))
        return layer(x)

    def model(self, x, y):
        model = keras.Model(x, y)
        for layer, name in self.made:
            layer.set_weights(self._weights(layer, name))
        return model

    def _weights(self, layer, name):
        def get(key):
            return self.arrays[f"w_{name}.{key}"]

        if isinstance(layer, layers.BatchNormalization):
            return [get(k) for k in ("weight", "bias", "running_mean", "running_var")]
        kernel = get("weight")
        if isinstance(layer, layers.Dense):
            kernel = kernel.T
        elif isinstance(layer, layers.DepthwiseConv2D):
            kernel = kernel.transpose(2, 3, 0, 1)
        else:
            kernel = kernel.transpose(2, 3, 1, 0)
        return [kernel, get("bias")] if layer.use_bias else [kernel]


def keras_name(name):
    return name.replace(".", "_")


def chain(arrays):
    """Two convolutions with pooling, a hidden dense layer with normalisation."""
    build = _Builder(arrays)
    x = y = keras.Input((8, 8, 3))
    for conv, norm, filters in ((0, 1, 8), (5, 6, 10)):
        y = build.conv(y, f"features.{conv}", filters, 3)
        y = build.norm(y, f"features.{norm}")
        y = layers.MaxPooling2D(2)(layers.ReLU()(y))
    y = layers.Flatten()(y)
    y = build.norm(build.dense(y, "classifier.0", 16), "classifier.1")
    model = build.model(x, build.dense(layers.ReLU()(y), "classifier.3", 5))
    # Flattened maps: channels come last here, first there.
    kernel = arrays["w_classifier.0.weight"].reshape(16, 10, 2, 2)
    kernel = kernel.transpose(2, 3, 1, 0).reshape(40, 16)
    model.get_layer("classifier_0").kernel.assign(kernel)
    return model


CHAIN_GATES = ["features.1", "features.6"]


def resblock(arrays):
    """A stem and two bottlenecks, the first with a projection."""
    build = _Builder(arrays)
    x = keras.Input((8, 8, 3))
    y = layers.ReLU()(build.norm(build.conv(x, "conv1", 8, 3), "bn1"))
    for block, strides in ((0, 2), (1, 1)):
        name, shortcut = f"layer1.{block}", y
        for number, (filters, size) in enumerate(((4, 1), (4, 3), (16, 1)), 1):
            stride = strides if number == 2 else 1
            y = build.conv(y, f"{name}.conv{number}", filters, size, stride)
            y = build.norm(y, f"{name}.bn{number}")
            if number < 3:
                y = layers.ReLU()(y)
        if block == 0:
            shortcut = build.conv(shortcut, f"{name}.downsample.0", 16, 1, strides)
            shortcut = build.norm(shortcut, f"{name}.downsample.1")
        y = layers.ReLU()(layers.Add(name=keras_name(f"{name}.add"))([y, shortcut]))
    y = layers.GlobalAveragePooling2D()(y)
    return build.model(x, build.dense(y, "fc", 5))


RESBLOCK_GATES = ["bn1"] + [
    f"layer1.{block}.bn{number}" for block in (0, 1) for number in (1, 2, 3)
]


def mbconv(arrays):
    """A stem and three inverted residual blocks, the last with a shortcut."""
    build = _Builder(arrays)
    x = keras.Input((12, 12, 3))
    y = build.norm(build.conv(x, "features.0.0", 8, 3, 2), "features.0.1")
    y = layers.ReLU(6.0)(y)
    blocks = (1, 0, 6, 1), (2, 18, 10, 2), (3, 20, 10, 1)
    for block, hidden, filters, strides in blocks:
        name, before, shift = f"features.{block}.conv", y, 0
        if hidden:
            y = build.norm(build.conv(y, f"{name}.0", hidden, 1), f"{name}.1")
            y, shift = layers.ReLU(6.0)(y), 3
        y = build.conv(y, f"{name}.{shift}", 0, 3, strides, depthwise=True)
        y = layers.ReLU(6.0)(build.norm(y, f"{name}.{shift + 1}"))
        y = build.conv(y, f"{name}.{shift + 4}", filters, 1)
        y = build.norm(y, f"{name}.{shift + 5}")
        if block == 3:
            y = layers.Add()([before, y])
    y = build.norm(build.conv(y, "features.4.0", 18, 1), "features.4.1")
    y = layers.GlobalAveragePooling2D()(layers.ReLU(6.0)(y))
    return build.model(x, build.dense(y, "classifier.0", 5))


MBCONV_GATES = [
    *("features.1.conv.1", "features.1.conv.5", "features.2.conv.4"),
    *("features.2.conv.8", "features.3.conv.4", "features.3.conv.8", "features.4.1"),
]
_OPERATIONS = {0: ((3, 3, 6), (5, 2, 6), (7, 3, 6)), 1: ((3, 2, 8), (5, 3, 8))}


def mixed(arrays):
    """Two blocks that sum inverted residual operations of other kernel sizes."""
    build = _Builder(arrays, epsilon=1e-3)
    x = keras.Input((8, 8, 3))
    y = build.norm(build.conv(x, "first_conv.conv", 6, 3), "first_conv.bn")
    y = layers.ReLU(6.0)(y)
    for block, operations in _OPERATIONS.items():
        terms = [y] if block == 0 else []
        for number, (size, expansion, filters) in enumerate(operations):
            name = operation_name(block, number)
            z = build.conv(y, f"{name}.inverted_bottleneck.conv", 6 * expansion, 1)
            z = layers.ReLU(6.0)(build.norm(z, f"{name}.inverted_bottleneck.bn"))
            z = build.conv(z, f"{name}.depth_conv.conv", 0, size, block + 1, True)
            z = layers.ReLU(6.0)(build.norm(z, f"{name}.depth_conv.bn"))
            z = build.conv(z, f"{name}.point_linear.conv", filters, 1)
            terms.append(build.norm(z, f"{name}.point_linear.bn"))
        y = layers.Add()(terms)
    y = build.conv(y, "feature_mix_layer.conv", 14, 1)
    y = build.norm(y, "feature_mix_layer.bn")
    y = layers.GlobalAveragePooling2D()(layers.ReLU(6.0)(y))
    return build.model(x, build.dense(y, "classifier.linear", 5))


def operation_name(block, number):
    return f"blocks.{block}.mobile_inverted_conv.candidate_ops.{number}"


MIXED_GATES = [
    f"{operation_name(block, number)}.{part}.bn"
    for block, operations in _OPERATIONS.items()
    for number in range(len(operations))
    for part in ("depth_conv", "point_linear")
] + ["feature_mix_layer.bn"]

NETWORKS = {
    "chain": (chain, CHAIN_GATES),
    "traj": (chain, CHAIN_GATES),
    "resblock": (resblock, RESBLOCK_GATES),
    "mbconv": (mbconv, MBCONV_GATES),
    "mixed": (mixed, MIXED_GATES),
    "collapse": (resblock, RESBLOCK_GATES),
}


def gated_network(name):
    """The network of a file with gates, in the order of the file, and its arrays."""
    arrays = load(name)
    network, normalizations = NETWORKS[name]
    plain = network(arrays)
    gated = add_channel_gates(plain)
    gates = [gated.get_layer(f"{keras_name(n)}_gate") for n in normalizations]
    assert len(gates) == sum(x.name.endswith("_gate") for x in gated.layers)
    return gated, gates, arrays


def set_gates(gates, arrays, beta, mode):
    for number, gate in enumerate(gates):
        gate.s.assign(arrays[f"s{number}"])
        gate.beta.assign(beta)
        gate.set_mode(mode)


def images(arrays, key="x"):
    return arrays[key].transpose(0, 2, 3, 1)


def relative(actual, expected):
    """Largest difference over the largest value."""
    actual = keras.ops.convert_to_numpy(actual)
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-30)


def trainable_count(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)
