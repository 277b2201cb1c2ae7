"""A block is one file and nothing else: the worked example of the docs, from it."""

import importlib
import json
import pathlib
import re
import sys

import keras
import numpy as np
import pytest
from keras import layers
from pruning.surgery_checks import randomize, run_surgery_test
from test_case import infer

from keras_sda import cli
from keras_sda.analysis import profile
from keras_sda.export import split_groups
from keras_sda.graph import ChannelGraph
from keras_sda.pruning import prune
from keras_sda.search import (
    add_channel_gates,
    channel_gates,
    close_gates,
    derive,
    find_gate_positions,
)

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def code():
    """The Python blocks of the page that writes the block, in order."""
    pages = [path.read_text() for path in sorted(DOCS.rglob("*.md"))]
    (page,) = [text for text in pages if "# channel_focus.py" in text]
    found = re.findall(r"```python\n(.*?)```", page, re.S)
    return found[[x.startswith("# channel_focus.py") for x in found].index(True) :]


@pytest.fixture(scope="module")
def block(code, tmp_path_factory):
    """The class, imported from one file of a user."""
    folder = tmp_path_factory.mktemp("block")
    (folder / "channel_focus.py").write_text(code[0])
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("channel_focus").ChannelFocus
    finally:
        sys.path.remove(str(folder))
        del sys.modules["channel_focus"]


def network(block, size=8, channels=3):
    x = y = keras.Input((size, size, channels))
    for number, filters in enumerate((6, 8)):
        y = layers.Conv2D(filters, 3, padding="same", name=f"conv{number}")(y)
        y = layers.ReLU()(layers.BatchNormalization(name=f"bn{number}")(y))
        y = block(4, name=f"focus{number}")(y)
    y = layers.GlobalAveragePooling2D()(y)
    y = layers.Dense(10, activation="softmax", name="top")(y)
    model = keras.Model(x, y)
    randomize(model)
    return model


def test_the_example_of_the_docs_runs(code, block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for text in code[1:]:
        exec(text, names)
    assert "ChannelFocus" in capsys.readouterr().out
    assert len(channel_gates(names["gated"])) == 2
    assert (tmp_path / "served" / "1" / "saved_model.pb").is_file()
    x = keras.Input((4,))
    y = names["Scale"](name="scale")(layers.Dense(6, name="a")(x))
    model = keras.Model(x, layers.Dense(2)(y))
    assert ChannelGraph(model).groups[0].writers == ("a",)
    assert profile(model).macs == 4 * 6 + 6 * 2


def test_masked_is_small_before_and_after_it_is_saved_and_exported(block, tmp_path):
    small, plan = run_surgery_test(network(block), tmp_path=tmp_path)
    assert {"conv0", "conv1", "focus0", "focus1"} <= set(plan.remove)
    assert small.get_layer("focus0").hidden < 4


def test_its_macs_are_counted_and_met(block):
    model = network(block)
    assert {row.name: row.macs for row in profile(model).layers}["focus1"] == 2 * 8 * 4
    pruned = prune(model, macs=0.5)
    assert pruned.report.macs_after == profile(pruned.model).macs
    assert pruned.report.macs_after <= 0.5 * pruned.report.macs_before


def test_gates_stand_before_it(block):
    model = network(block)
    assert [bool(p.gate) for p in find_gate_positions(model)] == [True, True]
    gated = add_channel_gates(model)
    for gate in channel_gates(gated):
        gate.s.assign(np.where(np.arange(gate.channels) % 3, 1.0, -1.0))
        gate.beta.assign(1e4)
    small = derive(gated).model
    close_gates(gated)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(infer(small, images), infer(gated, images), atol=1e-5)
    assert small.get_layer("focus0").read.shape == (4, 4)


def test_export_takes_its_portable_form(block):
    model = network(block)
    portable = split_groups(model)
    assert portable.get_layer("focus0").pooling == "mean"
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(infer(portable, images), infer(model, images), atol=1e-5)


def test_the_command_line_takes_files_that_hold_it(block, tmp_path, capsys):
    path, output = str(tmp_path / "model.keras"), tmp_path / "small"
    network(block, channels=1).save(path)
    assert cli.main(["profile", path, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["layers"]
    assert {row["type"]: row["macs"] for row in rows}["ChannelFocus"] == 2 * 8 * 4
    arguments = ["--macs", "0.6", "--dataset", "digits", "--max_train_examples", "64"]
    assert cli.main(["prune", path, *arguments, "--output", str(output)]) == 0
    small = keras.saving.load_model(output / "model.keras")
    assert small.get_layer("conv0").filters < 6
    served = ["--output", str(tmp_path / "served"), "--preprocessing", "none"]
    assert cli.main(["export", str(output / "model.keras"), *served]) == 0
    assert (tmp_path / "served" / "1" / "saved_model.pb").is_file()
