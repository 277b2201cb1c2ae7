"""The stages of a search on a tiny network."""

import csv
import pathlib
import signal

import keras
import numpy as np
import pytest
from search.tiny_search import run, tiny_data, tiny_network

from keras_sda.data.fit.epoch_batches import EpochBatches
from keras_sda.runs import EpochBackup
from keras_sda.search import (
    ChannelSearch,
    GateCost,
    add_channel_gates,
    channel_gates,
    close_gates,
    derive,
    fit_to_budget,
)
from keras_sda.utils import InvalidInputError

PROGRAM = pathlib.Path(__file__).with_name("tiny_search.py")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    keras.utils.set_random_seed(7)
    return run(tmp_path_factory.mktemp("search") / "run")


def test_all_stages(searched, tmp_path):
    result = searched.result
    assert 0 < sum(map(len, result.kept.values())) < 20
    assert result.report.macs_after < result.report.macs_before
    assert [row["epoch"] for row in searched.log.rows] == [1, 2, 3, 4]
    np.testing.assert_allclose(
        [row["beta"] for row in searched.log.rows], [10, 100, 1000, 1e4], rtol=1e-4
    )
    for name in ("weights", "architecture", "fine_tune"):
        assert (searched.folder / name / "final.weights.h5").is_file()
        assert not list((searched.folder / name).glob("epoch*"))
    for name, count in (("architecture.csv", 4), ("gates.csv", 8)):
        with (searched.folder / "architecture" / name).open() as file:
            assert len(list(csv.DictReader(file))) == count
    assert list((searched.folder / "architecture" / "logs").glob("events*"))
    searched.plot(tmp_path / "search.png")
    assert (tmp_path / "search.png").read_bytes()[1:4] == b"PNG"


def test_finished_stages_are_not_repeated(searched):
    before = searched.result.model.get_weights()
    again = run(searched.folder, callbacks=[_Forbidden()])
    assert again.result.kept == searched.result.kept
    for one, other in zip(before, again.result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InvalidInputError, match="settings: lambda_arch was 0.03, now"):
        run(searched.folder, lambda_arch=0.01)


