"""Plans are stored, replayed weight for weight, and refused where they do not fit."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from keras import layers
from pruning.surgery_checks import random_plan, randomize
from pruning.zoo import conv, head
from pruning.zoo_structures import TOPOLOGIES

from keras_sda.graph import ChannelGraph
from keras_sda.pruning import Criterion, PruningPlan, make_plan, mask, prune, shrink
from keras_sda.utils import InvalidInputError


def network(filters=8, name="network"):
    x = keras.Input((8, 8, 3), name="x")
    a = conv(x, filters, name="a")
    y = layers.Add()([a, conv(conv(a, 6, name="b"), filters, name="c")])
    return keras.Model(x, head(y), name=name)


REPLAY = """
import sys
import keras, numpy as np
from keras_sda.pruning import Criterion, PruningPlan, shrink
folder = sys.argv[1]
model = keras.saving.load_model(folder + "/model.keras")
small = shrink(model, PruningPlan.load(folder + "/plan.json"))
np.savez(folder + "/weights.npz", *small.get_weights())
"""


def test_replay_in_another_process_gives_the_same_weights(tmp_path, run_python):
    model = network()
    randomize(model)
    plan = make_plan(model, macs=0.5)
    plan.save(tmp_path / "plan.json")
    model.save(tmp_path / "model.keras")
    program = tmp_path / "replay.py"
    program.write_text(REPLAY)
    run_python([program, tmp_path])
    expected = shrink(model, plan).get_weights()
    received = np.load(tmp_path / "weights.npz")
    assert len(received.files) == len(expected)
    for name, value in zip(received.files, expected, strict=True):
        np.testing.assert_array_equal(received[name], value)


def test_a_plan_is_readable_and_comes_back(tmp_path):
    plan = make_plan(network(), params=0.6, importance="l2")
    path = tmp_path / "plan.json"
    plan.save(path)
    assert PruningPlan.load(path) == plan
    text = path.read_text()
    content = json.loads(text)
    assert content["model"] == "network"
    assert content["channels"] == {"a": 8, "b": 6, "c": 8, "predictions": 3}
    assert content["remove"]["a"] == content["remove"]["c"]
    assert content["settings"]["importance"] == "l2"
    # One line per layer, so that two plans can be compared with diff.
    assert f'"a": {content["remove"]["a"]}' in text
    assert plan.expected["params"] == shrink(network(), plan).count_params()


@pytest.mark.parametrize("name", ["grouped", "split_res2net", "nested_shared"])
def test_classes_come_back(name):
    graph = ChannelGraph(TOPOLOGIES[name]())
    plan = random_plan(graph, seed=5)
    again = PruningPlan.from_classes(graph, plan.classes(graph))
    assert again.remove == plan.remove


@pytest.mark.parametrize(
    "other, message",
    [
        (lambda: network(filters=10), "layer 'a' has 8 channels; in .* it has 10"),
        (lambda: TOPOLOGIES["residual"](), "made for model 'network' and names 3"),
    ],
)
@pytest.mark.parametrize("function", [mask, shrink])
def test_a_plan_of_another_model_is_refused(function, other, message):
    plan = make_plan(network(), macs=0.5)
    with pytest.raises(InvalidInputError, match=message):
        function(other(), plan)


def changed(plan, **remove):
    return dataclasses.replace(plan, remove={**plan.remove, **remove})


@pytest.mark.parametrize(
    "remove, message",
    [
        ({"a": [0, 1], "c": [0]}, r"keeps channels \[1\] of layer 'c'"),
        ({"b": [6]}, r"removes channels \[6\] of layer 'b', which has 6"),
        ({"b": list(range(6))}, "removes all channels of layer 'b'"),
        ({"predictions": [0]}, "cannot be removed: it is an output"),
    ],
)
def test_edited_plans_are_checked(remove, message):
    model = network()
    plan = dataclasses.replace(make_plan(model, macs=0.5), remove={})
    with pytest.raises(InvalidInputError, match=message):
        shrink(model, changed(plan, **remove))


def test_no_part_of_a_split_may_become_empty():
    model = TOPOLOGIES["split_swapped"]()
    (name, _), *_ = ChannelGraph(model).layers.items()
    plan = random_plan(ChannelGraph(model))
    plan = dataclasses.replace(plan, remove={name: [0, 1]})
    with pytest.raises(InvalidInputError, match="removes all channels that layer"):
        shrink(model, plan)


def test_an_empty_plan_changes_nothing():
    model = network()
    plan = dataclasses.replace(make_plan(model, macs=0.5), remove={})
    for value, other in zip(
        shrink(model, plan).get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(value, other)


FORMAT = '{"format": "keras_sda pruning plan, version 1", "model": "m", '


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", r"plan\.json is damaged \(Expecting property name"),
        ("[]", "no pruning plan of this version"),
        ('{"format": "other"}', "no pruning plan of this version"),
        (FORMAT + '"channels": {}}', "damaged pruning plan"),
        (FORMAT + '"channels": {}, "remove": {}, "more": 1}', "damaged"),
        (FORMAT + '"channels": {"a": 4}, "remove": {"a": [4]}}', "do not exist"),
        (
            FORMAT + '"channels": {"a": 4}, "remove": {"a": [1.5]}}',
            r"remove\.a\[0\] must be int, not 1\.5",
        ),
        (FORMAT + '"channels": {"a": 4}, "remove": {"a": 1}}', "damaged"),
        (FORMAT + '"channels": {"a": 4}, "remove": {"b": [1]}}', "damaged"),
        (FORMAT + '"channels": [], "remove": [1]}', "damaged"),
    ],
)
def test_damaged_files_are_refused(tmp_path, text, message):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        PruningPlan.load(path)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(OSError):
        PruningPlan.load(tmp_path / "missing.json")


def test_layers_that_keep_hardly_any_channels_are_named(caplog):
    """In the plan, in the report, and before anybody trains what is left."""
    x = keras.Input((8,))
    y = layers.Dense(30, name="wide")(x)
    y = layers.Dense(20, name="narrow")(layers.ReLU()(y))
    model = keras.Model(x, layers.Dense(4, name="classes")(y))

    def first_of_wide(group):
        return np.arange(group.num_channels) + 100 * (group.writers != ("wide",))

    def cut(kept):
        caplog.clear()
        left = 8 * kept + kept + 20 * kept + 20 + 84
        with caplog.at_level("WARNING"):
            result = prune(
                model, params=left, importance=Ordered(first_of_wide), steps=1
            )
        assert len(result.plan.remove["wide"]) == 30 - kept
        lines = [line for line in caplog.messages if "less than 10%" in line]
        return result, lines

    result, lines = cut(3)
    assert not lines and not result.plan.warnings and not result.report.warnings
    result, (line,) = cut(2)
    (text,) = result.plan.warnings
    assert "'wide' (2 of 30)" in text and "narrow" not in text
    assert result.report.warnings == (text,) and text in line
    assert f"warning: {text}" in result.report.to_text()


class Ordered(Criterion):
    """Scores that can be compared between groups."""

    name = "ordered"
    relative = False

    def __init__(self, function):
        self.function = function

    def score(self, group, statistics):
        return self.function(group)
