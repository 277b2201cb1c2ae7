"""Plans that take whole blocks: made, saved, replayed, joined over steps."""

import dataclasses

import keras
import numpy as np
import pytest
from pruning.blocks.block_networks import NETWORKS
from pruning.surgery_checks import (
    assert_outputs_close,
    flat_outputs,
    random_inputs,
    randomize,
)

from keras_sda.analysis import profile
from keras_sda.graph import ChannelGraph
from keras_sda.pruning import (
    PruningPlan,
    block_importance,
    make_plan,
    mask,
    prune,
    remove_blocks,
    shrink,
)
from keras_sda.pruning.budget.bit_cost import BitCost
from keras_sda.utils import InvalidInputError


@pytest.fixture
def model():
    made = NETWORKS["with_normalization"]()
    randomize(made)
    return made


def data_of(model):
    images = random_inputs(model, batch_size=6)
    return images, np.array([0, 1, 2, 0, 1, 2])


LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def test_blocks_alone(model):
    plan = make_plan(model, blocks=["a"])
    assert plan.blocks == ("a",) and plan.remove == {}
    small, expected = shrink(model, plan), remove_blocks(model, ["a"])
    inputs = random_inputs(model)
    assert_outputs_close(
        flat_outputs(small, inputs), flat_outputs(expected, inputs), 1e-6
    )
    counted = profile(small)
    assert plan.expected["macs"] == counted.macs < plan.expected["macs_before"]
    assert plan.expected["params"] == counted.params == small.count_params()
    assert plan.expected["params_before"] == model.count_params()


def test_blocks_and_channels(model, tmp_path):
    plan = make_plan(model, macs=0.5, blocks=["b"])
    assert plan.expected["macs"] <= 0.5 * plan.expected["macs_before"]
    assert plan.remove and "b2" not in plan.remove and "b2" in plan.channels
    small = shrink(model, plan)
    assert profile(small).macs == plan.expected["macs"]
    assert "b2" not in [layer.name for layer in small.layers]
    inputs = random_inputs(model)
    received = flat_outputs(small, inputs)
    assert_outputs_close(received, flat_outputs(mask(model, plan), inputs), 1e-5)
    plan.save(tmp_path / "plan.json")
    loaded = PruningPlan.load(tmp_path / "plan.json")
    assert loaded == plan
    assert_outputs_close(flat_outputs(shrink(model, loaded), inputs), received, 1e-6)


def test_blocks_may_be_all_that_a_target_needs(model):
    first = make_plan(model, blocks=["a", "b"])
    share = first.expected["macs"] / first.expected["macs_before"]
    plan = make_plan(model, macs=share + 0.01, params=1.0, blocks=["a", "b"])
    assert plan.remove == {}


def test_a_plan_without_blocks_is_written_as_before(model, tmp_path):
    plan = make_plan(model, macs=0.7)
    assert plan.blocks == () and "blocks" not in plan.to_json()
    assert "blocks" not in plan.settings
    plan.save(tmp_path / "plan.json")
    assert PruningPlan.load(tmp_path / "plan.json") == plan


def test_a_number_takes_the_least_important(model):
    data = data_of(model)
    found = block_importance(model, data, loss=LOSS)
    least = min(found, key=found.get)
    plan = make_plan(model, blocks=1, data=data, loss=LOSS)
    assert plan.blocks == (least,) and plan.settings["blocks"] == [least]
    result = prune(model, params=0.6, blocks=1, data=data, loss=LOSS)
    assert result.plan.blocks == (least,)
    assert result.report.params_after <= 0.6 * result.report.params_before
    gone = [row.name for row in result.report.layers if row.channels_after is None]
    assert f"{least}2" in gone


def test_a_number_of_blocks_in_steps(model):
    """The criterion looks at no data, the choice of the block does."""
    data = data_of(model)
    by_weights = {"importance": "l1", "reconstruct": False, "data": data}
    result = prune(model, params=0.6, steps=2, blocks=1, loss=LOSS, **by_weights)
    assert [len(plan.blocks) for plan in result.plans] == [1, 0]
    with pytest.raises(InvalidInputError, match="`data` would not be looked at"):
        prune(model, params=0.6, steps=2, blocks=["a"], **by_weights)