class _Forbidden(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        raise AssertionError("a finished stage was trained again")


def test_only_the_chosen_variables_learn():
    gated = add_channel_gates(tiny_network())
    search = ChannelSearch(gated)
    options = {"batch_size": 16, "verbose": 0}
    start = _values(gated)
    search.train_weights(tiny_data(), 1, **options)
    trained = _values(gated)
    assert all(gate.mode == "bypass" for gate in search.gates)
    for path, value in trained.items():
        fixed = "gate" in path and not path.endswith("mode")
        assert np.array_equal(value, start[path]) == fixed or path.endswith("mode")
    search.learn_architecture(tiny_data(), 2, lambda_arch=1e-3, **options)
    for path, value in _values(gated).items():
        same = np.array_equal(value, trained[path])
        moves = path.startswith("classifier") or "moving" in path
        moves = moves or path.endswith(("_gate/s", "_gate/beta", "_gate/mode"))
        assert same != moves, path


def _values(model):
    return {v.path: keras.ops.convert_to_numpy(v).copy() for v in model.weights}


@pytest.mark.parametrize(
    "kind, optimizer",
    [("plain", "sgd"), ("macs", "adam")]
    + [
        pytest.param(kind, optimizer, marks=pytest.mark.large)
        for kind, optimizer in (
            ("scaled", "adam"),
            ("plain", "adam"),
            ("scaled", "sgd"),
            ("macs", "sgd"),
        )
    ],
)
def test_price_closes_gates(kind, optimizer):
    opened = []
    for price in (0.0, 3.0):
        gated = add_channel_gates(tiny_network())
        search = ChannelSearch(gated)
        search.learn_architecture(
            tiny_data(), 2, lambda_arch=price, regularizer=kind, optimizer=optimizer,
            batch_size=16, verbose=0,
        )  # fmt: skip
        opened.append(sum(int(np.sum(gate.gates() > 0.5)) for gate in search.gates))
    assert opened[1] < opened[0]


def test_target_is_met():
    gated = add_channel_gates(tiny_network((24, 32)))
    ChannelSearch(gated).train_weights(tiny_data(), 2, batch_size=8, verbose=0)
    for target in (0.6, 0.3):
        search = ChannelSearch(gated)
        rows = search.learn_architecture(
            tiny_data(), 6, target_macs=target, learning_rate=0.05, batch_size=8,
            verbose=0,
        )  # fmt: skip
        assert len({row["price"] for row in rows}) > 1
        assert abs(rows[-1]["macs"] / search.cost.macs - target) < 0.2
        report = search.derive().report
        share = report.macs_after / report.macs_before
        assert abs(share - target) < 0.03 * target
        assert report.settings["closed_for_budget"] >= 0


def test_cost_is_that_of_the_derived_model():
    gated = add_channel_gates(tiny_network((12, 16)))
    cost = GateCost(gated)
    generator = np.random.default_rng(0)
    for gate in channel_gates(gated):
        gate.s.assign(generator.normal(size=gate.channels))
        gate.beta.assign(1e4)
    result = derive(gated)
    masks = {g.name: g.gates() > 0.9 for g in cost.gates}
    assert round(cost.macs_at(masks)) == result.report.macs_after
    assert cost.macs == result.report.macs_before
    masks = {name: np.array(mask) for name, mask in masks.items()}
    for share in (0.5, 0.3):
        found = fit_to_budget(cost, masks, share * cost.macs)
        assert abs(cost.macs_at(found) / cost.macs - share) < 0.04
    weights = cost.weights()
    assert np.isclose(np.concatenate(list(weights.values())).mean(), 1)


def test_collapsed_branch_and_closed_network():
    gated = add_channel_gates(tiny_network())
    inner, branch = channel_gates(gated)
    for gate in (inner, branch):
        gate.s.assign(np.ones(gate.channels))
        gate.beta.assign(1e4)
    inner.s.assign(-np.ones(inner.channels))
    result = derive(gated)
    close_gates(gated)
    images = tiny_data()[0]
    np.testing.assert_allclose(
        result.model(images), gated(images), atol=1e-5, rtol=1e-5
    )
    assert result.constants == ("add",)
    masks = {g.name: g.gates() > 0.9 for g in (inner, branch)}
    assert round(GateCost(gated).macs_at(masks)) == result.report.macs_after
    chain = add_channel_gates(tiny_network(), where=["bn1"])
    (gate,) = channel_gates(chain)
    gate.s.assign(-np.ones(gate.channels))
    gate.beta.assign(1e4)
    with pytest.raises(InvalidInputError, match="behind layer 'bn1' are closed"):
        derive(chain)


def test_batches_depend_on_the_epoch_alone():
    images, labels = np.arange(10), np.arange(10)
    first = EpochBatches(images, labels, batch_size=4, seed=1)
    one = [first[k][0] for k in range(3)]
    first.on_epoch_end()
    two = [first[k][0] for k in range(3)]
    later = EpochBatches(images, labels, batch_size=4, seed=1, epoch=1)
    assert sorted(np.concatenate(one)) == list(range(10))
    assert not np.array_equal(np.concatenate(one), np.concatenate(two))
    for a, b in zip(two, [later[k][0] for k in range(3)], strict=True):
        np.testing.assert_array_equal(a, b)


def test_killed_search_ends_in_the_same_network(run_python, tmp_path):
    killed = [PROGRAM, tmp_path / "killed", "kill=architecture,2,3"]
    result = run_python(killed, check=False)
    assert result.returncode == -signal.SIGKILL
    folder = tmp_path / "killed" / "architecture"
    assert EpochBackup(folder).newest.name == "epoch0002.weights.h5"
    found = run(tmp_path / "killed").result
    whole = run(tmp_path / "whole")
    assert {name: list(places) for name, places in found.kept.items()} == {
        name: list(places) for name, places in whole.result.kept.items()
    }
    assert len(found.model.weights) == len(whole.result.model.weights)
    for one, other in zip(found.model.weights, whole.result.model.weights, strict=True):
        assert one.path == other.path
        np.testing.assert_array_equal(one, other)
    rows = [row["epoch"] for row in whole.log.rows]
    with (folder / "architecture.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == rows
