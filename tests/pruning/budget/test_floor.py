"""No layer is emptied: a floor per group, and groups that save next to nothing."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.graph import ChannelGraph
from keras_sda.pruning import Criterion, PruningPlan, make_plan, prune
from keras_sda.pruning.budget.group_savings import group_savings, small_groups
from keras_sda.pruning.budget.mac_cost import MacCost
from keras_sda.pruning.budget.parameter_cost import ParameterCost
from keras_sda.utils import InvalidInputError


class Low(Criterion):
    """Scores as they are: those of some layers are near zero."""

    name = "low"
    relative = False

    def __init__(self, *layers):
        self.layers = layers

    def score(self, group, statistics):
        scale = 1e-3 if set(group.writers) & set(self.layers) else 1.0
        return scale * np.arange(1, 1 + group.num_channels)


def three():
    x = keras.Input((8,))
    y = layers.Dense(20, name="b")(layers.Dense(20, name="a")(x))
    return keras.Model(x, layers.Dense(4, name="out")(y))


def kept(plan, name):
    return plan.channels[name] - len(plan.remove.get(name, ()))


def test_a_floor_keeps_a_share_of_every_group(tmp_path):
    model = three()
    low = {"params": 0.3, "importance": Low("a")}
    plan = make_plan(model, **low)
    assert kept(plan, "a") == 3 and "floor" not in plan.settings
    plan = make_plan(model, **low, floor=0.31)
    assert kept(plan, "a") == 7 and 7 <= kept(plan, "b") < 20
    assert plan.expected["params"] <= 0.3 * plan.expected["params_before"]
    assert plan.settings["floor"] == 0.31 and not plan.warnings
    assert kept(make_plan(model, **low, floor=0.31, round_to=4), "a") == 8
    assert make_plan(model, params=0.5, floor=0.0) == make_plan(model, params=0.5)
    # Lowered for all alike where it stands in the way, and named.
    plan = make_plan(model, **low, floor=0.5)
    assert plan.expected["params"] <= 0.3 * plan.expected["params_before"]
    assert 3 < kept(plan, "a") < 10 and 3 < kept(plan, "b") < 10
    (text,) = plan.warnings
    assert "floor=0.5" in text and "'a', 'b'" in text
    plan.save(tmp_path / "plan.json")
    assert PruningPlan.load(tmp_path / "plan.json").warnings == (text,)
    result = prune(model, params=0.2, steps=2, importance=Low("a"), floor=0.6)
    assert any("floor=0.6" in line for line in result.report.warnings)


def test_the_hard_floor_stays():
    with pytest.raises(InvalidInputError, match="the floor is params="):
        make_plan(three(), params=0.05, floor=0.5, min_channels=6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"floor": 1.0}, "`floor` must be the share"),
        ({"floor": "0.5"}, "`floor` must be the share"),
        ({"floor": 0.5, "scope": "layer"}, "`floor` would not be looked at"),
    ],
)
def test_bad_floors(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        make_plan(three(), params=0.5, **arguments)


def wide_head():
    """Convolutions that work, and two wide dense layers that take no time."""
    x = keras.Input((16, 16, 3))
    y = layers.Conv2D(16, 3, name="conv1")(x)
    y = layers.Conv2D(16, 3, name="conv2")(y)
    y = layers.Conv2D(32, 3, name="conv3")(y)
    y = layers.GlobalAveragePooling2D()(y)
    y = layers.Dense(64, activation="relu", name="dense1")(y)
    y = layers.Dense(32, activation="relu", name="dense2")(y)
    return keras.Model(x, layers.Dense(10, name="classes")(y))


def test_what_saves_next_to_nothing_is_left_alone():
    model = wide_head()
    graph = ChannelGraph(model)
    names = [group.writers[0] for group in graph.groups]
    macs, params = (MacCost(graph), 0), (ParameterCost(graph), 0)
    found = {names[k] for k in small_groups(graph, [macs])}
    assert found == {"dense1", "dense2"}
    assert small_groups(graph, [macs, params]) == [] == small_groups(graph, [])
    savings = dict(zip(names, group_savings(graph, [macs])[0], strict=True))
    assert savings["dense1"] < 0.02 < 0.3 < savings["conv3"]

    low = Low("dense1", "dense2")
    plan = make_plan(model, macs=0.9, importance=low)
    assert not set(plan.remove) & {"dense1", "dense2"}
    assert plan.expected["macs"] <= 0.9 * plan.expected["macs_before"]
    # Among those that save parameters they are cut as their scores say.
    assert kept(make_plan(model, params=0.9, importance=low), "dense1") < 64
    # They go after all others where nothing else is left.
    plan = make_plan(model, macs=0.011, importance=low)
    assert kept(plan, "conv3") == 1 and "dense1" in plan.remove
    # Scores relative to their group are compared as before.
    low.relative = True
    assert make_plan(model, macs=0.9, importance=low).remove["dense1"]
