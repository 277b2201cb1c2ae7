"""Latency targets. Times of a busy machine prove nothing, so most are made up."""

import keras
import numpy as np
import pytest

from keras_sda.analysis import profile
from keras_sda.analysis.latency.layer_timer import LayerTimer, timeable_calls
from keras_sda.graph import ChannelGraph
from keras_sda.pruning import CRITERIA, make_plan, prune
from keras_sda.pruning.budget import step_targets
from keras_sda.pruning.budget.layer_latency import LayerLatency
from keras_sda.pruning.budget.mac_cost import MacCost
from keras_sda.pruning.budget.meet_latency import meet_latency
from keras_sda.pruning.budget.parameter_cost import ParameterCost
from keras_sda.utils import InvalidInputError

layers = keras.layers


def network():
    x = keras.Input((16, 16, 3))
    y = layers.Conv2D(32, 3, padding="same", name="a")(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.Conv2D(48, 3, padding="same", name="b")(y)
    y = layers.Conv2D(48, 3, padding="same", groups=4, name="grouped")(y)
    y = layers.GlobalAveragePooling2D()(layers.ReLU()(y))
    return keras.Model(x, layers.Dense(10, name="out")(y))


@pytest.fixture(scope="module")
def graph():
    keras.utils.set_random_seed(0)
    return ChannelGraph(network())


def macs_share(graph, removed):
    cost = MacCost(graph)
    return cost.count(graph.kept(removed)) / cost.count(graph.kept())


class Clock:
    """A machine on which a model takes a fixed time and some per parameter."""

    def __init__(self, monkeypatch, fixed=0.2, power=1.0):
        self.fixed, self.power, self.rounds = fixed, power, []
        clock = self

        class Timing:
            def __init__(self, graph, batch_size):
                self.graph = graph
                self.whole_ms = 8.0

            def ratio(self, removed):
                share = macs_share(self.graph, removed)
                ratio = clock.fixed + (1 - clock.fixed) * share**clock.power
                clock.rounds.append(ratio)
                return ratio

        module = meet_latency.__globals__
        monkeypatch.setitem(module, "_Timing", Timing)
        monkeypatch.setitem(module, "LayerLatency", Tables)


class Tables:
    """Predicts from multiply-accumulates alone, as if nothing else took time."""

    name = "latency"

    def __init__(self, graph, *arguments):
        self.cost = MacCost(graph)

    def count(self, kept):
        return self.cost.count(kept)


@pytest.mark.parametrize("fixed, power", [(0.0, 1.0), (0.3, 1.0), (0.1, 0.5), (0, 2.0)])
def test_corrects_until_the_measured_time_fits(graph, monkeypatch, fixed, power):
    clock = Clock(monkeypatch, fixed, power)
    scores = [CRITERIA["l1"].score(group, {}) for group in graph.groups]
    for target in (0.8, 0.5, 0.4):
        removed = meet_latency(graph, scores, target)
        share = macs_share(graph, removed)
        ratio = fixed + (1 - fixed) * share**power
        assert 0.9 * target <= ratio <= 1.02 * target
    assert len(clock.rounds) <= 3 * 6


def test_other_targets_are_met_as_well(graph, monkeypatch):
    Clock(monkeypatch, fixed=0)
    scores = [CRITERIA["l1"].score(group, {}) for group in graph.groups]
    cost = ParameterCost(graph)
    most = 0.2 * cost.count(graph.kept())
    removed = meet_latency(graph, scores, 0.7, [(cost, most)], round_to=4)
    assert cost.count(graph.kept(removed)) <= most
    plan = make_plan(graph.model, latency=0.6, macs=0.8, graph=graph)
    assert plan.expected["macs"] <= 0.62 * plan.expected["macs_before"]
    assert plan.settings["latency"] == 0.6


def test_milliseconds(graph, monkeypatch):
    clock = Clock(monkeypatch, fixed=0)
    prune(graph.model, latency=4.0)
    assert 0.45 <= clock.rounds[-1] <= 0.51


def test_latency_in_steps(graph, monkeypatch):
    """The steps add up to the target, which is about the original model."""
    import types

    Clock(monkeypatch, fixed=0)
    whole = profile(graph.model).macs

    def compare(models, batch_size, num_runs):
        ratios = {name: profile(m).macs / whole for name, m in models.items()}
        return types.SimpleNamespace(
            ratios=ratios,
            results={"whole": types.SimpleNamespace(median_ms=8.0)},
        )

    monkeypatch.setattr(step_targets, "compare_latency", compare)
    for target in (0.5, 4.0):
        result = prune(graph.model, latency=target, steps=2)
        assert 0.44 * whole < result.report.macs_after <= 0.51 * whole
        assert len(result.plans) == 2


def test_impossible_targets_name_the_floor(graph, monkeypatch):
    Clock(monkeypatch, fixed=0.5)
    with pytest.raises(InvalidInputError, match="floor was measured as latency=0.5"):
        prune(graph.model, latency=0.3)
    with pytest.raises(InvalidInputError, match="takes 8.00 ms"):
        prune(graph.model, latency=9.0)
    with pytest.raises(InvalidInputError, match="the floor is macs"):
        prune(graph.model, latency=0.9, macs=1e-4)
    with pytest.raises(InvalidInputError, match="batch_size"):
        prune(graph.model, latency=0.9, batch_size=0)
    with pytest.raises(InvalidInputError, match="positive number"):
        prune(graph.model, latency=-1)


def test_tables_fall_with_the_width(graph):
    tables = LayerLatency(graph, total_ms=5.0, batch_size=2)
    assert tables.num_measured == tables.num_layers == 5
    shares = []
    for part in (0, 0.25, 0.5, 0.75):
        removed = np.zeros(len(graph.units.pinned), bool)
        for group in graph.groups:
            removed[group.classes[: int(part * group.num_channels)]] = True
        whole = tables.count(graph.kept())
        shares.append(tables.count(graph.kept(removed)) / whole)
    assert shares[0] == 1.0
    assert all(a >= b > 0 for a, b in zip(shares, shares[1:], strict=False))


def test_tables_without_time_to_measure(graph):
    tables = LayerLatency(graph, total_ms=5.0, seconds=0.0)
    assert tables.num_measured == 0 and tables.num_layers == 5
    removed = np.zeros(len(graph.units.pinned), bool)
    removed[graph.groups[0].classes[:16]] = True
    share = tables.count(graph.kept(removed)) / tables.count(graph.kept())
    assert 0.1 < share < 1


def test_timer_measures_equal_layers_once(monkeypatch):
    x = keras.Input((8, 8, 4))
    y = x
    for _ in range(3):
        y = layers.Conv2D(4, 3, padding="same")(y)
    model = keras.Model(x, layers.Conv2D(6, 3)(y))
    timer = LayerTimer(num_runs=1)
    counted = []
    original = LayerTimer._measure
    monkeypatch.setattr(
        LayerTimer,
        "_measure",
        lambda self, *a: counted.append(a) or original(self, *a),
    )
    times = timer.times_ms(model)
    assert len(times) == 4 and len(counted) == 2
    assert len(timeable_calls(model)) == 4
    assert timer.times_ms(model) == times and len(counted) == 2


def test_a_real_target_on_this_machine(graph):
    """The whole way with the real clock; how exact it is, is for the benchmark."""
    result = prune(graph.model, latency=0.8, batch_size=8, report_latency=True)
    assert result.report.macs_after < result.report.macs_before
    assert result.report.latency["batch_size"] == 8
    assert 0 < result.report.latency["ratio"] < 1.2
