"""The masked layers of self-grouping."""

import importlib.util

import keras
import numpy as np
import pytest
from test_case import run_layer_test

from keras_sda.analysis import profile
from keras_sda.graph import ChannelGraph
from keras_sda.layers import SelfGroupedConv2D, SelfGroupedDense
from keras_sda.pruning import make_plan, mask, shrink
from keras_sda.utils import InvalidInputError

layers = keras.layers


def random_mask(channels, filters):
    bits = np.random.default_rng(0).integers(0, 2, (3, channels))
    labels = np.arange(filters) % 3
    return bits[labels].T, labels


CASES = [
    (
        SelfGroupedConv2D,
        {"filters": 6, "kernel_size": (3, 3), "padding": "same", "activation": "relu"},
        (4, 6, 6, 8),
        (4, 6, 6, 6),
    ),
    (SelfGroupedConv2D, {"filters": 6, "kernel_size": (1, 1)}, (4, 6, 6, 8), None),
    (SelfGroupedDense, {"units": 6, "activation": "relu"}, (4, 8), (4, 6)),
    (SelfGroupedDense, {"units": 6, "use_bias": False}, (4, 5, 8), (4, 5, 6)),
]


@pytest.mark.parametrize("cls, kwargs, shape, output", CASES)
def test_layer(cls, kwargs, shape, output, tmp_path):
    run_layer_test(
        cls,
        kwargs,
        np.random.normal(size=shape).astype("f"),
        expected_shape=output or (4, 6, 6, 6),
        num_weights=4 if kwargs.get("use_bias", True) else 3,
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("cls, kwargs, shape, _", CASES)
def test_equals_the_dense_layer_with_a_masked_kernel(cls, kwargs, shape, _):
    x = np.random.normal(size=shape).astype("f")
    layer = cls(**kwargs)
    stock = cls.__mro__[2](**kwargs)
    stock.build(shape)
    layer.build(shape)
    assert [w.name for w in layer.weights][-2:] == ["mask", "labels"]
    assert not layer.is_grouped
    kernel, *bias = stock.get_weights()
    layer.set_weights([kernel, *bias, *layer.get_weights()[-2:]])
    np.testing.assert_allclose(layer(x), stock(x), atol=1e-6)
    bits, labels = random_mask(8, 6)
    layer.set_groups(bits, labels)
    assert layer.is_grouped
    np.testing.assert_array_equal(layer.masked_kernel(), kernel * bits)
    stock.set_weights([kernel * bits, *bias])
    np.testing.assert_allclose(layer(x), stock(x), atol=1e-6)


def masked_model():
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(6, 3, padding="same", name="stem")(x)
    y = SelfGroupedConv2D(8, 3, padding="same", name="conv")(layers.ReLU()(y))
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.Flatten()(layers.ReLU()(y))
    y = SelfGroupedDense(9, name="hidden")(y)
    model = keras.Model(x, layers.Dense(3, name="predictions")(layers.ReLU()(y)))
    for name in ("conv", "hidden"):
        layer = model.get_layer(name)
        layer.set_groups(*random_mask(*layer.mask.shape))
    return model


def test_training_leaves_cut_weights_and_masks(tmp_path):
    model = masked_model()
    layer = model.get_layer("conv")
    kernel, bits = (keras.ops.convert_to_numpy(x) for x in (layer.kernel, layer.mask))
    model.compile("sgd", "mse")
    x = np.random.normal(size=(8, 8, 8, 3))
    model.fit(x, np.ones((8, 3)), epochs=2, verbose=0)
    new = keras.ops.convert_to_numpy(layer.kernel)
    np.testing.assert_array_equal(new * (1 - bits), kernel * (1 - bits))
    assert np.abs((new - kernel) * bits).max() > 0
    np.testing.assert_array_equal(layer.mask, bits)

    # Masks and labels come back, from the model and from weights alone.
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    fresh = masked_model()
    for name in ("conv", "hidden"):
        one = fresh.get_layer(name)
        one.set_groups(np.ones(one.mask.shape), np.zeros(one.labels.shape, int))
    fresh.load_weights(tmp_path / "model.weights.h5")
    for other in (loaded, fresh):
        for name in ("conv", "hidden"):
            for a, b in zip(
                other.get_layer(name).weights, model.get_layer(name).weights,
                strict=True,
            ):  # fmt: skip
                np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(other(x), model(x), atol=1e-6)


def test_dense_weights_are_refused(tmp_path):
    stock = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="a")])
    other = keras.Sequential([keras.Input((4,)), SelfGroupedDense(3, name="a")])
    stock.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match="self_group|mask"):
        other.load_weights(tmp_path / "a.weights.h5")


def test_profile_counts_the_dense_twin():
    masked = profile(masked_model())

    def twin(layer):
        config = layer.get_config()
        if isinstance(layer, SelfGroupedConv2D):
            return layers.Conv2D.from_config(config)
        if isinstance(layer, SelfGroupedDense):
            return layers.Dense.from_config(config)
        return type(layer).from_config(config)

    dense = keras.models.clone_model(masked_model(), clone_function=twin)
    expected = profile(dense)
    assert not masked.unknown
    assert (masked.params, masked.macs) == (expected.params, expected.macs)
    assert masked.params == dense.count_params()
    assert [row.params for row in masked.layers] == [
        row.params for row in expected.layers
    ]


