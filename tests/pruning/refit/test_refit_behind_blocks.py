"""What stands behind the blocks that a plan takes makes up for them."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.blocks.block_networks import NETWORKS
from pruning.surgery_checks import flat_outputs, random_inputs, randomize

from keras_sda.graph import ChannelGraph
from keras_sda.pruning import make_plan, reconstruct, removable_blocks, shrink


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
