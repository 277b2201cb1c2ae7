"""Gates that keep multiples of a number of channels."""

import keras
import numpy as np
import pytest
from search.tiny_search import run, tiny_data, tiny_network

from keras_sda.pruning import prune
from keras_sda.search import (
    ChannelSearch,
    GateCost,
    add_channel_gates,
    channel_gates,
    close_gates,
    derive,
    fit_to_budget,
    open_channels,
)
from keras_sda.search.masks.derive import derive_masks
from keras_sda.search.masks.round_masks import round_masks
from keras_sda.utils import InvalidInputError


def decided(filters=(24, 36), seed=0, residual="exact"):
    """A network whose gates have random numbers."""
    gated = add_channel_gates(tiny_network(filters), residual=residual)
    generator = np.random.default_rng(seed)
    for gate in channel_gates(gated):
        gate.s.assign(generator.normal(size=gate.channels))
        gate.beta.assign(1e4)
    return gated


def one_gate(s, mask=None):
    gated = add_channel_gates(tiny_network((len(s), 4)), where=["bn1"])
    (gate,) = channel_gates(gated)
    gate.s.assign(s)
    gate.beta.assign(1e4)
    if mask is not None:
        gate.mask.assign(np.array(mask, "float32"))
    return gated


@pytest.mark.parametrize("residual", ["exact", "joint"])
def test_widths_are_multiples(residual):
    gated = decided(residual=residual)
    before = open_channels(gated)
    result = derive(gated, round_to=8)
    assert result.report.settings["round_to"] == 8
    masks = round_masks(channel_gates(gated), before, 8)
    for gate in channel_gates(gated):
        kept = result.kept[gate.name]
        least, s = before[gate.name].sum(), np.array(gate.s)
        assert len(kept) == min(-(-least // 8) * 8, gate.channels)
        assert set(np.flatnonzero(before[gate.name])) <= set(kept)
        assert kept == sorted(np.argsort(-s)[: len(kept)])
        assert kept == np.flatnonzero(masks[gate.name]).tolist()
    filters = [x.filters for x in result.model.layers if hasattr(x, "filters")]
    assert all(count % 8 == 0 for count in filters) and max(filters) < 36
    images = tiny_data()[0]
    close_gates(gated, round_to=8)
    np.testing.assert_allclose(
        result.model(images), gated(images), atol=1e-5, rtol=1e-5
    )
    assert round(GateCost(gated).macs_at(masks)) == result.report.macs_after


def test_one_changes_nothing():
    assert derive(decided(), round_to=1).kept == derive(decided()).kept


def test_edges():
    some, all_open = [3, 2, 1, -1, -2, -3], [1, 1, 1, 1, 1, 1]

    def kept(s, round_to, mask=None):
        gated = one_gate(s, mask)
        masks = round_masks(channel_gates(gated), open_channels(gated), round_to)
        return np.flatnonzero(masks["bn1_gate"]).tolist()

    assert kept(some, 2) == [0, 1, 2, 3]
    assert kept(some, 4) == [0, 1, 2, 3]
    assert kept(some, 3) == [0, 1, 2]
    assert kept(all_open, 4) == [0, 1, 2, 3, 4, 5]  # no multiple, but all it has
    assert kept(some, 8) == [0, 1, 2, 3, 4, 5]
    assert kept([-1, -2, -3, -1, -2, -3], 4) == []
    # What the mask closed before stays closed.
    assert kept(some, 4, [1, 1, 1, 0, 1, 0]) == [0, 1, 2, 4]
    assert kept(some, 4, [1, 1, 1, 0, 0, 0]) == [0, 1, 2]
    assert kept(some, 2, [1, 1, 1, 0, 0, 0]) == [0, 1]


def test_the_pruning_engine_rounds_alike():
    """Where it is asked for three of six channels, it keeps four, too."""
    x = keras.Input((8,))
    y = keras.layers.Dense(6, name="hidden")(x)
    model = keras.Model(x, keras.layers.Dense(3)(y))
    for share, expected in ((0.75, 4), (0.99, 4)):
        small = prune(model, macs=share, round_to=4, scope="layer").model
        assert small.get_layer("hidden").units == expected
    gated = one_gate([1, 1, 1, -1, -1, -1])
    assert len(derive(gated, round_to=4).kept["bn1_gate"]) == 4


@pytest.mark.parametrize("filters", [(24, 36), (64, 48), (40, 16)])
@pytest.mark.parametrize("share", [0.75, 0.5, 0.35])
def test_budget_is_met(filters, share):
    gated = decided(filters)
    cost = GateCost(gated)
    masks = open_channels(gated)
    vanished = "bn2_gate" if share == 0.35 and filters[0] == 64 else None
    if vanished:
        masks[vanished][:] = False
    found = fit_to_budget(cost, masks, share * cost.macs, round_to=4)
    for gate in cost.gates:
        assert found[gate.name].sum() % 4 == 0
        assert found[gate.name].any() or gate.name == vanished
    assert abs(cost.macs_at(found) / cost.macs - share) <= 0.03 * share
    report = derive_masks(gated, found).report
    assert report.macs_after == round(cost.macs_at(found))


def test_coarse_steps():
    """One gate gives channels so that another can have more."""
    network = keras.Sequential([keras.Input((8, 8, 8))])
    for width in (16, 24, 40, 16, 48):
        network.add(keras.layers.Conv2D(width, 3, padding="same", use_bias=False))
        network.add(keras.layers.BatchNormalization())
        network.add(keras.layers.ReLU())
    network.add(keras.layers.GlobalAveragePooling2D())
    network.add(keras.layers.Dense(3))
    gated = add_channel_gates(network)
    generator = np.random.default_rng(1)
    for gate in channel_gates(gated):
        gate.s.assign(generator.normal(size=gate.channels))
        gate.beta.assign(1e4)
    cost, misses = GateCost(gated), 0
    for share in np.linspace(0.25, 0.85, 13):
        found = fit_to_budget(cost, open_channels(gated), share * cost.macs, 8)
        assert all(mask.sum() % 8 == 0 and mask.any() for mask in found.values())
        misses += abs(cost.macs_at(found) / cost.macs - share) > 0.03 * share
    assert misses <= 3


def test_search_with_target(tmp_path):
    options = {
        "lambda_arch": None, "target_macs": 0.5, "round_to": 2, "weight_epochs": 0,
        "architecture_epochs": 3, "fine_tune_epochs": 1,
    }  # fmt: skip
    gated = add_channel_gates(tiny_network((24, 32)))
    search = ChannelSearch(gated, tmp_path)
    result = search.fit(tiny_data(), batch_size=16, verbose=0, **options)
    assert all(len(places) % 2 == 0 for places in result.kept.values())
    share = result.report.macs_after / result.report.macs_before
    assert abs(share - 0.5) <= 0.03 * 0.5
    assert result.report.settings["round_to"] == 2
    assert result.report.settings["target_macs"] == round(0.5 * search.cost.macs)
    again = search.derive(round_to=4)
    assert {len(places) % 4 for places in again.kept.values()} == {0}


@pytest.mark.parametrize("round_to", [0, -8, 2.0, True, "8", None])
def test_bad_multiples(round_to):
    text = "`round_to` must be a positive integer"
    gated = decided()
    with pytest.raises(InvalidInputError, match=text):
        derive(gated, round_to=round_to)
    with pytest.raises(InvalidInputError, match=text):
        ChannelSearch(gated).derive(round_to=round_to)
    with pytest.raises(InvalidInputError, match=text):
        fit_to_budget(GateCost(gated), open_channels(gated), 1e5, round_to)
    with pytest.raises(InvalidInputError, match=text):
        run(None, round_to=round_to)


def test_target_out_of_reach():
    gated = decided()
    cost = GateCost(gated)
    with pytest.raises(InvalidInputError, match="out of reach with round_to=16"):
        fit_to_budget(cost, open_channels(gated), 0.1 * cost.macs, 16)
    options = {"weight_epochs": 1, "fine_tune_epochs": 1, "round_to": 16}
    with pytest.raises(InvalidInputError, match="with 16 channels .`round_to`. per"):
        ChannelSearch(gated).fit(tiny_data(), target_macs=0.1, **options)
