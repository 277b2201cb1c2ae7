"""depth_attention: the weights are those that the network uses."""

import importlib.util

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.analysis import depth_attention
from keras_sda.applications import SDAResNet
from keras_sda.layers import SelectiveDepthAttention
from keras_sda.utils import InvalidInputError, load_model

SHAPE = (32, 32, 3)
STAGES = ["stage1_sda", "stage2_sda"]


def make_model(**options):
    arguments = {
        "stackwise_num_blocks": [1, 3],
        "base_width": 4,
        "stem_width": 4,
        "min_width": 4,
        "classes": 3,
        "input_shape": SHAPE,
        **options,
    }
    model = SDAResNet(**arguments)
    generator = np.random.default_rng(5)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            low = generator.uniform(0.5, 1.5, (4, *layer.gamma.shape))
            layer.set_weights(list(low))
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(2).normal(size=(7, *SHAPE)).astype("float32")


@pytest.fixture(scope="module")
def model():
    """One for the tests that change nothing in it."""
    keras.utils.set_random_seed(7)
    return make_model()


@pytest.fixture(scope="module")
def by_hand(model, images):
    return {name: expected(model, name, images) for name in STAGES}


def expected(model, name, images):
    """The weights by the definition of the layer, from a hand-made submodel."""
    layer = model.get_layer(name)
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    maps = [keras.Model(model.input, x)(images, training=False) for x in inputs]
    return keras.ops.convert_to_numpy(layer.compute_attention(maps, training=False))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 32])
def test_weights_are_those_of_the_layers(batch_size, model, images, by_hand):
    attention = depth_attention(model, images, batch_size)
    assert list(attention) == STAGES
    assert attention["stage1_sda"].shape == (7, 1, 16)
    assert attention["stage2_sda"].shape == (7, 3, 32)
    for name, weights in attention.items():
        assert weights.dtype == np.float32
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(weights, by_hand[name], atol=1e-6)
    assert attention["stage2_sda"].std(axis=0).max() > 1e-4  # Images differ.
    assert attention.block_names == {
        "stage1_sda": ("stage1_block1_add",),
        "stage2_sda": tuple(f"stage2_block{k}_add" for k in (1, 2, 3)),
    }


def test_model_is_not_changed(images):
    model = make_model()
    model.compile("sgd", "mse", run_eagerly=True)  # one step: a graph costs more

    def state():
        nodes = [
            (len(layer._inbound_nodes), len(layer._outbound_nodes))
            for layer in model.layers
        ]
        return nodes, model.get_config(), [w.name for w in model.weights]

    before, weights, outputs = state(), model.get_weights(), model(images)
    train = np.zeros((7, 3))
    model.train_on_batch(images, train)
    model.set_weights(weights)
    depth_attention(model, images)
    assert state() == before
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model(images), outputs)
    model.train_on_batch(images, train)  # Still compiled.


def test_training_moves_what_is_read(images):
    model = make_model()
    before = depth_attention(model, images)["stage2_sda"]
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    model.fit(images, np.arange(7) % 3, epochs=3, verbose=0)
    after = depth_attention(model, images)["stage2_sda"]
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, expected(model, "stage2_sda", images), atol=1e-6)


def test_saved_and_loaded(model, images, by_hand, tmp_path):
    model.save(tmp_path / "model.keras")
    again = depth_attention(load_model(tmp_path / "model.keras"), images)
    assert list(again) == STAGES
    for name, weights in by_hand.items():
        np.testing.assert_allclose(again[name], weights, atol=1e-6)


def test_nested_sequential_and_shared(images):
    backbone = make_model(include_top=False, name="backbone")
    bright = depth_attention(backbone, np.concatenate([images, 2 * images]))
    plain = {name: weights[:7] for name, weights in bright.items()}
    doubled = {name: weights[7:] for name, weights in bright.items()}
    sequence = keras.Sequential([keras.Input(SHAPE), backbone, layers.Flatten()])
    x = keras.Input(SHAPE)
    twice = keras.Model(x, [backbone(x), backbone(layers.Rescaling(2.0)(x))])
    nested = depth_attention(sequence, images)
    assert list(nested) == ["backbone/stage1_sda", "backbone/stage2_sda"]
    for name, weights in plain.items():
        np.testing.assert_allclose(nested[f"backbone/{name}"], weights, atol=1e-6)
    assert nested.block_names["backbone/stage1_sda"] == ("stage1_block1_add",)
    # One layer called twice, for two images.
    both = depth_attention(twice, images)
    assert len(both) == 4
    first, second = both["backbone/stage2_sda"], both["backbone (call 2)/stage2_sda"]
    if np.abs(first - plain["stage2_sda"]).max() > 1e-5:
        first, second = second, first  # Neither call comes before the other.
    np.testing.assert_allclose(first, plain["stage2_sda"], atol=1e-5)
    np.testing.assert_allclose(second, doubled["stage2_sda"], atol=1e-5)


