"""What stays makes up for the blocks that a plan takes."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.blocks.block_networks import NETWORKS
from pruning.surgery_checks import flat_outputs, random_inputs, randomize

from keras_sda.graph import ChannelGraph, GraphRunner, remove_channels
from keras_sda.pruning import make_plan, reconstruct, removable_blocks, shrink
from keras_sda.pruning.refit.find_kernels import find_kernels
from keras_sda.pruning.refit.stream_ends import stream_ends


def error(model, inputs, expected):
    pairs = zip(flat_outputs(model, inputs), expected, strict=True)
    return sum(float(np.square(one - other).sum()) for one, other in pairs)


@pytest.mark.parametrize("name, macs", [("with_normalization", 0.8), ("nested", None)])
def test_the_whole_model_is_what_is_aimed_at(name, macs):
    model = NETWORKS[name]()
    randomize(model)
    inputs = random_inputs(model, batch_size=24)
    expected = flat_outputs(model, inputs)
    block = removable_blocks(model)[0].name
    plan = make_plan(model, macs=macs, blocks=[block])
    small = reconstruct(model, plan, inputs)
    cut = shrink(model, plan)
    assert [x.name for x in small.layers] == [x.name for x in cut.layers]
    assert error(small, inputs, expected) < 0.1 * error(cut, inputs, expected)


def test_removed_channels_alone_are_predicted_without_the_block():
    model = NETWORKS["without_normalization"]()
    randomize(model)
    inputs = random_inputs(model, batch_size=24)
    plan = make_plan(model, blocks=[removable_blocks(model)[0].name])
    small = reconstruct(model, plan, inputs, sequential=False)
    for one, other in zip(
        flat_outputs(small, inputs),
        flat_outputs(shrink(model, plan), inputs),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def linear(activation=None):
    """Two linear blocks on a stream, which one of them can stand in for."""
    x = keras.Input((6,), name="x")
    y = layers.Dense(6, name="stem")(x)
    if activation:
        y = layers.ReLU(name="stem_relu")(y)
    for name in ("a", "b"):
        z = layers.Dense(6, name=f"{name}_dense")(y)
        z = layers.BatchNormalization(name=f"{name}_bn")(z)
        y = layers.Add(name=f"{name}_add")([y, layers.Dropout(0.5)(z)])
        if activation:
            y = layers.ReLU(name=f"{name}_relu")(y)
    return keras.Model(x, layers.Dense(3, name="top")(y))


def ends_of(model, block):
    plan = make_plan(model, blocks=[block])
    graph, removed = plan.applied(model)
    small = GraphRunner(remove_channels(graph, removed))
    whole = GraphRunner(model)
    kernels, _ = find_kernels(graph, removed, GraphRunner(graph.model), small)
    found = stream_ends(kernels, small, whole)
    made = {n: call.name for call in whole.calls for n in call.outputs}
    return {name: made[end.whole] for name, end in found.items()}


@pytest.mark.parametrize("activation", [None, "relu"])
def test_kernels_before_a_block_aim_behind_it(activation):
    model = linear(activation)
    assert ends_of(model, "b_add") == {"a_dense": "b_add"}
    # Nothing is added to the stem, which then has to be what the first sum was.
    assert ends_of(model, "a_add") == {"stem": "a_add", "b_dense": "b_add"}


def test_what_is_linear_is_made_up_for_in_full():
    model = linear()
    randomize(model)
    images = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    expected = flat_outputs(model, images)
    for block in ("a_add", "b_add"):
        plan = make_plan(model, blocks=[block])
        assert error(shrink(model, plan), images, expected) > 1.0
        assert error(reconstruct(model, plan, images), images, expected) < 1e-4


def test_channels_that_do_not_arrive_are_left_alone():
    model = linear()
    randomize(model)
    model.get_layer("a_bn").gamma.assign([1.0, 0.0, 1.0, 1e-9, 1.0, 1.0])
    images = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    plan = make_plan(model, blocks=["b_add"])
    small, cut = reconstruct(model, plan, images), shrink(model, plan)
    kernel, old = (np.array(m.get_layer("a_dense").kernel) for m in (small, cut))
    np.testing.assert_allclose(kernel[:, [1, 3]], old[:, [1, 3]], atol=1e-4)
    assert np.isfinite(kernel).all() and np.abs(kernel - old).max() > 0.1


def test_a_layer_that_a_block_also_calls_is_corrected_for_its_channels_alone():
    x = keras.Input((6,), name="x")
    shared = layers.Dense(6, name="shared")
    y = layers.Dense(6, name="stem")(x)
    y = layers.Add(name="sum")([y, layers.Dense(6, name="end")(shared(y))])
    model = keras.Model(x, layers.Dense(3, name="top")(shared(layers.ReLU()(y))))
    randomize(model)
    images = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
    plan = make_plan(model, blocks=["sum"])
    small = reconstruct(model, plan, images)
    graph = ChannelGraph(model)
    assert set(graph.layers) > {"shared", "end"}
    for one, other in zip(
        small.get_layer("shared").weights,
        shrink(model, plan).get_layer("shared").weights,
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    assert error(small, images, flat_outputs(model, images)) < error(
        shrink(model, plan), images, flat_outputs(model, images)
    )
