"""Gates that are priced by the time of their channels on another device."""

import numpy as np
import pytest
from search.tiny_search import tiny_data, tiny_network

from keras_sda.analysis import LatencyTable, count_macs
from keras_sda.analysis.latency.layer_timer import timeable_calls
from keras_sda.search import ChannelSearch, GateCost, add_channel_gates
from keras_sda.search.gates.gate_penalty import gate_penalty
from keras_sda.utils import InvalidInputError
from keras_sda.utils.files.csv_rows import read_rows


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The table is made for the model, not for the one with gates."""
    folder = tmp_path_factory.mktemp("t") / "t"
    return read_rows(LatencyTable.requests(tiny_network(), folder))


@pytest.fixture(scope="module")
def gated():
    return add_channel_gates(tiny_network())


def by_row(rows, time):
    return LatencyTable([{**row, "ms": time(row)} for row in rows])


def test_a_ms_per_mac_gives_the_weights_of_macs(asked, gated):
    macs = {c.batch_input_shapes[0]: count_macs(c) for c in timeable_calls(gated)}
    shape = {key: "x".join(map(str, key)) for key in macs}
    macs = {shape[key]: value for key, value in macs.items()}
    whole = {row["key"]: row["in_shape"] for row in asked if row["share"] == "1.0"}
    table = by_row(asked, lambda row: macs[whole[row["key"]]] * float(row["share"]))
    cost = GateCost(gated)
    expected, found = cost.weights(), cost.weights(table)
    assert set(found) == set(expected) and len(found) == 2
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)


def test_weights_are_the_time_that_a_channel_frees(asked, gated):
    """The gate behind conv2 narrows conv2 and conv3, that behind conv3 only conv3."""
    slow = next(row["key"] for row in asked if row["in_shape"] == "1x6x6x8")
    cost = GateCost(gated)
    even = cost.weights(by_row(asked, lambda row: float(row["share"])))
    found = cost.weights(
        by_row(asked, lambda row: float(row["share"]) * (row["key"] == slow))
    )
    # Of 8 channels one frees an eighth of each layer, of 6 a sixth.
    for weights, expected in ((even, (2 / 8) / (1 / 6)), (found, (1 / 8) / (1 / 6))):
        ratio = weights["bn2_gate"] / weights["bn3_gate"][0]
        np.testing.assert_allclose(ratio, expected, rtol=1e-5)
        numbers = np.concatenate(list(weights.values()))
        assert numbers.mean() == pytest.approx(1, rel=1e-5)


def test_a_search_is_priced_by_the_table(asked, tmp_path):
    table = by_row(asked, lambda row: 2 * float(row["share"]))
    search = ChannelSearch(add_channel_gates(tiny_network()), tmp_path)
    options = {"epochs": 1, "lambda_arch": 1e-2, "batch_size": 16, "verbose": 0}
    search.learn_architecture(
        tiny_data(), regularizer="latency", latency_table=table, **options
    )
    assert search.log.rows
    again = ChannelSearch(add_channel_gates(tiny_network()), tmp_path)
    other = by_row(asked, lambda row: float(row["share"]))
    with pytest.raises(InvalidInputError, match="other settings: latency_table"):
        again.learn_architecture(
            tiny_data(), regularizer="latency", latency_table=other, **options
        )


def test_wrong_tables(asked, gated):
    cost = GateCost(gated)
    table = by_row(asked, lambda row: 1.0)
    for kind, given in (("latency", None), ("macs", table), ("latency", "t.csv")):
        with pytest.raises(InvalidInputError, match="go together"):
            gate_penalty(cost.gates, cost, kind, given)
    with pytest.raises(InvalidInputError, match="no layer gets faster"):
        cost.weights(table)  # as long at every width
    dense = [row for row in asked if row["class"] == "Dense"]
    with pytest.raises(InvalidInputError, match="`latency_table` has no entry for"):
        cost.weights(by_row(dense, lambda row: float(row["share"])))
