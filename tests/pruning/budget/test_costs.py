"""The prediction is what the smaller model has."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.surgery_checks import random_plan
from pruning.zoo_structures import TOPOLOGIES

from keras_sda.analysis import profile
from keras_sda.graph import ChannelGraph
from keras_sda.pruning import Cost, PruningPlan, make_plan, prune, shrink
from keras_sda.pruning.budget.bit_cost import BitCost
from keras_sda.pruning.budget.mac_cost import MacCost
from keras_sda.pruning.budget.parameter_cost import ParameterCost
from keras_sda.utils import InvalidInputError


def counts(graph, removed=None):
    """Parameters and multiply-accumulates."""
    kept = graph.kept(removed)
    return ParameterCost(graph).count(kept), MacCost(graph).count(kept)


def test_by_hand():
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, padding="same", name="a")(x)
    y = layers.BatchNormalization()(y)
    graph = ChannelGraph(keras.Model(x, layers.Conv2D(2, 1)(y)))
    assert counts(graph) == (
        9 * 3 * 4 + 4 + 4 * 4 + 4 * 2 + 2,
        64 * (9 * 3 * 4 + 4 * 2),
    )
    removed = np.zeros(len(graph.units.pinned), bool)
    removed[graph.groups[0].classes[:3]] = True
    assert counts(graph, removed) == (9 * 3 + 1 + 4 + 2 + 2, 64 * (9 * 3 + 2))


@pytest.mark.parametrize("name", ["depthwise_with_multiplier", "grouped", "separable"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_whole_model_and_the_small_one(name, seed):
    model = TOPOLOGIES[name]()
    graph = ChannelGraph(model)
    before = profile(model)
    assert counts(graph) == (before.params, before.macs)
    plan = random_plan(graph, seed)
    after = profile(shrink(model, plan))
    assert counts(graph, plan.classes(graph)) == (after.params, after.macs)


def test_a_shared_layer_costs_its_weights_once():
    dense = layers.Dense(6)
    x = keras.Input((6,))
    graph = ChannelGraph(keras.Model(x, layers.Dense(2)(dense(dense(x)))))
    assert counts(graph) == (42 + 14, 2 * 36 + 12)


def test_open_sizes_need_an_input_shape():
    x = keras.Input((None, None, 3))
    y = layers.Conv2D(2, 1)(layers.Conv2D(4, 1)(x))
    model = keras.Model(x, y)
    for function in (lambda: counts(ChannelGraph(model)), half(model)):
        with pytest.raises(InvalidInputError, match="input_shape"):
            function()
    assert counts(ChannelGraph(model, (8, 8, 3)))[1] == 64 * (12 + 8)
    plan = half(model, input_shape=(8, 8, 3))()
    assert plan.expected["macs"] == 64 * 10


def half(model, **arguments):
    return lambda: make_plan(model, macs=0.5, **arguments)


class Lookup:
    """Times of layers by their width, as somebody may have measured them elsewhere."""

    name = "phone_ms"

    def __init__(self, tables):
        self.tables = tables

    def count(self, kept):
        return sum(times[kept.channels(name)] for name, times in self.tables.items())


def looked_up():
    x = keras.Input((8,))
    y = layers.Dense(6, name="a")(x)
    y = layers.Dense(6, name="b")(y)
    model = keras.Model(x, layers.Dense(2)(y))
    # Only the even widths of `a` save anything, and nothing that `b` loses.
    steps = np.array([0, 1, 1, 2, 2, 3, 3]) / 2
    return model, Lookup({"a": steps, "b": np.full(7, 0.25)})


def test_a_cost_of_ones_own(tmp_path):
    model, cost = looked_up()
    assert isinstance(cost, Cost)
    plan = make_plan(model, budget=[(cost, 0.75)])
    assert plan.expected["phone_ms_before"] == 1.75
    assert plan.expected["phone_ms"] == 1.25 <= 0.75 * 1.75
    assert len(plan.remove["a"]) == 2 and plan.settings["budget"] == {"phone_ms": 0.75}
    plan.save(tmp_path / "plan.json")
    assert PruningPlan.load(tmp_path / "plan.json") == plan
    assert shrink(model, plan).get_layer("a").units == 4
    plan = make_plan(model, budget=[(cost, 1.25)], macs=0.4)  # in its own unit
    assert plan.expected["phone_ms"] <= 1.25
    assert plan.expected["macs"] <= 0.4 * plan.expected["macs_before"]


def test_a_cost_of_ones_own_in_steps():
    model, cost = looked_up()
    for target in (0.6, 0.8):
        result = prune(model, budget=[(cost, target)], steps=2)
        left = result.plan.expected["phone_ms"]
        assert left <= (target * 1.75 if target < 0.7 else 1.4)
        assert result.plan.settings["budget"] == {"phone_ms": target}
        assert result.plan.expected["phone_ms_before"] == 1.75
        assert result.report.settings["budget"] == {"phone_ms": target}


def test_costs_that_cannot_be_used():
    model, cost = looked_up()

    def fails(match, budget):
        for function in (make_plan, prune):
            with pytest.raises(InvalidInputError, match=match):
                function(model, budget=budget)

    fails(r"the floor is phone_ms=0.429 \(0.75\)", [(cost, 0.3)])
    fails("must not exceed what the model has", [(cost, 2.0)])
    fails("`phone_ms` must be a share", [(cost, -1)])
    fails("`budget` must be a list of pairs", cost)
    fails("`budget` must be a list of pairs", [cost])
    fails("`budget` must be a list of pairs", [("macs", 0.5)])
    fails("of their own", [(cost, 0.5), (cost, 0.6)])
    fails("must return a finite number", [(Lookup({"a": [np.nan] * 7}), 0.5)])
    fails("of their own", [(MacCost(ChannelGraph(model)), 0.5)])


def test_bits():
    model, _ = looked_up()
    graph = ChannelGraph(model)
    removed = np.zeros(len(graph.units.pinned), bool)
    removed[graph.groups[0].classes[:3]] = True
    kept, params = graph.kept(removed), ParameterCost(graph)
    assert BitCost(graph).count(kept) == 32 * params.count(kept)
    assert BitCost(graph, 4).count(kept) == 4 * params.count(kept)
    mixed = BitCost(graph, {"a": 2})
    assert mixed.count(kept) == 32 * params.count(kept) - 30 * 9 * 3
    with pytest.raises(InvalidInputError, match="`bits` names .*'nothing'"):
        BitCost(graph, {"nothing": 2})
    plan = make_plan(model, budget=[(mixed, 0.5)], graph=graph)
    assert plan.expected["bits"] <= 0.5 * plan.expected["bits_before"]
