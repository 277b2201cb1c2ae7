"""Packed layers compute what a dense kernel with zeros does, on every backend."""

import importlib.util

import keras
import numpy as np
import pytest
from test_case import assert_close, run_layer_test

from keras_sda.analysis import profile
from keras_sda.layers import GatherChannels, PackedConv2D, PackedDense
from keras_sda.utils import InvalidInputError

# Ranges and scattered channels, overlapping, one list empty.
LISTS = {"channels": [[0, 1, 2], [5, 1], [], [3, 4, 5, 6, 7]], "sizes": [2, 3, 1, 4]}
ORDER = [3, 0, 9, 4, 5, 1, 8, 2, 7, 6]
ALL = {"channels": [[0, 1, 2, 3, 4, 5, 6, 7], [6, 2, 0]], "sizes": [2, 3]}


def dense_kernel(layer, channels):
    """The kernel with zeros that a packed layer stands for."""
    filters = sum(layer.sizes)
    window = tuple(layer.kernels[0].shape[:-2])
    kernel = np.zeros((*window, channels, filters), "float32")
    places = layer.order or list(range(filters))
    kernels, start = iter(layer.kernels), 0
    for own, size in zip(layer.channels, layer.sizes, strict=True):
        value = np.asarray(keras.ops.convert_to_numpy(next(kernels))) if own else None
        for number in range(size):
            place = places.index(start + number)
            for position, channel in enumerate(own):
                kernel[..., channel, place] = value[..., position, number]
        start += size
    return kernel


CONVOLUTIONS = {
    "one_group": ({"channels": [[5, 0, 2]], "sizes": [3]}, {"kernel_size": 3}),
    "plain": (ALL, {"kernel_size": 1}),
    "valid": (LISTS, {"kernel_size": 3}),
    "same": (LISTS, {"kernel_size": (3, 2), "padding": "same"}),
    "strides": (LISTS, {"kernel_size": 3, "strides": 2, "padding": "same"}),
    "dilation": (LISTS, {"kernel_size": 3, "dilation_rate": (1, 2)}),
    "order": (LISTS, {"kernel_size": 1, "order": ORDER}),
    "no_bias": (LISTS, {"kernel_size": 3, "order": ORDER, "use_bias": False}),
    "activation": (ALL, {"kernel_size": 3, "activation": "gelu"}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_packed_conv2d(name, tmp_path):
    lists, options = CONVOLUTIONS[name]
    config = {**lists, **options}
    x = np.random.default_rng(0).normal(size=(2, 7, 9, 8)).astype("f")
    filters = sum(lists["sizes"])
    dense_options = {k: v for k, v in options.items() if k != "order"}
    dense = keras.layers.Conv2D(filters, **dense_options)
    shape = dense.compute_output_shape(x.shape)
    use_bias = options.get("use_bias", True)
    num_kernels = sum(bool(own) for own in lists["channels"])
    run_layer_test(PackedConv2D, config, x, shape, num_kernels + use_bias, tmp_path)

    layer = PackedConv2D(**config)
    layer.build(x.shape)
    weights = [dense_kernel(layer, 8)]
    if use_bias:
        layer.bias.assign(np.arange(filters))
        weights.append(np.arange(filters, dtype="f"))
    dense.build(x.shape)
    dense.set_weights(weights)
    assert_close(layer(x), np.asarray(dense(x)), 1e-5)
    assert layer.filters == filters
    # What it computes, and nothing else, is counted.
    inputs = keras.Input(x.shape[1:])
    counted = profile(keras.Model(inputs, layer(inputs)))
    kept = int((weights[0] != 0).sum())
    assert counted.macs == kept * shape[1] * shape[2]
    assert counted.params == kept + filters * use_bias


DENSES = {
    "vector": (LISTS, (3, 8), {}),
    "order": (LISTS, (3, 8), {"order": ORDER, "activation": "tanh"}),
    "sequence": (LISTS, (2, 5, 8), {"use_bias": False, "order": ORDER}),
    "maps": (ALL, (2, 3, 4, 8), {}),
}


@pytest.mark.parametrize("name", DENSES)
def test_packed_dense(name, tmp_path):
    lists, shape, options = DENSES[name]
    units, use_bias = sum(lists["sizes"]), options.get("use_bias", True)
    x = np.random.default_rng(0).normal(size=shape).astype("f")
    num_kernels = sum(bool(own) for own in lists["channels"])
    run_layer_test(
        PackedDense,
        {**lists, **options},
        x,
        (*shape[:-1], units),
        num_kernels + use_bias,
        tmp_path,
    )
    layer = PackedDense(**lists, **options)
    layer.build(shape)
    kernel = dense_kernel(layer, 8)
    y = x @ kernel
    if use_bias:
        layer.bias.assign(np.arange(units))
        y = y + np.arange(units, dtype="f")
    assert_close(layer(x), np.tanh(y) if "activation" in options else y, 1e-5)
    inputs = keras.Input(shape[1:])
    counted = profile(keras.Model(inputs, layer(inputs)))
    assert counted.macs == layer.connections() * int(np.prod(shape[1:-1]))


def test_filters_without_channels_give_their_bias():
    layer = PackedConv2D([[], [1]], [2, 1], 3, order=[1, 2, 0])
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 4)).astype("f")
    layer.build(x.shape)
    layer.bias.assign([1, 2, 3])
    y = np.asarray(layer(x))
    # Filter 1 (empty), the filter that reads, filter 0 (empty).
    assert (y[..., 0] == 1).all() and (y[..., 2] == 3).all()
    assert np.ptp(y[..., 1]) > 0.1
    assert [place.tolist() for place in layer.filter_places] == [[1]]