def test_pruning_takes_the_mask_along():
    model = masked_model()
    x = np.random.normal(size=(2, 8, 8, 3)).astype("f")
    plan = make_plan(model, macs=0.5)
    small, zeroed = shrink(model, plan), mask(model, plan)
    np.testing.assert_allclose(small(x), zeroed(x), atol=1e-5)
    old, new = model.get_layer("conv"), small.get_layer("conv")
    assert new.filters < 8 or new.mask.shape[0] < 6
    assert tuple(new.mask.shape) == tuple(new.kernel.shape[-2:])
    graph = ChannelGraph(model)
    kept = graph.kept(plan.classes(graph))
    record = graph.layers["conv"]
    rows = kept.mask(record.axis_units(old.mask, 0))
    columns = kept.mask(record.axis_units(old.mask, 1))
    np.testing.assert_array_equal(new.mask, np.asarray(old.mask)[rows][:, columns])
    np.testing.assert_array_equal(new.labels, np.asarray(old.labels)[columns])
    assert plan.expected["params"] == profile(small).params
    assert plan.expected["macs"] == profile(small).macs


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: SelfGroupedConv2D(4, 3, groups=2), "`groups` must be 1"),
        (lambda: SelfGroupedConv2D(4, 3, lora_rank=2), "`lora_rank`"),
        (lambda: SelfGroupedDense(4, lora_rank=2), "`lora_rank`"),
        (lambda: SelfGroupedDense(4).set_groups(np.ones((2, 4))), "not built"),
        (lambda: built().set_groups(np.ones((4, 3))), "Transpose"),
        (lambda: built().set_groups(np.full((3, 4), 0.5)), "zeros and ones"),
        (lambda: built().set_groups(np.ones((3, 4)), [0, 1]), "4 integers"),
        (lambda: built().set_groups(np.ones((3, 4)), [0, 0, 0, -1]), "negative"),
        (lambda: built().enable_lora(2), "no LoRA"),
        (
            lambda: SelfGroupedDense(4, dtype="int8_from_float32").build((None, 3)),
            "quantized",
        ),
    ],
)
def test_bad_input(make, text):
    with pytest.raises(InvalidInputError, match=text):
        make()


def built():
    layer = SelfGroupedDense(4)
    layer.build((None, 3))
    return layer


def test_quantizing_a_model_skips_masked_layers():
    model = keras.Sequential([keras.Input((8,)), SelfGroupedDense(4), layers.Dense(2)])
    x = np.random.normal(size=(2, 8)).astype("f")
    before = model.layers[0](x)
    with pytest.raises(NotImplementedError):
        model.layers[0].quantize("int8", type_check=False)
    np.testing.assert_allclose(model.layers[0](x), before)


CODE = """
import sys, numpy as np, keras
from keras_sda.layers import SelfGroupedConv2D, SelfGroupedDense
data = dict(np.load(sys.argv[1]))
conv = SelfGroupedConv2D(6, 3)
conv.build((None, 6, 6, 8))
conv.set_weights([data["kernel"], data["bias"], data["mask"], data["labels"]])
dense = SelfGroupedDense(6)
dense.build((None, 8))
dense.set_weights([data["kernel"][0, 0], data["bias"], data["mask"], data["labels"]])
out = {"conv": conv(data["x"]), "dense": dense(data["x"])}
model = keras.Sequential([keras.Input((6, 6, 8)), conv])
model.compile("sgd", "mse")
model.fit(data["x"], np.zeros((4, 4, 4, 6)), verbose=0)
out["trained"], out["mask"] = conv.kernel, conv.mask
np.savez(sys.argv[2], **{k: keras.ops.convert_to_numpy(v) for k, v in out.items()})
print("backend", keras.backend.backend())
"""


@pytest.mark.large
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend, tmp_path, run_python):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed (the test extra installs JAX only)")
    x = np.random.normal(size=(4, 6, 6, 8)).astype("f")
    conv, dense = SelfGroupedConv2D(6, 3), SelfGroupedDense(6)
    conv.build(x.shape)
    dense.build(x.shape)
    bits, labels = random_mask(8, 6)
    conv.set_groups(bits, labels)
    dense.set_weights([np.asarray(conv.kernel)[0, 0], *conv.get_weights()[1:]])
    names = ("kernel", "bias", "mask", "labels")
    arrays = dict(zip(names, conv.get_weights(), strict=True))
    np.savez(tmp_path / "in.npz", x=x, **arrays)
    script = tmp_path / "run.py"
    script.write_text(CODE)
    result = run_python(
        [script, tmp_path / "in.npz", tmp_path / "out.npz"],
        env={"KERAS_BACKEND": backend},
    )
    assert f"backend {backend}" in result.stdout
    found = dict(np.load(tmp_path / "out.npz"))
    np.testing.assert_allclose(found["conv"], conv(x), atol=1e-5)
    np.testing.assert_allclose(found["dense"], dense(x), atol=1e-5)
    cut = arrays["mask"] == 0
    np.testing.assert_array_equal(found["mask"], arrays["mask"])
    np.testing.assert_array_equal(
        found["trained"][:, :, cut], arrays["kernel"][:, :, cut]
    )
    assert np.abs(found["trained"] - arrays["kernel"]).max() > 0
