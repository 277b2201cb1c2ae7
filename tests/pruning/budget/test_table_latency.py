"""Budgets in the times of another device."""

import keras
import pytest

from keras_sda.analysis import LatencyTable, count_macs
from keras_sda.analysis.latency.layer_timer import timeable_calls
from keras_sda.graph import ChannelGraph
from keras_sda.layers import SelectiveDepthAttention
from keras_sda.pruning import PruningPlan, PruningReport, make_plan, prune, shrink
from keras_sda.pruning.budget.table_latency import TableLatency
from keras_sda.utils import InvalidInputError
from keras_sda.utils.files.csv_rows import read_rows

layers = keras.layers


def network(filters=8):
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(filters, 3, padding="same", name="a")(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.Conv2D(12, 1, name="b")(y)
    z = layers.Conv2D(12, 3, padding="same", groups=2, name="grouped")(y)
    y = layers.Add()([layers.Conv2D(12, 1, name="c")(y), z])
    y = layers.GlobalAveragePooling2D()(y)
    return keras.Model(x, layers.Dense(4, name="out")(y), name="net")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return network()


@pytest.fixture(scope="module")
def asked(model, tmp_path_factory):
    return read_rows(LatencyTable.requests(model, tmp_path_factory.mktemp("t") / "t"))


def per_mac(rows, model, **options):
    """1 ms per million multiply-accumulates."""
    macs = {}
    table = LatencyTable([{**row, "ms": 1} for row in rows])
    for call in timeable_calls(model):
        macs[table._place(call)[0]] = count_macs(call)
    filled = [
        {**row, "ms": macs[row["key"]] * float(row["share"]) / 1e6} for row in rows
    ]
    return LatencyTable(filled, **options)


@pytest.fixture
def table(asked, model):
    return per_mac(asked, model, unit="ms on a phone")


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("measured")

    monkeypatch.setitem(make_plan.__globals__, "meet_latency", refuse)
    monkeypatch.setitem(prune.__globals__, "compare_latency", refuse)


@pytest.mark.parametrize("share", [0.75, 0.4, 0.15])
def test_a_ms_per_million_macs_gives_the_plan_of_macs(model, table, share):
    by_macs = make_plan(model, macs=share)
    by_table = make_plan(model, latency=share, latency_table=table)
    assert by_table.remove == by_macs.remove and by_table.remove
    for key in ("macs", "macs_before"):
        ms = by_table.expected[key.replace("macs", "latency")]
        assert ms == pytest.approx(by_macs.expected[key] / 1e6)


def test_the_unit_goes_into_plan_and_report(model, table, tmp_path):
    result = prune(model, latency=0.5, latency_table=table)
    assert result.plan.settings["latency_unit"] == "ms on a phone"
    assert result.plan.settings["latency"] == 0.5
    result.plan.save(tmp_path / "plan.json")
    plan = PruningPlan.load(tmp_path / "plan.json")
    assert plan == result.plan
    assert shrink(model, plan).count_params() == result.model.count_params()
    report = result.report
    assert report.latency is None and "ms" not in report.after
    found = report.table_latency
    assert found["unit"] == "ms on a phone"
    assert found["ms_before"] == plan.expected["latency_before"]
    assert found["ratio"] == found["ms_after"] / found["ms_before"] <= 0.5
    assert "latency by table: 0.0" in report.to_text()
    assert "ms on a phone)" in report.to_text()
    report.save(tmp_path)
    assert PruningReport.load(tmp_path) == report
    assert prune(model, macs=0.5).report.table_latency is None


def test_a_layer_that_is_slow_there_loses_more(model, asked):
    """Where one layer takes nearly all of the time, macs= would not do."""
    slow = [
        {**row, "ms": 9 * float(row["share"]) if '"groups": 2' in row["config"] else 0}
        for row in asked
    ]
    plan = make_plan(model, latency=0.3, latency_table=LatencyTable(slow))
    assert plan.expected["latency_before"] == pytest.approx(9)
    assert plan.expected["latency"] <= 0.3 * 9
    graph = ChannelGraph(shrink(model, plan))
    small = TableLatency(graph, LatencyTable(slow).following(model))
    assert small.count(graph.kept()) == pytest.approx(plan.expected["latency"])


def test_milliseconds_fixed_time_and_other_targets(model, asked):
    table = per_mac(asked, model, fixed_ms=2.0)
    whole = make_plan(model, latency=1.0, latency_table=table).expected["latency"]
    assert whole > 2
    plan = make_plan(
        model, params=0.8, latency=2 + (whole - 2) / 2, latency_table=table
    )
    assert plan.expected["latency"] <= 2 + (whole - 2) / 2
    assert plan.expected["params"] <= 0.8 * plan.expected["params_before"]
    with pytest.raises(InvalidInputError, match="floor is .*latency="):
        make_plan(model, latency=0.5, latency_table=table)
    with pytest.raises(InvalidInputError, match="`latency` must not exceed"):
        make_plan(model, latency=9.0, latency_table=table)


def test_steps_know_the_narrower_layers(model, table):
    """The layers of the second step are in no row, and are found by their names."""
    result = prune(model, latency=0.4, latency_table=table, steps=2)
    by_macs = prune(model, macs=0.4, steps=2)
    assert result.plan.remove == by_macs.plan.remove
    ms = result.plan.expected
    assert ms["latency_before"] == pytest.approx(ms["macs_before"] / 1e6)
    assert ms["latency"] == pytest.approx(ms["macs"] / 1e6)
    assert result.report.table_latency["ratio"] == pytest.approx(
        result.report.macs_after / result.report.macs_before
    )


def test_steps_in_milliseconds(model, asked):
    rows = [{**row, "ms": 4 * float(row["share"])} for row in asked]
    table = LatencyTable(rows)
    result = prune(model, latency=9.0, latency_table=table, steps=2)
    assert result.plan.expected["latency"] <= 9 < result.plan.expected["latency_before"]


def test_a_folder_refuses_another_table(model, asked, table, tmp_path):
    arguments = {"latency": 0.5, "folder": tmp_path}
    first = prune(model, latency_table=table, **arguments)
    again = prune(model, latency_table=table, **arguments)
    assert again.plan == first.plan and again.report == first.report
    other = LatencyTable([{**row, "ms": 1} for row in asked])
    with pytest.raises(InvalidInputError, match="other settings: latency_table"):
        prune(model, latency_table=other, **arguments)


def test_a_table_of_another_model(table, asked):
    with pytest.raises(InvalidInputError) as found:
        make_plan(network(filters=10), latency=0.5, latency_table=table)
    text = str(found.value)
    assert "no entry for" in text and "'a'" in text and "of model 'net'" in text
    assert "filters 8 instead of 10" in text
    x = keras.Input((5,))
    dense = layers.Dense(3, name="last")(layers.Dense(7, name="first")(x))
    other = keras.Model(x, dense, name="other")
    for missing in ("error", "macs"):
        table = LatencyTable([{**row, "ms": 1} for row in asked], missing=missing)
        with pytest.raises(InvalidInputError, match="none of the 2 layers of model"):
            make_plan(other, latency=0.5, latency_table=table)


def test_missing_layers_are_estimated(model, asked):
    known = [row for row in asked if row["class"] != "DepthwiseConv2D"]
    with pytest.raises(InvalidInputError, match="no entry for 'depthwise' of"):
        make_plan(model, latency=0.5, latency_table=per_mac(known, _without(model)))
    table = per_mac(known, _without(model), missing="macs")
    plan = make_plan(model, latency=0.5, latency_table=table)
    assert plan.remove == make_plan(model, macs=0.5).remove


def _without(model):
    """The same layers but one, so that `per_mac` finds a row for each."""
    x = keras.Input((6, 6, 3))
    y = model.get_layer("a")(x)
    y = model.get_layer("b")(y)
    y = layers.Add()([model.get_layer("c")(y), model.get_layer("grouped")(y)])
    return keras.Model(x, model.get_layer("out")(layers.GlobalAveragePooling2D()(y)))


def test_wrong_arguments(model, table):
    with pytest.raises(InvalidInputError, match="`latency_table` needs `latency`"):
        make_plan(model, macs=0.5, latency_table=table)
    for function in (make_plan, prune):
        with pytest.raises(InvalidInputError, match="must be a .*LatencyTable"):
            function(model, latency=0.5, latency_table="phone.csv")


def test_layers_that_cannot_be_timed_alone_are_named(caplog, tmp_path):
    x = keras.Input((4, 6))
    y = layers.Dense(8, name="wide")(x)
    y = layers.MultiHeadAttention(2, 3, name="attention")(y, y)
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))
    path = LatencyTable.requests(model, tmp_path / "t")
    table = LatencyTable([{**row, "ms": 1} for row in read_rows(path)])
    with caplog.at_level("WARNING"):
        make_plan(model, latency=1.0, latency_table=table)
    assert "attention" in caplog.text and "timed alone" in caplog.text


def test_layers_that_take_a_list_of_one_tensor(caplog, tmp_path):
    """Depth attention over a single block is not asked for, and not missed."""
    x = keras.Input((4, 4, 8))
    y = layers.Conv2D(16, 1, name="conv")(x)
    y = SelectiveDepthAttention(name="attention")([y])
    y = layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, layers.Dense(3, name="out")(y))
    assert [call.name for call in timeable_calls(model)] == ["conv", "out"]
    with caplog.at_level("WARNING"):
        path = LatencyTable.requests(model, tmp_path / "t")
    assert not caplog.text
    rows = [{**row, "ms": float(row["share"])} for row in read_rows(path)]
    plan = make_plan(model, latency=0.5, latency_table=LatencyTable(rows))
    assert plan.expected["latency"] <= 0.5 * plan.expected["latency_before"] == 1.0
