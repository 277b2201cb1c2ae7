"""The derived network makes up for what gates between 0 and 1 let through."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.surgery_checks import randomize
from search.tiny_search import tiny_data, tiny_network

from keras_sda.layers import GroupedConv2D
from keras_sda.pruning import PruningReport
from keras_sda.search import (
    ChannelSearch,
    add_channel_gates,
    channel_gates,
    derive,
)
from keras_sda.utils import InvalidInputError


def block(x, filters, name):
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
    return layers.BatchNormalization(name=f"{name}_bn")(x)


def gated_network(values):
    """Gates of given values; half of the channels of "a" repeat the other half."""
    x = keras.Input((6, 6, 2))
    stem = layers.ReLU()(block(x, 6, "stem"))
    y = block(layers.ReLU()(block(stem, 6, "a")), 6, "b")
    y = layers.ReLU()(block(layers.Add(name="sum")([stem, y]), 4, "last"))
    y = layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, layers.Dense(3, name="classes")(y))
    randomize(model)
    for name in ("a", "a_bn"):
        for variable in model.get_layer(name).weights:
            value = np.array(variable)
            value[..., 3:] = value[..., :3]
            variable.assign(value)
    gated = add_channel_gates(model, where=[f"{name}_bn" for name in values])
    for name, value in values.items():
        gate, value = gated.get_layer(f"{name}_bn_gate"), np.array(value)
        gate.s.assign(np.log(value / (1 - value)))
        gate.set_mode("soft")
    return gated


def images(count=48):
    generator = np.random.default_rng(1)
    return generator.normal(size=(count, 6, 6, 2)).astype("float32")


def outputs(model, inputs):
    return keras.ops.convert_to_numpy(model(inputs, training=False))


OPEN, HALF = [0.95] * 6, [0.95] * 3 + [0.3] * 3


def test_what_closed_gates_let_through_is_taken_over(tmp_path):
    gated = gated_network({"a": HALF, "b": OPEN})
    before = [np.array(weight) for weight in gated.weights]
    cut = derive(gated, max_half_open=1.0)
    fitted = derive(gated, max_half_open=1.0, reconstruct=True, data=images())
    for weight, value in zip(gated.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    assert fitted.kept == cut.kept and fitted.kept["a_bn_gate"] == [0, 1, 2]
    new = images(8)[::-1]
    wanted = outputs(gated, new)
    assert np.abs(outputs(cut.model, new) - wanted).max() > 0.05
    np.testing.assert_allclose(outputs(fitted.model, new), wanted, atol=2e-3)
    rows = {row.layer: row for row in fitted.report.refits}
    assert rows["b"].error_after < 1e-4 < rows["b"].error_before
    fitted.report.save(tmp_path)
    loaded = PruningReport.load(tmp_path)
    assert loaded.refits == fitted.report.refits and loaded.settings["reconstruct"]
    assert "reconstruct" not in cut.report.settings and not cut.report.refits


def test_open_gates_go_into_the_normalization():
    gated = gated_network({"a": OPEN, "b": OPEN})
    result = derive(gated, reconstruct=True, data=images())
    new = images(8)[::-1]
    np.testing.assert_allclose(
        outputs(result.model, new), outputs(gated, new), atol=1e-4
    )


def decided(gated):
    for gate in channel_gates(gated):
        gate.beta.assign(1e4)
    return gated


def test_decided_gates_leave_nothing_to_fit():
    gated = decided(gated_network({"a": HALF, "b": HALF}))
    one, other = derive(gated), derive(gated, reconstruct=True, data=images())
    assert other.report.refits == ()
    for weight, value in zip(other.model.weights, one.model.weights, strict=True):
        np.testing.assert_array_equal(weight, value)
    # As published, readers of the sum lose what the shortcut carries.
    gated = decided(gated_network({"a": HALF, "b": HALF, "last": OPEN[:4]}))
    official = derive(gated, residual="official", reconstruct=True, data=images())
    (row,) = (row for row in official.report.refits if row.layer == "last")
    assert row.error_after < 0.9 * row.error_before


def test_the_network_without_gates_may_be_aimed_at():
    gated = decided(gated_network({"a": HALF}))
    for gate in channel_gates(gated):
        gate.set_mode("bypass")
    result = derive(gated, reconstruct=True, data=images())
    new = images(8)[::-1]
    wanted = outputs(gated, new)
    np.testing.assert_allclose(outputs(result.model, new), wanted, atol=2e-3)
    assert np.abs(outputs(derive(gated).model, new) - wanted).max() > 0.05


def test_zeros_that_keep_a_channel_closed_stay():
    x = keras.Input((6, 6, 2))
    y = layers.ReLU()(block(x, 8, "stem"))
    y = GroupedConv2D(8, 3, groups=4, use_bias=False, name="grouped")(y)
    y = layers.BatchNormalization(scale=False, name="norm")(y)
    y = layers.GlobalAveragePooling2D()(layers.ReLU()(y))
    model = keras.Model(x, layers.Dense(3)(y))
    randomize(model)
    gated = add_channel_gates(model, where=["norm"])
    (gate,) = channel_gates(gated)
    gate.s.assign(np.where(np.isin(np.arange(8), (1, 2, 6)), 2.5, -1.0))
    gate.set_mode("soft")
    result = derive(gated, max_half_open=1.0, reconstruct=True, data=images())
    norm = result.model.get_layer("norm")
    made = outputs(keras.Model(result.model.inputs, norm.output), images(4))
    assert (made == 0).all(axis=(0, 1, 2)).sum() == result.silenced["norm"] > 0
    reasons = {row.layer: row.reason for row in result.report.refits}
    assert "zeros" in reasons["grouped"]


class _Stop(keras.callbacks.Callback):
    """Raises where the second training begins."""

    begun = 0

    def on_train_begin(self, logs=None):
        self.begun += 1
        if self.begun == 2:
            raise RuntimeError("stop")


def search_to_a_budget(folder, reconstruct=True, **options):
    search = ChannelSearch(add_channel_gates(tiny_network()), folder)
    search.fit(
        tiny_data(), 0, 1, 1, target_macs=0.6, reconstruct=reconstruct, batch_size=24,
        architecture={"final_beta": 10.0, "learning_rate": 0.05}, verbose=0, **options,
    )  # fmt: skip
    return search


def test_a_budget_closes_gates_and_a_search_goes_on(tmp_path):
    whole = search_to_a_budget(tmp_path / "whole")
    ended = whole.result.model.get_weights()
    assert whole.result.report.refits
    inputs = tiny_data()[0]
    wanted = outputs(whole.gated, inputs)
    errors = [
        np.square(outputs(whole.derive(**how).model, inputs) - wanted).mean()
        for how in ({}, {"reconstruct": True, "data": lambda epoch: inputs})
    ]
    assert errors[1] < 0.5 * errors[0]
    with pytest.raises(RuntimeError, match="stop"):
        search_to_a_budget(tmp_path / "stopped", callbacks=[_Stop()])
    resumed = search_to_a_budget(tmp_path / "stopped")
    for one, other in zip(resumed.result.model.get_weights(), ended, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InvalidInputError, match="reconstruct"):
        search_to_a_budget(tmp_path / "whole", reconstruct=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reconstruct": True}, "`reconstruct` needs `data`"),
        ({"data": images(4), "reconstruct": False}, "no use with reconstruct=False"),
        ({"reconstruct": True, "data": images(4)[..., :1]}, "`data`"),
    ],
)
def test_bad_input(arguments, message):
    gated = gated_network({"a": OPEN})
    with pytest.raises(InvalidInputError, match=message):
        derive(gated, **arguments)
