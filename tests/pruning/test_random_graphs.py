"""Random graphs from a grammar of parts: mask and shrink agree on all of them."""

import keras
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers, ops
from pruning.surgery_checks import run_surgery_test
from pruning.zoo import conv, head

from keras_sda.layers import GroupedConv2D, SelectiveDepthAttention, SqueezeExcite2D

SIZES = (4, 6, 8)


def same_size(x, y):
    """A convolution that gives `y` the channels of `x`."""
    return conv(y, x.shape[-1], 1, "linear")


def nested(x, other):
    inner = keras.Input((8, 8, x.shape[-1]))
    return keras.Model(inner, conv(inner * 0.5, 4))(x)


def split(x, other):
    one, two = ops.split(x, 2, axis=-1)
    return ops.concatenate([two, conv(one, 4), two], axis=-1)


# Every part takes two tensors of the graph and returns a new one.
PARTS = {
    "convolution": lambda x, other: conv(x, 6),
    "strange_activation": lambda x, other: conv(x, 4, activation="hard_sigmoid"),
    "residual": lambda x, other: layers.Add()([x, same_size(x, other)]),
    "product": lambda x, other: x * same_size(x, other),
    "maximum": lambda x, other: layers.Maximum()([same_size(x, other), x]),
    "concatenation": lambda x, other: layers.Concatenate()([x, other]),
    "twice": lambda x, other: layers.Concatenate()([x, x]),
    "split": split,
    "slice": lambda x, other: x[..., 1:] + 1.0,
    "reversed": lambda x, other: x[..., ::-1],
    "flipped": lambda x, other: ops.flip(x, axis=(1, -1)),
    "rolled": lambda x, other: ops.roll(x, 1, axis=-1),
    "repeated": lambda x, other: ops.repeat(x, 2, axis=-1)[..., 1:],
    "stacked": lambda x, other: ops.max(ops.stack([x, same_size(x, other)], 1), 1),
    "taken": lambda x, other: ops.take(x, [1, 0, -1], axis=-1),
    "recurrent": lambda x, other: layers.TimeDistributed(
        layers.SimpleRNN(4, return_sequences=True)
    )(x),
    "depthwise": lambda x, other: layers.DepthwiseConv2D(
        3, padding="same", depth_multiplier=2, activation="tanh"
    )(x),
    "separable": lambda x, other: layers.SeparableConv2D(5, 3, padding="same")(x),
    "grouped": lambda x, other: GroupedConv2D(8, 3, groups=2, padding="same")(
        conv(x, 4)
    ),
    "transposed": lambda x, other: layers.Conv2DTranspose(4, 3, padding="same")(x),
    "normalization": lambda x, other: layers.BatchNormalization(scale=False)(x),
    "gate": lambda x, other: x * ops.sigmoid(layers.Conv2D(1, 1)(other)),
    "squeeze_excite": lambda x, other: SqueezeExcite2D(3)(x),
    "depth_attention": lambda x, other: SelectiveDepthAttention()(
        [x, same_size(x, other)]
    ),
    "across_channels": lambda x, other: layers.LayerNormalization()(x),
    "reshape": lambda x, other: layers.Reshape((8, 8, -1))(layers.Reshape((64, -1))(x)),
    "mean": lambda x, other: x - ops.mean(x, axis=(1, 2), keepdims=True),
    "nested": nested,
}

steps = st.lists(
    st.tuples(st.sampled_from(sorted(PARTS)), st.integers(0, 7), st.integers(0, 7)),
    min_size=2,
    max_size=7,
)


def grow(steps):
    """An input and the last tensor that the steps make of it."""
    x = keras.Input((8, 8, 3))
    tensors = [conv(x, 6), conv(x, 4)]
    for name, first, second in steps:
        x_first = tensors[first % len(tensors)]
        if x_first.shape[-1] > 24 or (name == "split" and x_first.shape[-1] % 2):
            name = "convolution"
        tensors.append(PARTS[name](x_first, tensors[second % len(tensors)]))
    return x, tensors[-1]


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(steps=steps, seed=st.integers(0, 99), flat=st.booleans())
def test_mask_and_shrink_agree(steps, seed, flat):
    x, y = grow(steps)
    y = conv(conv(y, 5), 4)
    outputs = head(y)
    if flat:
        outputs = [outputs, layers.Dense(2)(layers.Flatten()(layers.AvgPool2D(4)(y)))]
    model = keras.Model(x, outputs)
    run_surgery_test(model, plan=seed, tolerance=2e-5, exact_macs=False)