def test_several_inputs_and_one_layer_called_twice():
    a, b = keras.Input((4, 4, 2), name="a"), keras.Input((4, 4, 2), name="b")
    mix = SelectiveDepthAttention(min_width=2, name="mix")
    model = keras.Model({"a": a, "b": b}, mix([mix([a, b]), b]))
    data = {k: np.random.normal(size=(3, 4, 4, 2)).astype("f") for k in "ab"}
    attention = depth_attention(model, data)
    assert list(attention) == ["mix", "mix (call 2)"]
    assert attention.block_names == {"mix": ("a", "b"), "mix (call 2)": ("mix", "b")}
    want = mix.compute_attention([data["a"], data["b"]])
    np.testing.assert_allclose(attention["mix"], want, atol=1e-6)
    want = mix.compute_attention([mix([data["a"], data["b"]]), data["b"]])
    np.testing.assert_allclose(attention["mix (call 2)"], want, atol=1e-6)


def test_uint8_images_tensors_and_mixed_precision(model, images):
    whole = np.clip(images * 50 + 100, 0, 255).astype("uint8")
    want = depth_attention(model, whole.astype("float32"))["stage2_sda"]
    tensor = keras.ops.convert_to_tensor(whole)
    for given in (whole, tensor, list(whole)):
        got = depth_attention(model, given)["stage2_sda"]
        np.testing.assert_allclose(got, want, atol=1e-5)
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = make_model()
    half.set_weights(model.get_weights())
    got = depth_attention(half, whole)["stage2_sda"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(got, want, atol=0.1)


@pytest.mark.parametrize(
    "images, text",
    [
        (np.zeros((2, 31, 32, 3)), r"\(None, 32, 32, 3\).*\(2, 31, 32, 3\)"),
        (np.zeros((32, 32, 3)), r"array\[None\]"),
        (np.zeros((2, 32, 32, 1)), r"\(2, 32, 32, 1\)"),
        (np.zeros((0, 32, 32, 3)), "arrays of \[0\] samples"),
        (["a.png"], "array of numbers"),
        ([np.zeros((32, 32, 3)), np.zeros((8, 8, 3))], "single samples"),
        (None, "`images` is missing"),
        ({"a": np.zeros((1, 32, 32, 3)), "b": 1}, "array of numbers"),
    ],
    ids=str,
)
def test_images_that_do_not_fit(images, text):
    with pytest.raises(InvalidInputError, match=text):
        depth_attention(make_model(), images)


def test_models_that_do_not_fit(images):
    class Subclassed(keras.Model):
        pass

    for model, text in (
        (make_model(depth_attention=False), "no SelectiveDepthAttention layer"),
        (keras.Sequential([layers.Dense(2)]), "not built"),
        (Subclassed(), "subclassed"),
        ("SDAResNet20", "functional Keras model"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            depth_attention(model, images)
    for batch_size in (0, 1.5, None):
        with pytest.raises(InvalidInputError, match="batch_size"):
            depth_attention(make_model(), images, batch_size)


@pytest.mark.large
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend, tmp_path, run_python, images):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed (the test extra installs JAX only)")
    model = make_model()
    model.save_weights(tmp_path / "model.weights.h5")
    np.save(tmp_path / "images.npy", images)
    code = f"""
import os, sys, numpy as np
os.chdir({str(tmp_path)!r})
from keras_sda.analysis import depth_attention
from keras_sda.applications import SDAResNet
model = SDAResNet([1, 3], base_width=4, stem_width=4, min_width=4, classes=3,
                  input_shape=(32, 32, 3), weights="model.weights.h5")
attention = depth_attention(model, np.load("images.npy"), 3)
np.savez("out.npz", **attention)
print("tensorflow" in sys.modules)
"""
    result = run_python(code, env={"KERAS_BACKEND": backend})
    if backend == "jax":
        assert result.stdout.split()[-1] == "False"
    actual = np.load(tmp_path / "out.npz")
    for name, weights in depth_attention(model, images).items():
        np.testing.assert_allclose(actual[name], weights, atol=1e-5)
