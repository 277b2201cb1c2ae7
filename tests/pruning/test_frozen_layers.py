"""Frozen layers that lose channels are named, by every method."""

import json

import keras
import pytest
from absl import logging
from keras import layers
from pruning.surgery_checks import randomize

from keras_sda.grouping import GroupingReport, self_group
from keras_sda.pruning import PruningReport, prune
from keras_sda.search import add_channel_gates, channel_gates, derive


def unit(x, filters, name, **options):
    x = layers.Conv2D(filters, 3, padding="same", name=name, **options)(x)
    return layers.ReLU()(layers.BatchNormalization(name=f"{name}_bn")(x))


def transfer(frozen=True, nested=True):
    """A new head on a backbone."""
    x = keras.Input((8, 8, 3))
    y = unit(unit(x, 8, "first"), 8, "second")
    base = keras.Model(x, y, name="base")
    base.trainable = not frozen
    x = keras.Input((8, 8, 3))
    y = base(x) if nested else base.outputs[0]
    x = x if nested else base.inputs[0]
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, name="own")(y))
    model = keras.Model(x, layers.Dense(2, name="head")(y), name="transfer")
    randomize(model)
    return model


def pruned(model):
    return prune(model, macs=0.5)


def derived(model):
    gated = add_channel_gates(model)
    for gate in channel_gates(gated):
        gate.s.assign([-1.0, 1.0] * 4)
        gate.beta.assign(1e4)
    return derive(gated)


def grouped(model):
    return self_group(model, conv_rate=0.5, dense_rate=0.0)


@pytest.fixture
def warned(monkeypatch):
    lines = []
    monkeypatch.setattr(
        logging, "warning", lambda text, *values: lines.append(text % values)
    )
    return lines


METHODS = {
    "prune": (pruned, True, PruningReport),
    "derive": (derived, False, PruningReport),  # no gates inside of nested models
    "self_group": (grouped, True, GroupingReport),
}


@pytest.mark.parametrize("method", METHODS)
def test_report_text_file_and_log(method, warned, tmp_path):
    function, nested, report_class = METHODS[method]
    result = function(transfer(nested=nested))
    model, report = result.model, result.report
    assert len(model.trainable_weights) == 4
    (text,) = [line for line in report.warnings if "frozen" in line]
    assert text.startswith(f"4 of {len(model.weights)} weights train")
    name = "base" if nested else "first"
    assert repr(name) in text and f"get_layer({name!r}).trainable = True" in text
    assert "compile" in text
    assert f"warning: {text}" in report.to_text()
    assert any(text in line for line in warned)
    report.save(tmp_path)
    assert text in json.loads((tmp_path / "report.json").read_text())["warnings"]
    assert text in (tmp_path / "report.md").read_text()
    assert report_class.load(tmp_path).warnings == report.warnings


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_said_of_trainable_or_untouched_layers(method, warned):
    function, nested, _ = METHODS[method]
    report = function(transfer(False, nested)).report
    assert not [line for line in report.warnings if "frozen" in line]
    assert not [line for line in warned if "frozen" in line]
    x = keras.Input((8, 8, 8))
    y = layers.ReLU()(layers.BatchNormalization(trainable=False, name="still")(x))
    y = unit(unit(y, 8, "a"), 8, "b")
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))
    assert not [w for w in function(model).report.warnings if "frozen" in w]


def test_the_way_out():
    result = prune(transfer(), macs=0.5)
    result.model.get_layer("base").trainable = True
    result.model.compile("sgd", "mse")
    assert len(result.model.trainable_weights) == 12
    again = PruningReport.of(transfer(False), result.model)
    assert not again.warnings


def test_single_frozen_layers_weights_and_many():
    x = y = keras.Input((8, 8, 3))
    for number in range(6):
        y = unit(y, 4, f"conv{number}", trainable=False)
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))
    model.get_layer("conv0").trainable = True
    model.get_layer("conv0").kernel.trainable = False
    model.get_layer("conv0").bias.trainable = False
    randomize(model)
    (text,) = prune(model, macs=0.4).report.warnings
    for number in range(6):
        assert f"'conv{number}'" in text
    assert "_bn" not in text


def test_reports_of_before_load(tmp_path):
    report = prune(transfer(False), macs=0.5).report
    report.save(tmp_path)
    path = tmp_path / "report.json"
    content = json.loads(path.read_text())
    del content["warnings"]
    path.write_text(json.dumps(content))
    assert PruningReport.load(tmp_path) == report
