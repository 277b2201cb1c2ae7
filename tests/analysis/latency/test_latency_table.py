"""Times of another device: what is asked for, what comes back, what is refused."""

import json
import pathlib

import keras
import numpy as np
import pytest

from keras_sda.analysis import LatencyTable, count_macs
from keras_sda.analysis.latency.layer_timer import timeable_calls
from keras_sda.graph import layer_calls
from keras_sda.layers import GroupedConv2D
from keras_sda.utils import InvalidInputError
from keras_sda.utils.files.csv_rows import read_rows, write_rows

layers = keras.layers


def network(filters=8, size=6, **options):
    x = keras.Input((size, size, 3))
    y = layers.Conv2D(filters, 3, padding="same", name="a")(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.Conv2D(8, 1, name="b", **options)(y)
    y = layers.Conv2D(8, 1, name="c")(y)
    y = layers.GlobalAveragePooling2D()(y)
    return keras.Model(x, layers.Dense(4, name="out")(y), name="net")


def filled(path, time=lambda row: 1.0):
    """The rows of a table with times in them."""
    return [{**row, "ms": repr(time(row))} for row in read_rows(path)]


def calls_of(model):
    return {call.name: call for call in timeable_calls(model)}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    return LatencyTable.requests(network(), tmp_path_factory.mktemp("a") / "phone")


@pytest.fixture
def rows(asked):
    return filled(asked, lambda row: 3 * float(row["share"]) + 1)


def test_requests_are_small_models_and_an_empty_table(asked):
    rows = read_rows(asked)
    assert asked.name == "latency.csv"
    assert list(rows[0]) == ["key", "class", "config", "in_shape", "share", "ms"]
    assert {row["ms"] for row in rows} == {""}
    # The convolutions "b" and "c" are equal layers at equal inputs.
    keys = {row["key"] for row in rows}
    assert sorted(key.split("-")[0] for key in keys) == [
        "Conv2D", "Conv2D", "Dense", "DepthwiseConv2D",
    ]  # fmt: skip
    names = {path.name for path in (asked.parent / "models").iterdir()}
    assert names == {f"{row['key']}-{float(row['share']):.6g}.keras" for row in rows}
    assert {path.name for path in asked.parent.iterdir()} == {"models", "latency.csv"}


def test_a_small_model_is_its_row(asked):
    """It loads, takes the shape of the row, and has its share of the MACs."""
    rows = [row for row in read_rows(asked) if row["class"] == "Conv2D"]
    whole = {}
    for row in rows:
        path = asked.parent / "models" / f"{row['key']}-{float(row['share']):.6g}.keras"
        model = keras.saving.load_model(path)
        shape = tuple(int(side) for side in row["in_shape"].split("x"))
        assert model.input_shape == shape
        assert model(np.zeros(shape)).shape[0] == shape[0]
        config = json.loads(row["config"])
        assert model.layers[-1].filters == config["filters"]
        assert "kernel_initializer" not in config and "name" not in config
        macs = count_macs(layer_calls(model, shape[1:])[0])
        share = float(row["share"])
        assert macs / whole.setdefault(row["key"], macs) == pytest.approx(share)
    assert len(rows) == 8


def test_an_exporter_of_ones_own(tmp_path):
    written = []

    def exporter(model, path):
        pathlib.Path(f"{path}.txt").write_text(str(model.input_shape))
        written.append(path.name)

    path = LatencyTable.requests(
        network(), tmp_path / "new" / "t", (1, 0.5), exporter, batch_size=4
    )
    assert len(written) == len(read_rows(path)) == 8
    texts = {file.read_text() for file in (path.parent / "models").iterdir()}
    assert "(4, 6, 6, 3)" in texts and all(text.startswith("(4,") for text in texts)


def test_open_shapes_channels_first_and_wrapped_layers(tmp_path):
    x = keras.Input((None, None, 3))
    y = layers.Conv2D(4, 1)(x)
    y = layers.Conv2D(2, 1)(y)
    path = LatencyTable.requests(
        keras.Model(x, y), tmp_path / "open", input_shape=(5, 5, 3)
    )
    assert {row["in_shape"][:4] for row in read_rows(path)} == {"1x5x"}
    x = keras.Input((3, 5))
    inner = layers.Dense(4, name="inner")
    y = layers.Dense(2)(layers.TimeDistributed(inner)(x))
    model = keras.Model(x, y)
    path = LatencyTable.requests(model, tmp_path / "wrapped")
    wrapped = [row for row in read_rows(path) if row["in_shape"] == "3x5"]
    assert [row["share"] for row in wrapped] == ["1.0"]  # what a wrapper holds
    table = LatencyTable(filled(path, lambda row: 2.0))
    assert table.time(calls_of(model)["time_distributed/inner"], [0.5]) == 1.0


def test_time_is_interpolated_and_goes_on_below(rows):
    table, call = LatencyTable(rows), calls_of(network())["b"]
    assert table.time(call) == 4.0
    assert table.time(call, [1.0, 0.5]) == pytest.approx(2.5)
    assert table.time(call, [0.1, 0.1]) == pytest.approx(1.03)
    flat = [{**row, "ms": max(float(row["share"]), 0.5)} for row in rows]
    assert LatencyTable(flat).time(call, [0.01]) == pytest.approx(0.5)
    # A narrow layer that was measured slower than a wide one is not.
    odd = [{**row, "ms": 1.5 - float(row["share"])} for row in rows]
    odd = LatencyTable(odd)
    assert odd.time(call) == odd.time(call, [0.5]) >= odd.time(call, [0.1])


def test_names_training_and_start_of_a_layer_do_not_matter(rows):
    other = network(kernel_initializer="he_normal", kernel_regularizer="l2")
    other.get_layer("b").trainable = False
    assert LatencyTable(rows).time(calls_of(other)["b"]) == 4.0


def test_the_error_names_the_nearest_entry(rows):
    call = calls_of(network(filters=12))["b"]
    with pytest.raises(InvalidInputError) as found:
        LatencyTable(rows).time(call, [0.5])
    text = str(found.value)
    assert "'b' is a Conv2D with input 1x6x6x12" in text
    assert "in_shape 1x6x6x8 instead of 1x6x6x12" in text and "missing='macs'" in text
    wanted = ("Conv2D", "1x6x6x8")
    key = next(r["key"] for r in rows if (r["class"], r["in_shape"]) == wanted)
    assert repr(key) in text and "\n" not in text
    dense = [row for row in rows if row["class"] == "Dense"]
    with pytest.raises(InvalidInputError, match="another class, Dense"):
        LatencyTable(dense).time(call)


def test_missing_layers_by_their_macs(asked):
    """1 ms per 1000 MACs, whatever is known."""
    macs = {call.layer.name: count_macs(call) for call in timeable_calls(network())}
    by_class = {"Dense": macs["out"], "DepthwiseConv2D": macs["depthwise"]}

    def time(row):
        return by_class[row["class"]] / 1000 * float(row["share"])

    rows = [row for row in read_rows(asked) if row["class"] in by_class]
    rows = [{**row, "ms": time(row)} for row in rows]
    table = LatencyTable(rows, missing="macs")
    call = calls_of(network())["a"]
    assert table.time(call, [0.5]) == pytest.approx(macs["a"] / 2000)
    unknown = [{**row, "class": "of_mine>Layer"} for row in rows]
    with pytest.raises(InvalidInputError, match="needs an entry whose multiply"):
        LatencyTable(unknown, missing="macs").time(call)


def test_layers_of_this_package_are_counted_again(tmp_path):
    x = keras.Input((4, 4, 8))
    y = GroupedConv2D(8, 3, groups=2, name="grouped")(x)
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))
    path = LatencyTable.requests(model, tmp_path / "t")
    rows = [row for row in filled(path) if "Grouped" in row["class"]]
    table = LatencyTable(rows, missing="macs")
    calls = layer_calls(model)
    share = count_macs(calls[-1]) / count_macs(calls[0])
    assert table.time(calls[-1]) == pytest.approx(share)


