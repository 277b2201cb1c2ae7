"""The prediction is what the smaller model has."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.surgery_checks import random_plan
from pruning.zoo_structures import TOPOLOGIES

from keras_sda.analysis import profile
from keras_sda.graph import ChannelGraph
from keras_sda.pruning import make_plan, shrink
from keras_sda.pruning.budget.model_cost import ModelCost
from keras_sda.utils import InvalidInputError


def test_by_hand():
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, padding="same", name="a")(x)
    y = layers.BatchNormalization()(y)
    graph = ChannelGraph(keras.Model(x, layers.Conv2D(2, 1)(y)))
    cost = ModelCost(graph)
    assert cost.macs == 64 * (9 * 3 * 4 + 4 * 2)
    assert cost.params == 9 * 3 * 4 + 4 + 4 * 4 + 4 * 2 + 2
    removed = np.zeros(len(graph.units.pinned), bool)
    removed[graph.groups[0].classes[:3]] = True
    assert cost.count(removed) == (9 * 3 + 1 + 4 + 2 + 2, 64 * (9 * 3 + 2))


@pytest.mark.parametrize("name", ["depthwise_with_multiplier", "grouped", "separable"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_whole_model_and_the_small_one(name, seed):
    model = TOPOLOGIES[name]()
    graph = ChannelGraph(model)
    cost = ModelCost(graph)
    before = profile(model)
    assert (cost.params, cost.macs) == (before.params, before.macs)
    plan = random_plan(graph, seed)
    after = profile(shrink(model, plan))
    assert cost.count(plan.classes(graph)) == (after.params, after.macs)


def test_a_shared_layer_costs_its_weights_once():
    dense = layers.Dense(6)
    x = keras.Input((6,))
    graph = ChannelGraph(keras.Model(x, layers.Dense(2)(dense(dense(x)))))
    cost = ModelCost(graph)
    assert cost.params == 42 + 14 and cost.macs == 2 * 36 + 12


def test_open_sizes_need_an_input_shape():
    x = keras.Input((None, None, 3))
    y = layers.Conv2D(2, 1)(layers.Conv2D(4, 1)(x))
    model = keras.Model(x, y)
    for function in (lambda: ModelCost(ChannelGraph(model)), half(model)):
        with pytest.raises(InvalidInputError, match="input_shape"):
            function()
    assert ModelCost(ChannelGraph(model, (8, 8, 3))).macs == 64 * (12 + 8)
    plan = half(model, input_shape=(8, 8, 3))()
    assert plan.expected["macs"] == 64 * 10


def half(model, **arguments):
    return lambda: make_plan(model, macs=0.5, **arguments)
