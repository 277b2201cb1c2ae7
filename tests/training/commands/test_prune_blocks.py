"""`keras-sda prune --blocks`: by name or by number, and replayed by its plan."""

import keras
import pytest
from pruning.blocks.block_networks import NETWORKS
from pruning.surgery_checks import randomize

from keras_sda.pruning import PruningPlan
from keras_sda.pruning.check_reachable import check_reachable
from keras_sda.training import PruneOptions, prune_classifier
from keras_sda.training.commands.prune_classifier import _PruneRun
from keras_sda.utils import InvalidInputError, load_model


@pytest.fixture
def path(tmp_path):
    model = NETWORKS["with_normalization"]()
    randomize(model)
    model.save(tmp_path / "model.keras")
    return str(tmp_path / "model.keras")


def test_named_blocks_go_and_the_plan_replays(path, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    options = PruneOptions(model=path, blocks="a, b", macs=0.3, output=str(first))
    metrics = prune_classifier(options)
    assert metrics["macs"] <= 0.3 * metrics["macs_before"]
    plan = PruningPlan.load(first / "plan.json")
    assert plan.blocks == ("a", "b")
    prune_classifier(
        PruneOptions(model=path, plan=str(first / "plan.json"), output=str(second))
    )
    names = [
        [layer.name for layer in keras.saving.load_model(x / "model.keras").layers]
        for x in (first, second)
    ]
    assert names[0] == names[1] and "b2" not in names[0]


def test_options_of_blocks():
    options = PruneOptions(model="m.keras", blocks="2", dataset="digits")
    assert options.chosen_blocks == 2 and options.needs_data
    options = PruneOptions(model="m.keras", blocks="a,b:c")
    assert options.chosen_blocks == ["a", "b:c"] and not options.needs_data
    with pytest.raises(InvalidInputError, match="blocks='2' needs data"):
        PruneOptions(model="m.keras", blocks="2")
    with pytest.raises(
        InvalidInputError, match="leave `macs`, `params`, `latency`, `b"
    ):
        PruneOptions(model="m.keras", blocks="a", plan="plan.json")


@pytest.mark.parametrize("blocks", ["auto", "1"])
def test_no_run_begins_for_a_target_that_all_blocks_and_channels_miss(
    blocks, path, tmp_path
):
    def run(name, **targets):
        output = str(tmp_path / name)
        options = PruneOptions(
            model=path, blocks=blocks, dataset="digits", output=output, **targets
        )
        run = _PruneRun(options, print)
        run.model, run.plan, run.latency_table = load_model(path), None, None
        run.check_goal()

    with pytest.raises(InvalidInputError, match="floor is macs"):
        run("macs", macs=100)
    # Channels alone go down to 122 parameters.
    with pytest.raises(InvalidInputError, match="floor is params"):
        check_reachable(load_model(path), params=101)
    run("params", params=101)
    run("latency", latency=1e-6)  # is measured once the blocks are known


@pytest.mark.parametrize("blocks, targets", [("3", {}), ("3", {"macs": 0.9})])
def test_no_run_begins_for_more_blocks_than_can_go(blocks, targets, path, tmp_path):
    options = PruneOptions(
        model=path,
        blocks=blocks,
        dataset="digits",
        output=str(tmp_path / "x"),
        **targets,
    )
    run = _PruneRun(options, print)
    run.model, run.plan, run.latency_table = load_model(path), None, None
    with pytest.raises(InvalidInputError, match="`blocks` must be at most 2, .*=3"):
        run.check_goal()
    with pytest.raises(InvalidInputError, match="at most 0, .*Received: blocks='auto'"):
        x = keras.Input((4,))
        model = keras.Model(x, keras.layers.Dense(2)(keras.layers.Dense(4)(x)))
        check_reachable(model, macs=0.9, blocks="auto")


@pytest.mark.parametrize(
    "given, message",
    [
        (
            {"blocks": "auto", "dataset": "digits"},
            "must be given, .* 'auto'|blocks='auto",
        ),
        (
            {"macs": 0.5, "batch_size": 8},
            "batch_size=8 would not be looked at: nothing",
        ),
        (
            {"macs": 0.5, "dataset": "digits", "learning_rate": 0.1},
            "learning_rate=0.1 would not be looked at",
        ),
    ],
)
def test_options_without_effect(given, message):
    with pytest.raises(InvalidInputError, match=message):
        PruneOptions(model="m.keras", **given)


@pytest.mark.parametrize(
    "given",
    [
        {"macs": 0.5}, {"steps": 2}, {"importance": "l1"}, {"scope": "layer"},
        {"floor": 0.2}, {"round_to": 8}, {"min_channels": 2}, {"exclude": "stem"},
        {"latency_table": "t.csv"}, {"max_evaluations": 50},
        {"importance_examples": 9}, {"latency_batch_size": 2},
        {"importance_examples": 9, "dataset": "digits", "reconstruct": False},
    ],
)  # fmt: skip
def test_nothing_without_effect_stands_beside_a_plan(given):
    name, value = next(iter(given.items()))
    with pytest.raises(InvalidInputError, match=f"Received: {name}={value!r}") as told:
        PruneOptions(model="m.keras", plan="plan.json", **given)
    assert "`plan` (--plan)" in str(told.value)


def test_what_has_an_effect_may_stand_beside_a_plan():
    images = {"dataset": "digits", "importance_examples": 9, "seed": 3}
    options = PruneOptions(model="m.keras", plan="plan.json", **images)
    assert options.fits_kernels and not options.needs_data
    timed = {"report_latency": True, "latency_batch_size": 2}
    assert PruneOptions(model="m.keras", plan="plan.json", **timed).scope == "global"


def test_a_block_that_cannot_go_leaves_nothing_behind(path, tmp_path):
    options = PruneOptions(model=path, blocks="c", macs=0.9, output=str(tmp_path / "x"))
    with pytest.raises(InvalidInputError, match="'c' cannot go"):
        prune_classifier(options)
    assert not (tmp_path / "x" / "model.keras").exists()
