"""Budgets, rounding, floors and exclusions."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.zoo import conv, head

from keras_sda.graph import ChannelGraph
from keras_sda.layers import GroupedConv2D
from keras_sda.pruning import make_plan, shrink
from keras_sda.pruning.budget.mac_cost import MacCost
from keras_sda.pruning.budget.parameter_cost import ParameterCost
from keras_sda.pruning.budget.select_channels import select_channels
from keras_sda.utils import InvalidInputError


def network():
    x = keras.Input((8, 8, 3), name="x")
    y = conv(x, 24, name="a")
    y = conv(y, 40, name="b")
    y = layers.Activation("relu")(GroupedConv2D(32, 3, groups=4, name="g")(y))
    return keras.Model(x, head(conv(y, 16, name="c")))


@pytest.fixture(scope="module")
def graph():
    return ChannelGraph(network())


class Whole:
    """What there is, and what is left."""

    def __init__(self, graph):
        self._graph = graph
        self._costs = {"params": ParameterCost(graph), "macs": MacCost(graph)}
        self.params, self.macs = self.count(None)

    def count(self, removed):
        kept = self._graph.kept(removed)
        return tuple(cost.count(kept) for cost in self._costs.values())

    def targets(self, numbers):
        return [(self._costs[name], value) for name, value in numbers.items()]


def select(graph, targets, scores=None, **constraints):
    cost = Whole(graph)
    if scores is None:
        generator = np.random.default_rng(0)
        scores = [generator.uniform(size=g.num_channels) for g in graph.groups]
    removed = select_channels(graph, scores, cost.targets(targets), **constraints)
    kept = graph.kept(removed)
    widths = {
        name: kept.count(layer.made)
        for name, layer in graph.layers.items()
        if len(layer.made)
    }
    return widths, cost.count(removed)


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("share", [0.8, 0.5, 0.2])
def test_targets_are_met_and_hardly_missed(graph, scope, share):
    cost = Whole(graph)
    _, (params, macs) = select(graph, {"macs": share * cost.macs}, scope=scope)
    assert 0.75 * share < macs / cost.macs <= share
    _, (params, macs) = select(graph, {"params": share * cost.params}, scope=scope)
    assert 0.75 * share < params / cost.params <= share
    both = {"params": share * cost.params, "macs": 0.5 * cost.macs}
    _, (params, macs) = select(graph, both, scope=scope)
    assert params <= both["params"] and macs <= both["macs"]


def test_the_lowest_scores_go(graph):
    scores = [np.arange(1.0, g.num_channels + 1) for g in graph.groups]
    cost = Whole(graph)
    removed = select_channels(graph, scores, cost.targets({"macs": 0.6 * cost.macs}))
    for group in graph.groups:
        gone = removed[group.classes]
        assert gone.any() and gone[: gone.sum()].all()


def test_scopes():
    """Global takes from the group with the low scores, layer from each alike."""
    x = keras.Input((8,))
    y = layers.Dense(20, name="b")(layers.Dense(20, name="a")(x))
    graph = ChannelGraph(keras.Model(x, layers.Dense(2)(y)))
    half = {"params": 0.6 * Whole(graph).params}
    flat, steep = np.linspace(0.9, 1.1, 20), np.linspace(1.1, 0.9, 20)
    flat[:15] = 0.01
    widths, _ = select(graph, half, [flat, steep], scope="global")
    assert widths["a"] < 12 and widths["b"] == 20
    widths, _ = select(graph, half, [flat, steep], scope="layer")
    assert widths["a"] == widths["b"] < 20


def test_equal_scores_go_one_by_one(graph):
    """All scales of a new batch normalisation are one."""
    cost = Whole(graph)
    scores = [np.ones(g.num_channels) for g in graph.groups]
    _, (_, macs) = select(graph, {"macs": 0.5 * cost.macs}, scores)
    assert macs > 0.45 * cost.macs


@pytest.mark.parametrize("round_to", [4, 8])
def test_round_to(graph, round_to):
    target = {"macs": 0.5 * Whole(graph).macs}
    widths, _ = select(graph, target, round_to=round_to)
    assert all(widths[name] % round_to == 0 for name in "abgc")
    assert widths["g"] % 4 == 0


def test_round_to_keeps_layers_that_are_no_multiple(graph):
    widths, _ = select(graph, {"macs": 0.9 * Whole(graph).macs}, round_to=32)
    assert widths["a"] == 24 and widths["b"] in (32, 40)


def test_min_channels(graph):
    target = {"macs": 0.3 * Whole(graph).macs}
    widths, _ = select(graph, target, min_channels=12)
    assert min(widths[name] for name in "abgc") >= 12
    assert widths["g"] % 4 == 0


def test_exclude(graph):
    target = {"macs": 0.6 * Whole(graph).macs}
    widths, _ = select(graph, target, exclude=["b"])
    assert widths["b"] == 40 and widths["a"] < 24


@pytest.mark.parametrize(
    "constraints", [{}, {"min_channels": 8}, {"exclude": ["a", "b", "c"]}]
)
def test_an_impossible_target_says_the_floor(graph, constraints):
    cost = Whole(graph)
    with pytest.raises(InvalidInputError, match="cannot be reached") as error:
        select(graph, {"macs": 1.0}, **constraints)
    words = str(error.value).split("the floor is macs=")[1].split()
    floor = int(words[1].strip("().,").replace(",", ""))
    _, (_, macs) = select(graph, {"macs": floor}, **constraints)
    assert macs == floor
    assert float(words[0]) == pytest.approx(floor / cost.macs, abs=1e-3)


def test_the_plan_keeps_its_promise():
    model = network()
    plan = make_plan(model, macs=0.4, round_to=4, exclude="a")
    small = shrink(model, plan)
    assert "a" not in plan.remove
    assert small.count_params() == plan.expected["params"]
    assert small.get_layer("g").filters % 4 == 0
    assert plan.expected["macs"] <= 0.4 * plan.expected["macs_before"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "One of `macs`, `params` and `latency`"),
        ({"macs": 1.5}, "`macs` must be a share"),
        ({"macs": -0.5}, "`macs` must be a share"),
        ({"params": float("nan")}, "`params` must be a share"),
        ({"macs": 10**12}, "must not exceed"),
        ({"macs": 0.5, "importance": "best"}, "`importance` must be one of"),
        ({"macs": 0.5, "importance": "taylor"}, "data"),
        ({"macs": 0.5, "scope": "local"}, "`scope`"),
        ({"macs": 0.5, "round_to": 0}, "`round_to`"),
        ({"macs": 0.5, "min_channels": 2.0}, "`min_channels`"),
        ({"macs": 0.5, "exclude": ["nothing"]}, "`exclude` names"),
        ({"macs": 0.5, "importance": lambda group: np.ones(1)}, "one finite number"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        make_plan(network(), **arguments)


def test_weights_that_are_not_finite():
    model = network()
    model.get_layer("b").bias.assign(np.full(40, np.nan))
    with pytest.raises(InvalidInputError, match="not finite in 'b/bias'"):
        make_plan(model, macs=0.5)
