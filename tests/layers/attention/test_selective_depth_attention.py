import keras
import numpy as np
import pytest
from test_case import assert_close, load_golden, run_layer_test, to_nhwc

from keras_sda.layers import SelectiveDepthAttention
from keras_sda.utils import InvalidInputError

MODULES = ["dev_sda_module_k3", "dev_sda_module_k5", "dev_sda_module_k3_train"]


def fill(layer, arrays, num_blocks, prefix=""):
    """Puts the weights of a reference file into a built layer."""
    squeeze = arrays[f"{prefix}squeeze_kernel"][:, :, 0, 0].T
    layer.squeeze.kernel.assign(squeeze)
    layer.squeeze_bn.set_weights(
        [arrays[f"{prefix}squeeze_bn_{n}"] for n in ("gamma", "beta", "mean", "var")]
    )
    kernels = [arrays[f"{prefix}expand_{k}_kernel"] for k in range(num_blocks)]
    layer.expand.kernel.assign(
        np.concatenate([k[:, :, 0, 0].T for k in kernels], axis=-1)
    )
    layer.expand.bias.assign(
        np.concatenate([arrays[f"{prefix}expand_{k}_bias"] for k in range(num_blocks)])
    )


def load_module(name):
    arrays, config = load_golden(name)
    inputs = [to_nhwc(arrays[f"block_output_{k}"]) for k in range(config["blocks"])]
    layer = SelectiveDepthAttention(config["reduction"], config["min_width"])
    layer.build([x.shape for x in inputs])
    fill(layer, arrays, config["blocks"])
    return layer, inputs, arrays, config


@pytest.mark.parametrize("name", MODULES)
def test_golden_outputs(name):
    layer, inputs, arrays, config = load_module(name)
    training = config["training"]
    attention = layer.compute_attention(inputs, training=training)
    assert_close(attention, arrays["attention"], name="attention")
    layer, inputs, arrays, config = load_module(name)  # statistics have moved
    outputs = layer(inputs, training=training)
    assert_close(outputs, to_nhwc(arrays["output"]), name="output")


def test_golden_gradients_in_training():
    import tensorflow as tf

    layer, inputs, arrays, config = load_module("dev_sda_module_k3_train")
    inputs = [tf.constant(x) for x in inputs]
    cotangent = to_nhwc(arrays["cotangent"])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(layer(inputs, training=True) * cotangent)
    variables = [
        layer.squeeze.kernel,
        layer.squeeze_bn.gamma,
        layer.squeeze_bn.beta,
        layer.expand.kernel,
        layer.expand.bias,
    ]
    grads = tape.gradient(loss, [*inputs, *(v.value for v in variables)])
    blocks = range(config["blocks"])
    for k in blocks:
        assert_close(grads[k], to_nhwc(arrays[f"grad_block_output_{k}"]), name=k)
    squeeze, gamma, beta, kernel, bias = grads[config["blocks"] :]
    assert_close(squeeze, arrays["grad_squeeze_kernel"][:, :, 0, 0].T)
    assert_close(gamma, arrays["grad_squeeze_bn_gamma"])
    assert_close(beta, arrays["grad_squeeze_bn_beta"])
    expected = [arrays[f"grad_expand_{k}_kernel"][:, :, 0, 0].T for k in blocks]
    assert_close(kernel, np.concatenate(expected, axis=-1))
    expected = [arrays[f"grad_expand_{k}_bias"] for k in blocks]
    assert_close(bias, np.concatenate(expected))
    # Keras keeps the biased variance; the reference file holds that form as well.
    assert_close(layer.squeeze_bn.moving_mean, arrays["squeeze_bn_new_mean"])
    assert_close(layer.squeeze_bn.moving_variance, arrays["squeeze_bn_new_var_biased"])


@pytest.mark.parametrize("num_blocks", [1, 3])
def test_layer(num_blocks, tmp_path):
    inputs = [
        np.random.normal(size=(4, 6, 5, 8)).astype("f") for _ in range(num_blocks)
    ]
    run_layer_test(
        SelectiveDepthAttention,
        {"reduction": 4, "min_width": 3, "activation": "relu", "synchronized": False},
        inputs,
        expected_shape=(4, 6, 5, 8),
        num_weights=7,
        tmp_path=tmp_path,
        trains=num_blocks > 1,
    )


def test_unknown_size_equals_known_size():
    layer = SelectiveDepthAttention(min_width=4)
    inputs = [np.random.normal(size=(2, 7, 9, 8)).astype("f") for _ in range(2)]
    symbolic = [keras.Input((None, None, 8)) for _ in inputs]
    model = keras.Model(symbolic, layer(symbolic))
    np.testing.assert_allclose(
        model.predict(inputs, verbose=0), layer(inputs), atol=1e-5
    )


def test_float32_inside_under_mixed_precision():
    inputs = [np.random.normal(size=(2, 8, 8, 16)).astype("f") for _ in range(3)]
    exact = SelectiveDepthAttention(min_width=8)
    expected = exact.compute_attention(inputs)
    for policy in ("mixed_bfloat16", "mixed_float16"):
        layer = SelectiveDepthAttention(min_width=8, dtype=policy)
        layer.build([x.shape for x in inputs])
        layer.set_weights(exact.get_weights())
        attention = layer.compute_attention(inputs)
        assert keras.backend.standardize_dtype(attention.dtype) == "float32"
        assert_close(attention, np.asarray(expected), tolerance=1e-5)
        assert {v.dtype for v in layer.variables} == {"float32"}


def test_one_block_is_the_activation():
    x = np.random.normal(size=(2, 4, 4, 8)).astype("f")
    np.testing.assert_allclose(
        SelectiveDepthAttention(min_width=4)([x]), np.maximum(x, 0), atol=1e-6
    )


def test_start_as_published():
    layer = SelectiveDepthAttention(name="sda")
    layer.build([(None, 7, 7, 2048)] * 3)
    assert layer.width == 128
    kernel = np.asarray(layer.expand.kernel)
    assert kernel.std() == pytest.approx(0.03125, rel=0.02)
    assert np.asarray(layer.squeeze.kernel).std() == pytest.approx(
        (2 / 128) ** 0.5, rel=0.02
    )
    bias = np.asarray(layer.expand.bias)
    assert 0.99 * 128**-0.5 < np.abs(bias).max() <= 128**-0.5


@pytest.mark.parametrize(
    "kwargs, text",
    [
        ({"reduction": 0}, "`reduction`"),
        ({"min_width": 0}, "`min_width`"),
        ({"data_format": "NHWC"}, "`data_format`"),
    ],
)
def test_bad_arguments(kwargs, text):
    with pytest.raises(InvalidInputError, match=text):
        SelectiveDepthAttention(**kwargs)


def test_bad_inputs():
    x = np.ones((2, 4, 4, 8), "f")
    with pytest.raises(ValueError, match="must be a list"):
        SelectiveDepthAttention()(x)
    with pytest.raises(ValueError, match="one shape"):
        SelectiveDepthAttention()([x, x[:, :2]])
