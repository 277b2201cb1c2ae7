import itertools

import keras
import numpy as np
import pytest
from test_case import run_layer_test

from keras_sda.layers import GroupedConv2D
from keras_sda.utils import InvalidInputError

CASES = [
    {"kernel_size": 3, "groups": 4, "padding": "same"},
    {"kernel_size": 3, "groups": 2, "strides": 2},
    {"kernel_size": 1, "groups": 4},
    {"kernel_size": 3, "groups": 2, "dilation_rate": 2, "padding": "same"},
    {"kernel_size": (3, 5), "groups": 4, "strides": (1, 2)},
    {"kernel_size": 3, "groups": 8, "padding": "same"},
    {"kernel_size": 3, "groups": 1, "strides": 2, "padding": "same"},
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("implementation", ["auto", "split", "native"])
def test_equals_stock_layer(case, implementation):
    x = np.random.normal(size=(2, 9, 11, 8)).astype("f")
    stock = keras.layers.Conv2D(16, **case)
    expected = stock(x)
    layer = GroupedConv2D(16, **case, implementation=implementation)
    layer.build(x.shape)
    assert layer.kernel.shape == stock.kernel.shape
    layer.set_weights(stock.get_weights())
    np.testing.assert_allclose(layer(x), expected, atol=2e-5)


@pytest.mark.parametrize(
    "dtype, implementation",
    list(itertools.product(["float32", "bfloat16", "float16"], ["auto", "split"])),
)
def test_dtypes_and_gradients(dtype, implementation):
    import tensorflow as tf

    x = np.random.normal(size=(2, 8, 8, 8)).astype("f")
    results = {}
    exact = GroupedConv2D(16, 3, groups=4, implementation="split", dtype="float32")
    exact.build(x.shape)
    other = GroupedConv2D(16, 3, groups=4, implementation=implementation, dtype=dtype)
    other.build(x.shape)
    other.set_weights(exact.get_weights())
    for name, layer in (("exact", exact), ("other", other)):
        inputs = tf.cast(x, layer.compute_dtype)

        @tf.function(jit_compile=False)
        def run(inputs, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                y = layer(inputs)
                loss = tf.reduce_sum(tf.square(tf.cast(y, "float32")))
            return y, *tape.gradient(loss, [inputs, layer.kernel.value])

        results[name] = [tf.cast(r, "float32").numpy() for r in run(inputs)]
    tolerance = 1e-5 if dtype == "float32" else 0.03
    for actual, expected in zip(results["other"], results["exact"], strict=True):
        scale = np.abs(expected).max()
        assert np.abs(actual - expected).max() <= tolerance * scale


@pytest.mark.parametrize("groups", [2, 8])
def test_layer(groups, tmp_path):
    run_layer_test(
        GroupedConv2D,
        {
            "filters": 16,
            "kernel_size": (3, 3),
            "groups": groups,
            "padding": "same",
            "activation": "relu",
            "implementation": "auto",
        },
        np.random.normal(size=(4, 6, 6, 8)).astype("f"),
        expected_shape=(4, 6, 6, 16),
        num_weights=2,
        tmp_path=tmp_path,
    )


def test_never_compiled_through_xla(tmp_path):
    """No function of the graph asks for XLA, in training or inference."""
    import tensorflow as tf

    for groups, implementation in [(4, "auto"), (4, "split"), (8, "auto")]:
        layer = GroupedConv2D(16, 3, groups=groups, implementation=implementation)
        layer.build((None, 8, 8, 8))

        @tf.function
        def run(x, layer=layer):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(x))
            return tape.gradient(loss, layer.kernel.value)

        graph = run.get_concrete_function(tf.TensorSpec((None, 8, 8, 8))).graph
        for function in graph.as_graph_def().library.function:
            assert not function.attr["_XlaMustCompile"].b, implementation


def test_falls_back_without_onednn(run_python):
    """Where the native operation has no gradient, the layer still trains."""
    code = """
import numpy as np, keras
from keras_sda.layers import GroupedConv2D
from keras_sda.layers.convolution.grouped_conv2d import _native_is_right
model = keras.Sequential([keras.Input((8, 8, 8)),
    GroupedConv2D(16, 3, groups=4, activation="relu")])
model.compile("sgd", "mse")
model.fit(np.ones((4, 8, 8, 8)), np.zeros((4, 6, 6, 16)), verbose=0)
print("native", _native_is_right("tensorflow", "float32", "channels_last"))
"""
    result = run_python(code, env={"TF_ENABLE_ONEDNN_OPTS": "0"})
    assert "native False" in result.stdout


@pytest.mark.parametrize(
    "kwargs, text",
    [
        ({"groups": 3}, "divides `filters`"),
        ({"groups": 0}, "positive integer"),
        ({"groups": 2, "implementation": "fast"}, "`implementation`"),
    ],
)
def test_bad_arguments(kwargs, text):
    with pytest.raises(InvalidInputError, match=text):
        GroupedConv2D(16, 3, **kwargs)


def test_bad_channels():
    with pytest.raises(ValueError, match="multiple of `groups`"):
        GroupedConv2D(16, 3, groups=4)(np.ones((1, 8, 8, 6), "f"))
