"""What a search removes is a plan as pruning makes them, where one can say it."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.pruning import PruningPlan, shrink
from keras_sda.search import (
    add_channel_gates,
    channel_gates,
    derive,
    remove_channel_gates,
)
from keras_sda.utils import InvalidInputError


def block(x, filters, name):
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
    return layers.ReLU()(layers.BatchNormalization(name=f"{name}_bn")(x))


def gated_network(residual):
    x = keras.Input((6, 6, 2))
    stem = block(x, 6, "stem")
    y = layers.Add(name="sum")([stem, block(block(stem, 5, "a"), 6, "b")])
    y = layers.GlobalAveragePooling2D()(block(y, 4, "last"))
    model = keras.Model(x, layers.Dense(3, name="classes")(y))
    gated = add_channel_gates(model, residual=residual)
    for gate in channel_gates(gated):
        numbers = np.arange(gate.channels) - (1.5 if "b_bn" in gate.name else 2.5)
        gate.s.assign(numbers if "stem" in gate.name else -numbers)
        gate.beta.assign(1e4)
    return gated


def test_shrink_makes_the_derived_network(tmp_path):
    gated = gated_network("joint")
    result = derive(gated)
    assert not result.silenced and not result.constants
    assert result.plan.remove["a"] == [3, 4]
    assert result.plan.remove["stem"] == result.plan.remove["b"]
    assert result.plan.expected["params"] == result.model.count_params()
    result.plan.save(tmp_path / "plan.json")
    plan = PruningPlan.load(tmp_path / "plan.json")
    small = shrink(remove_channel_gates(gated), plan)
    for one, other in zip(small.weights, result.model.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_terms_that_differ_are_no_plan_for_shrink():
    gated = gated_network("exact")
    plan = derive(gated).plan
    assert set(plan.channels) == {"stem", "a", "b", "last", "classes"}
    assert plan.remove["b"] == [2, 3, 4, 5] != plan.remove.get("stem")
    with pytest.raises(InvalidInputError, match="belong together"):
        shrink(remove_channel_gates(gated), plan)
