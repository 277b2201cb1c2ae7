"""Kernels inside of layers are fitted where what they read can be had exactly."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.surgery_checks import flat_outputs, randomize

from keras_sda.graph import ChannelGraph, GraphRunner, remove_channels
from keras_sda.layers import (
    PackedConv2D,
    PackedDense,
    PyramidalConv2D,
    PyramidSplitAttention2D,
    SelectiveDepthAttention,
    SqueezeExcite2D,
)
from keras_sda.pruning import PruningPlan, prune, reconstruct, shrink
from keras_sda.pruning.refit.find_kernels import find_kernels
from keras_sda.pruning.refit.kernel_rows import kernel_rows


def repeat_half(layer):
    for variable in layer.weights:
        value = np.array(variable)
        value[..., 4:] = value[..., :4]
        variable.assign(value)


def repeat_depthwise(layer):
    value = np.array(layer.depthwise_kernel)
    value[..., 4:, :] = value[..., :4, :]
    layer.depthwise_kernel.assign(value)


def model_of(*readers):
    """The second half of the channels of a layer repeats the first."""
    x = keras.Input((6, 6, 3))
    writer = layers.Conv2D(8, 1, name="writer", activation="relu")
    y = writer(x)
    for reader in readers:
        y = reader(y)
    model = keras.Model(x, y)
    randomize(model)
    repeat_half(writer)
    if isinstance(model.layers[-1], layers.SeparableConv2D):
        repeat_depthwise(model.layers[-1])
    return model


def half_plan(model):
    graph = ChannelGraph(model)
    removed = np.zeros(len(graph.units.pinned), bool)
    removed[graph.units.classes[graph.layers["writer"].made[4:]]] = True
    return PruningPlan.from_classes(graph, removed)


def images_of(model, count=32):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(1).normal(size=shape).astype("float32")


READERS = {
    "separable": lambda: layers.SeparableConv2D(
        4, 3, padding="same", depth_multiplier=2, name="reader"
    ),
    "strided": lambda: layers.SeparableConv2D(4, 3, 2, name="reader", use_bias=False),
    "pyramid": lambda: PyramidalConv2D([4, 2], [1, 3], [1, 1], 2, name="reader"),
    "split": lambda: PyramidSplitAttention2D(8, (1, 3), (1, 1), name="reader"),
}


@pytest.mark.parametrize("name", READERS)
def test_what_is_redundant_costs_nothing(name):
    model = model_of(READERS[name]())
    plan, images = half_plan(model), images_of(model)
    small = reconstruct(model, plan, images, ridge=1e-7)
    expected = flat_outputs(model, images)[0]
    cut = flat_outputs(shrink(model, plan), images)[0]
    scale = np.abs(expected).max()
    assert np.abs(cut - expected).max() > 0.02 * scale
    np.testing.assert_allclose(
        flat_outputs(small, images)[0], expected, atol=1e-3 * scale
    )


def test_the_one_dimensional_form_in_one_pass():
    x = keras.Input((9, 3))
    y = layers.Conv1D(8, 1, name="writer")(x)
    model = keras.Model(x, layers.SeparableConv1D(4, 3, name="reader")(y))
    randomize(model)
    repeat_half(model.get_layer("writer"))
    repeat_depthwise(model.get_layer("reader"))
    images = images_of(model)
    small = reconstruct(model, half_plan(model), images, ridge=1e-7, sequential=False)
    np.testing.assert_allclose(
        flat_outputs(small, images)[0], flat_outputs(model, images)[0], atol=1e-3
    )


@pytest.mark.parametrize("kind", ["attention", "excite"])
def test_attention_layers_are_fitted_part_by_part(kind):
    def attend(y):
        if kind == "excite":
            return SqueezeExcite2D(4, name="reader")(y)
        z = layers.Conv2D(8, 1, name="next")(y)
        return SelectiveDepthAttention(name="reader")([y, layers.Add()([y, z])])

    model = model_of(attend, layers.Conv2D(3, 1, name="last"))
    images = images_of(model, 64)
    result = prune(model, macs=0.5, data=images, reconstruct=True)
    rows = {row.layer: row for row in result.report.refits}
    inner = [name for name in rows if name.startswith("reader/")]
    assert inner
    for name in inner:
        assert rows[name].error_after <= rows[name].error_before * (1 + 1e-6) + 1e-9
    expected = flat_outputs(model, images)[0]
    cut = flat_outputs(shrink(model, result.plan), images)[0]
    small = flat_outputs(result.model, images)[0]
    assert np.square(small - expected).mean() < np.square(cut - expected).mean()


def packed_model():
    x = keras.Input((6, 6, 3), name="x")
    y = layers.Conv2D(8, 1, name="first")(x)
    y = layers.Conv2D(6, 1, name="second", activation="relu")(y)
    y = PackedConv2D([[0, 2, 3], [], [4, 1]], [2, 1, 3], 3, [3, 0, 1, 2, 4, 5],
                     padding="same", name="packed")(y)  # fmt: skip
    y = layers.GlobalAveragePooling2D()(y)
    return keras.Model(x, PackedDense([[0, 5], [3, 1, 2]], [1, 2], name="top")(y))


def test_packed_kernels_mend_what_comes_before():
    model = packed_model()
    randomize(model)
    graph = ChannelGraph(model)
    removed = np.zeros(len(graph.units.pinned), bool)
    removed[graph.units.classes[graph.layers["first"].made[1:]]] = True
    plan = PruningPlan.from_classes(graph, removed)
    images = images_of(model, 64)
    small = reconstruct(model, plan, images)
    cut = shrink(model, plan)
    changed = [
        one.path
        for one, other in zip(small.weights, cut.weights, strict=True)
        if not np.array_equal(one, other)
    ]
    assert {path.split("/")[-2] for path in changed} == {"second", "packed", "top"}
    expected = flat_outputs(model, images)[0]
    errors = [
        np.square(flat_outputs(m, images)[0] - expected).sum() for m in (small, cut)
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize(
    "reader",
    [
        *READERS.values(),
        lambda: SqueezeExcite2D(4, name="reader"),
        lambda: PackedConv2D([[0, 2, 3], [4, 1]], [2, 3], 3, name="reader"),
        lambda: PackedDense([[0, 2, 3], [4, 1]], [2, 3], name="reader"),
    ],
)
def test_parts_say_what_their_kernels_are_multiplied_by(reader):
    """With other kernels the layer gives something else by just these rows."""
    model = model_of(reader())
    graph = ChannelGraph(model)
    removed = np.zeros(len(graph.units.pinned), bool)
    runner = GraphRunner(model)
    other = remove_channels(graph, removed)
    kernels, reasons = find_kernels(graph, removed, runner, GraphRunner(other))
    mine = [x for x in kernels if (x.owner or x.name) == "reader"]
    assert mine and not reasons
    values = runner.given(images_of(model, 2))
    for kernel in mine:
        read = kernel.whole_input(lambda n: runner.run(values, [n])[n])
        rows = kernel_rows(kernel.whole, read)
        size = int(np.prod(kernel.whole.kernel.shape[:-1]))
        assert rows.shape[1] == size * kernel.groups
        if not callable(getattr(kernel.whole, "build", None)):
            continue
        layer = kernel.whole
        kept = layer.activation
        layer.activation = keras.activations.linear
        made = np.asarray(keras.ops.convert_to_numpy(layer(read)))
        layer.activation = kept
        made = made.reshape(-1, made.shape[-1])
        product = rows @ np.array(layer.kernel).reshape(size, -1)
        if layer.use_bias:
            product = product + np.array(layer.bias)
        np.testing.assert_allclose(product, made, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_fitted_in_its_type(dtype):
    x = keras.Input((4,))
    y = layers.Dense(8, name="writer", dtype=dtype)(x)
    model = keras.Model(x, layers.Dense(3, name="last", dtype=dtype)(y))
    images = np.random.default_rng(1).normal(size=(64, 4)).astype("float32")
    result = prune(model, macs=0.6, data=images, reconstruct=True)
    assert all(v.dtype == dtype for v in result.model.weights)
    expected = flat_outputs(model, images)[0].astype("float32")
    cut, small = (
        flat_outputs(m, images)[0].astype("float32")
        for m in (shrink(model, result.plan), result.model)
    )
    assert np.square(small - expected).mean() < np.square(cut - expected).mean()


def test_a_kernel_with_lora_stays():
    x = keras.Input((4,))
    y = layers.Dense(8, name="first")(x)
    y = layers.Dense(6, name="second", use_bias=False)(y)
    tuned = layers.Dense(5, name="tuned")
    model = keras.Model(x, layers.Dense(2, name="last")(tuned(y)))
    randomize(model)
    tuned.enable_lora(2)
    images = np.random.default_rng(1).normal(size=(32, 4)).astype("float32")
    result = prune(model, params=0.8, data=images, importance="l1", reconstruct=True)
    assert {row.layer for row in result.report.refits} <= {"second", "last"}
    kept = result.model.get_layer("tuned")
    for one, other in zip(kept.weights[:2], tuned.weights[:2], strict=True):
        np.testing.assert_array_equal(one, other)