def test_load(rows, tmp_path):
    path = tmp_path / "phone.csv"
    write_rows([{**row, "note": "warm"} for row in rows], path)
    table = LatencyTable.load(path, fixed_ms=0.5)
    assert (table.unit, table.fixed_ms) == ("ms, by table phone.csv", 0.5)
    assert table.digest != LatencyTable(rows, unit=table.unit).digest
    # As a spreadsheet writes it.
    path.write_text("\ufeff" + path.read_text(encoding="utf-8"), encoding="utf-8")
    again = LatencyTable.load(path, "ms on a board", 0.5)
    assert again.unit == "ms on a board"
    assert again.time(calls_of(network())["a"]) == 4.0
    path.rename(tmp_path / "latency.csv")
    assert LatencyTable.load(tmp_path, table.unit, 0.5).digest != again.digest


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"ms": ""}, "Row 2 .* has no time yet, one of 1 such rows of"),
        ({"ms": " "}, "has no time yet"),
        ({"ms": "-1"}, "Row 2 .*`ms` must be milliseconds.*Received: '-1'"),
        ({"ms": "nan"}, "must be milliseconds"),
        ({"ms": "inf"}, "must be milliseconds"),
        ({"ms": "1,5"}, "such as 1.25. Received: '1,5'"),
        ({"share": "0"}, "`share` must be above 0"),
        ({"share": "1.5"}, "`share` must be above 0"),
        ({"share": "half"}, "`share` must be above 0"),
        ({"share": "1.0"}, "is there twice"),
        ({"config": "{"}, "Row 2 .* is damaged: `config` must be JSON"),
        ({"config": "[]"}, "is damaged"),
        ({"in_shape": "1x0"}, "is damaged"),
        ({"in_shape": "six"}, "is damaged"),
        ({"key": "Other-1"}, "no row with share 1 for 'Other-1'"),
    ],
)
def test_damaged_rows_are_refused(rows, tmp_path, change, text):
    rows[1] = {**rows[1], **change}
    path = tmp_path / "phone.csv"
    write_rows(rows, path)
    with pytest.raises(InvalidInputError, match=text) as found:
        LatencyTable.load(path)
    assert str(path) in str(found.value) and "\n" not in str(found.value)