def test_steps_are_joined(model, tmp_path):
    names = []
    result = prune(
        model, params=0.5, steps=2, blocks=["a"], fine_tune=lambda m: names.append(1),
        folder=tmp_path / "steps",
    )  # fmt: skip
    assert [plan.blocks for plan in result.plans] == [("a",), ()]
    assert result.plan.blocks == ("a",) and names
    inputs = random_inputs(model)
    again = shrink(model, result.plan)
    assert_outputs_close(
        flat_outputs(again, inputs), flat_outputs(result.model, inputs), 1e-5
    )
    kept = prune(
        model, params=0.5, steps=2, blocks=["a"], fine_tune=lambda m: 1 / 0,
        folder=tmp_path / "steps",
    )  # fmt: skip
    assert kept.plan == result.plan
    with pytest.raises(InvalidInputError, match="blocks"):
        prune(
            model, params=0.5, steps=2, blocks=["b"], fine_tune=print,
            folder=tmp_path / "steps",
        )  # fmt: skip


def test_later_steps_may_take_blocks_as_well(model):
    """A planner of one's own; what went with a block is no matter of the first plan."""
    plans = iter([{"params": 0.8}, {"params": 0.9, "blocks": ["a"]}])

    def planner(current, graph=None, **_):
        return make_plan(current, **next(plans))

    result = prune(model, params=0.7, steps=2, planner=planner)
    assert result.plan.blocks == ("a",)
    inputs = random_inputs(model)
    again = shrink(model, result.plan)
    assert_outputs_close(
        flat_outputs(again, inputs), flat_outputs(result.model, inputs), 1e-5
    )


def test_latency_is_that_of_the_whole(model, monkeypatch):
    import importlib

    module = importlib.import_module("keras_sda.pruning.make_plan")
    asked = []

    class Measured:
        results = {"whole": type("Row", (), {"median_ms": 10.0})}
        ratios = {"left": 0.8}

    def meet(graph, scores, share, *args, **kwargs):
        asked.append(share)
        return np.zeros(len(graph.units.pinned), bool)

    monkeypatch.setattr(module, "compare_latency", lambda *a, **k: Measured)
    monkeypatch.setattr(module, "meet_latency", meet)
    for latency in (0.4, 4.0, 0.9, 20.0):
        make_plan(model, latency=latency, blocks=["a"])
    assert asked == pytest.approx([0.5, 0.5, 1.0, 20.0])


@pytest.mark.parametrize(
    "blocks, message",
    [
        (["c"], "'c' cannot go .*no shortcut stands beside it"),
        (3, "`blocks` must be at most 2, the number of blocks that model"),
        (-1, "`blocks` must be at most 2"),
        (True, "must be a list of names"),
        ([1], "must be a list of names"),
        (0.5, "must be a list of names"),
    ],
)
def test_wrong_blocks_are_refused(model, blocks, message):
    with pytest.raises(InvalidInputError, match=message):
        data = data_of(model) if isinstance(blocks, int) else None
        make_plan(model, macs=0.9, blocks=blocks, data=data, loss=LOSS)


def test_a_number_needs_data_and_loss(model):
    with pytest.raises(InvalidInputError, match="`data` is missing"):
        make_plan(model, blocks=1, loss=LOSS)
    with pytest.raises(InvalidInputError, match="`loss` is missing"):
        make_plan(model, blocks=1, data=data_of(model))


def test_costs_of_ones_own_do_not_know_what_is_left(model):
    cost = BitCost(ChannelGraph(model))
    with pytest.raises(InvalidInputError, match="`blocks` and `budget`"):
        make_plan(model, budget=[(cost, 0.5)], blocks=["a"])


def test_plans_of_another_model_are_refused(model):
    plan = make_plan(model, macs=0.5, blocks=["a"])
    other = dataclasses.replace(plan, blocks=("x",))
    with pytest.raises(InvalidInputError, match="'x' is no residual sum"):
        shrink(model, other)
    with pytest.raises(InvalidInputError, match="made for model 'network'"):
        shrink(NETWORKS["without_normalization"](), plan)
    # What the blocks leave must fit as well.
    bad = dataclasses.replace(plan, remove={"a2": [99], "stem": [0]})
    with pytest.raises(InvalidInputError, match="belong together"):
        shrink(model, bad)