def test_gradients_and_open_batch():
    """Trained as any layer, with a batch that is not known when it is built."""
    x = keras.Input((4, 4, 8))
    y = PackedConv2D(**LISTS, kernel_size=3, order=ORDER, activation="relu")(x)
    y = keras.layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, PackedDense([[9, 0], []], [2, 1])(y))
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    generator = np.random.default_rng(0)
    images = generator.normal(size=(10, 4, 4, 8)).astype("f")
    target = images.mean(axis=(1, 2))[:, :3]
    history = model.fit(images, target, batch_size=4, epochs=8, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert model.predict(images[:3], verbose=0).shape == (3, 3)


CONV = {"channels": [[0, 1], [1]], "sizes": [2, 1], "kernel_size": 3}


@pytest.mark.parametrize(
    "options, text",
    [
        ({"sizes": [2]}, "`sizes` must give a positive number"),
        ({"sizes": [2, 0]}, "`sizes` must give a positive number"),
        ({"channels": [], "sizes": []}, "`sizes`"),
        ({"channels": [[0, 0], [1]]}, "different places"),
        ({"channels": [[-1], [1]]}, "different places"),
        ({"channels": [[], []]}, "constant"),
        ({"order": [0, 1]}, "`order` must hold each of 0..2"),
        ({"order": [0, 1, 1]}, "`order`"),
        ({"padding": "causal"}, "`padding`"),
        ({"kernel_size": 0}, "`kernel_size`"),
        ({"kernel_size": (3, 3, 3)}, "`kernel_size`"),
        ({"strides": 0}, "`strides`"),
        ({"dilation_rate": "2"}, "`dilation_rate`"),
        ({"data_format": "channels"}, "`data_format`"),
    ],
)
def test_bad_arguments(options, text):
    with pytest.raises(InvalidInputError, match=text):
        PackedConv2D(**{**CONV, **options})
    if set(options) <= {"channels", "sizes", "order"}:
        with pytest.raises(InvalidInputError, match=text):
            PackedDense(**{"channels": [[0, 1], [1]], "sizes": [2, 1], **options})


def test_inputs_with_too_few_channels():
    with pytest.raises(InvalidInputError, match="goes up to 7, its input has 5"):
        PackedConv2D(**LISTS, kernel_size=1, name="one").build((None, 4, 4, 5))
    with pytest.raises(InvalidInputError, match="'two' goes up to 7"):
        PackedDense(**LISTS, name="two").build((None, 7))
    with pytest.raises(InvalidInputError, match="None channels"):
        PackedDense(**LISTS).build((None, None))


GATHERS = {
    "repeats": [3, 3, 0, 5, 0],
    "runs": [*range(8, 20), *range(0, 9), *range(8, 20)],
    "one_run": list(range(4, 18)),
    "mixed": [*range(1, 15), 0, 19],
    "backwards": [2, 1, 0],
}


@pytest.mark.parametrize("name", GATHERS)
@pytest.mark.parametrize("axis", [1, -1])
def test_gather_with_repeats_and_runs(name, axis, tmp_path):
    places = GATHERS[name]
    shape = (2, 3, 4, 20) if axis == -1 else (2, 20, 3, 4)
    x = np.random.default_rng(0).normal(size=shape).astype("f")
    expected = np.take(x, places, axis)
    layer = GatherChannels(places, axis=axis)
    assert layer.compute_output_shape(shape) == expected.shape
    np.testing.assert_array_equal(layer(x), expected)
    inputs = keras.Input(shape[1:])
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape[1:] == expected.shape[1:]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    vectors = x[:, 0, 0] if axis == -1 else x[:, :, 0, 0]
    np.testing.assert_array_equal(
        GatherChannels(places, axis=axis)(vectors), vectors[:, places]
    )


CODE = """
import sys, numpy as np, keras
from keras_sda.layers import GatherChannels, PackedConv2D, PackedDense
channels, sizes = [[0, 1, 2], [5, 1], [], [7, 4, 0]], [2, 3, 1, 4]
order = [3, 0, 9, 4, 5, 1, 8, 2, 7, 6]
data, out = dict(np.load(sys.argv[1])), {}
x = data["x"]
formats = ["channels_last"]
if keras.backend.backend() != "tensorflow":
    formats.append("channels_first")
for form in formats:
    conv = PackedConv2D(channels, sizes, 3, order, strides=2, padding="same",
                        data_format=form)
    first = form == "channels_first"
    image = np.transpose(x, (0, 3, 1, 2)) if first else x
    inputs = keras.Input(image.shape[1:])
    model = keras.Model(inputs, conv(inputs))
    conv.set_weights([data[f"conv{k}"] for k in range(4)])
    y = keras.ops.convert_to_numpy(model(image))
    assert tuple(y.shape[1:]) == tuple(model.output_shape[1:])
    out[form] = np.transpose(y, (0, 2, 3, 1)) if first else y
dense = PackedDense(channels, sizes, order)
dense.build((None, 8))
dense.set_weights([data[f"dense{k}"] for k in range(4)])
out["dense"] = dense(x)
for name, places in (("few", [3, 3, 0]), ("runs", [0, 1, 2, 3, 4, 5, 6, 7] * 2)):
    out[name] = GatherChannels(places, axis=-1)(x)
model = keras.Sequential([keras.Input((8,)), PackedDense(channels, sizes, order)])
model.compile("sgd", "mse")
history = model.fit(x[:, 0, 0], np.ones((2, 10)), epochs=2, verbose=0)
out["loss"] = np.array(history.history["loss"])
np.savez(sys.argv[2], **{k: keras.ops.convert_to_numpy(v) for k, v in out.items()})
print("backend", keras.backend.backend(), "tensorflow" in sys.modules)
"""


@pytest.mark.parametrize("order", [None, [2, 0, 1]])
@pytest.mark.parametrize("kind, shape", [(PackedDense, ()), (PackedConv2D, (5, 5))])
def test_groups_of_one_filter_in_a_graph(kind, shape, order):
    """With oneDNN, TensorFlow refused a bias of shape (1, 1) behind a product."""
    options = {"kernel_size": 1} if shape else {}
    layer = kind([[0, 2, 5], [1, 3, 6, 7], []], [1, 1, 1], order=order, **options)
    inputs = keras.Input((*shape, 8))
    model = keras.Model(inputs, keras.layers.ReLU()(layer(inputs)))
    layer.bias.assign([0.5, -1.0, 2.0])
    x = np.random.default_rng(0).normal(size=(4, *shape, 8)).astype("f")
    kernel = dense_kernel(layer, 8).reshape(8, 3)
    expected = np.maximum(x @ kernel + [0.5, -1.0, 2.0], 0)
    assert_close(model.predict(x, verbose=0), expected, 1e-5)


@pytest.mark.large
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend, tmp_path, run_python):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed (the test extra installs JAX only)")
    channels, sizes = [[0, 1, 2], [5, 1], [], [7, 4, 0]], [2, 3, 1, 4]
    x = np.random.default_rng(0).normal(size=(2, 7, 5, 8)).astype("f")
    conv = PackedConv2D(channels, sizes, 3, ORDER, strides=2, padding="same")
    dense = PackedDense(channels, sizes, ORDER)
    weights = {}
    for name, layer in (("conv", conv), ("dense", dense)):
        layer.build(x.shape)
        layer.bias.assign(np.arange(10))
        weights |= {f"{name}{k}": w for k, w in enumerate(layer.get_weights())}
    np.savez(tmp_path / "in.npz", x=x, **weights)
    script = tmp_path / "run.py"
    script.write_text(CODE)
    result = run_python(
        [script, tmp_path / "in.npz", tmp_path / "out.npz"],
        env={"KERAS_BACKEND": backend},
    )
    assert f"backend {backend}" in result.stdout
    if backend == "jax":
        assert "backend jax False" in result.stdout  # TensorFlow was not imported
    actual = dict(np.load(tmp_path / "out.npz"))
    expected = np.asarray(conv(x))
    assert_close(actual["channels_last"], expected, 1e-5)
    assert_close(actual["channels_first"], expected, 1e-5)
    assert_close(actual["dense"], np.asarray(dense(x)), 1e-5)
    np.testing.assert_array_equal(actual["few"], x[..., [3, 3, 0]])
    np.testing.assert_array_equal(actual["runs"], np.concatenate([x, x], -1))
    assert actual["loss"][1] < actual["loss"][0]