def test_damaged_files_are_refused(rows, tmp_path):
    path = tmp_path / "phone.csv"
    with pytest.raises(InvalidInputError, match=r"phone.csv' is no file"):
        LatencyTable.load(path)
    write_rows([{"key": "a", "ms": 1}], path)
    with pytest.raises(InvalidInputError, match="lacks the columns .*'share'"):
        LatencyTable.load(path)
    path.write_text("key,class,config,in_shape,share,ms\n")
    with pytest.raises(InvalidInputError, match="has no rows"):
        LatencyTable.load(path)
    path.write_text("key,class,config,in_shape,share,ms\na,b\n")
    with pytest.raises(InvalidInputError, match="damaged"):
        LatencyTable.load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="damaged"):
        LatencyTable.load(path)
    with pytest.raises(InvalidInputError, match="All times of the latency table are 0"):
        LatencyTable([{**row, "ms": 0} for row in rows])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"missing": "guess"}, "missing"),
        ({"unit": ""}, "unit"),
        ({"unit": 3}, "unit"),
        ({"fixed_ms": -1}, "fixed_ms"),
        ({"fixed_ms": True}, "fixed_ms"),
    ],
)
def test_wrong_options_of_a_table(rows, options, name):
    with pytest.raises(InvalidInputError, match=f"`{name}` must"):
        LatencyTable(rows, **options)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"widths": ()}, "widths"),
        ({"widths": (0.5, 1)}, "widths"),
        ({"widths": (1, 0)}, "widths"),
        ({"widths": 0.5}, "widths"),
        ({"exporter": "litert"}, "exporter"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
    ],
)
def test_wrong_requests_write_nothing(tmp_path, options, name):
    with pytest.raises(InvalidInputError, match=f"`{name}` must be"):
        LatencyTable.requests(network(), tmp_path / "t", **options)
    assert not list(tmp_path.iterdir())


def test_failed_requests_write_nothing(asked, tmp_path):
    def exporter(model, path):
        path.write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        LatencyTable.requests(network(), tmp_path / "t", exporter=exporter)
    x = keras.Input((4,))
    with pytest.raises(InvalidInputError, match="no layer that can be timed"):
        LatencyTable.requests(keras.Model(x, layers.ReLU()(x)), tmp_path / "t")
    assert not list(tmp_path.iterdir())
    before = asked.read_bytes()
    with pytest.raises(InvalidInputError, match="is not empty"):
        LatencyTable.requests(network(), asked.parent)
    assert asked.read_bytes() == before


def test_what_cannot_be_built_alone_has_no_row(tmp_path, caplog):
    class Odd(layers.Dense):
        def __init__(self, units, secret):
            super().__init__(units)

        def get_config(self):
            return {"units": 2, "name": self.name}

    class Silent(layers.Dense):
        def get_config(self):
            raise NotImplementedError

    x = keras.Input((4,))
    y = Silent(4)(Odd(4, "word")(x))
    model = keras.Model(x, layers.Dense(3, name="plain")(y))
    with caplog.at_level("WARNING"):
        path = LatencyTable.requests(model, tmp_path / "t")
    assert {row["class"] for row in read_rows(path)} == {"Dense"}
    assert "odd at 1" in caplog.text and "silent (it has no" in caplog.text
    table = LatencyTable(filled(path), missing="macs")
    assert table.time(calls_of(model)["silent"]) > 0
