"""`keras-sda prune --blocks`: by name or by number, and replayed by its plan."""

import keras
import pytest
from pruning.blocks.block_networks import NETWORKS
from pruning.surgery_checks import randomize

from keras_sda.pruning import PruningPlan
from keras_sda.training import PruneOptions, prune_classifier
from keras_sda.utils import InvalidInputError


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


def test_a_block_that_cannot_go_leaves_nothing_behind(path, tmp_path):
    options = PruneOptions(model=path, blocks="c", macs=0.9, output=str(tmp_path / "x"))
    with pytest.raises(InvalidInputError, match="'c' cannot go"):
        prune_classifier(options)
    assert not (tmp_path / "x" / "model.keras").exists()
