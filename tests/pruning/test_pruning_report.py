"""The report: numbers of both models, files, damaged files."""

import csv
import json

import keras
import numpy as np
import pytest

from keras_sda.analysis import profile
from keras_sda.graph import ChannelGraph
from keras_sda.pruning import PruningReport, prune
from keras_sda.utils import InvalidInputError

layers = keras.layers


def network(widths=(8, 6), name="network"):
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(widths[0], 3, padding="same", name="first")(x)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.Conv2D(widths[1], 3, padding="same", name="second")(layers.ReLU()(y))
    y = layers.GlobalAveragePooling2D(name="pool")(y)
    return keras.Model(x, layers.Dense(4, name="predictions")(y), name=name)


@pytest.fixture(scope="module")
def report():
    model = network()
    return PruningReport.of(
        model,
        network((5, 6)),
        untouchable=ChannelGraph(model).untouchable,
        settings={"macs": 0.6},
        measure_latency=True,
        num_runs=3,
    )


def test_numbers_are_those_of_the_models(report):
    before, after = profile(network()), profile(network((5, 6)))
    assert (report.params_before, report.params_after) == (before.params, after.params)
    assert (report.macs_before, report.macs_after) == (before.macs, after.macs)
    rows = {row.name: row for row in report.layers}
    assert list(rows) == ["first", "norm", "second", "predictions"]
    assert (rows["first"].channels_before, rows["first"].channels_after) == (8, 5)
    assert rows["second"].params_after == 5 * 9 * 6 + 6
    assert sum(row.params_after for row in report.layers) == after.params
    last = rows["predictions"]
    assert last.untouchable == 4 and last.reason == "it is an output of the model"
    assert rows["first"].untouchable == 0
    assert rows["first"].ms_before >= 0 and rows["norm"].ms_before is None
    assert report.latency["ratio"] > 0 and report.latency["num_runs"] == 3


def test_layers_that_only_one_model_has():
    """As after a search that drops layers, or packs them into others."""
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(8, 3, padding="same", name="first")(x)
    y = layers.Conv2D(6, 1, name="packed")(y)
    y = layers.GlobalAveragePooling2D()(y)
    other = keras.Model(x, layers.Dense(4, name="predictions")(y))
    rows = {row.name: row for row in PruningReport.of(network(), other).layers}
    assert list(rows) == ["first", "packed", "norm", "second", "predictions"]
    assert rows["packed"].params_before is None and rows["packed"].channels_after == 6
    assert rows["second"].macs_after is None
    text = PruningReport.of(network(), other).to_markdown()
    assert "| packed | Conv2D | - -> 6 |" in text


def test_files(report, tmp_path):
    report.save(tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["report.csv", "report.json", "report.md", "report.png"]
    again = PruningReport.load(tmp_path / "out")
    assert again.to_json() == report.to_json() and again.layers == report.layers
    with (tmp_path / "out" / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["channels_after"] == "5" and rows[-1]["name"] == "Total"
    assert int(rows[-1]["macs_after"]) == report.macs_after
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| first | Conv2D | 8 -> 5 |" in text
    assert "## Untouchable channels" in text and "* macs: 0.6" in text
    picture = keras.utils.img_to_array(
        keras.utils.load_img(tmp_path / "out" / "report.png")
    )
    assert picture.shape[0] > 200 and picture.std() > 10


def test_picture_of_a_deep_network_is_readable(tmp_path):
    """Every one of more than fifty layers has its own line."""
    model = keras.Sequential([keras.Input((8, 8, 3))])
    for _ in range(51):
        model.add(layers.Conv2D(4, 1))
    model.add(layers.Flatten())
    result = prune(model, params=0.7)
    result.report.save(tmp_path)
    picture = keras.utils.load_img(tmp_path / "report.png")
    with_macs = [row for row in result.report.layers if row.macs_before]
    assert len(with_macs) > 50 and picture.height > 18 * len(with_macs)


def test_shared_and_nested_layers_and_channels_first():
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    x = keras.Input((8, 8, 4))
    inner = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.Conv2D(5, 1, name="conv")], name="inner"
    )
    model = keras.Model(x, inner(shared(shared(x))))
    names = [row.name for row in PruningReport.of(model, model).layers]
    assert names == ["shared", "shared (call 2)", "inner/conv"]
    x = keras.Input((3, 8, 8))
    model = keras.Model(
        x, layers.Conv2D(7, 3, data_format="channels_first", name="conv")(x)
    )
    (row,) = PruningReport.of(model, model).layers
    assert row.channels_before == 7


def test_bad_folders(tmp_path):
    with pytest.raises(InvalidInputError, match="holds no report.json"):
        PruningReport.load(tmp_path / "none")
    path = tmp_path / "report.json"
    for text in ("{", "[]", "{}", json.dumps({"format": "other"})):
        path.write_text(text)
        with pytest.raises(InvalidInputError, match="damaged"):
            PruningReport.load(tmp_path)


def test_failed_save_leaves_no_report(report, tmp_path, monkeypatch):
    from keras_sda.pruning import pruning_report

    def full(report, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pruning_report, "draw_channels", full)
    with pytest.raises(OSError):
        report.save(tmp_path)
    assert not list(tmp_path.iterdir())
    assert np.isfinite(report.macs_after)
