"""Search, derive, self-group, pack: one model after the other, the same function."""

import keras
import numpy as np
import pytest
from grouping.pack_checks import run_pack_test
from pruning.surgery_checks import flat_outputs, random_inputs, randomize

from keras_sda.analysis import profile
from keras_sda.grouping import self_group
from keras_sda.layers import GatherChannels, ScatterChannels
from keras_sda.search import add_channel_gates, channel_gates, close_gates, derive

layers = keras.layers


def resnet():
    """A small CIFAR network: two stages of two blocks, shortcuts by convolution."""

    def norm(x, name):
        return layers.BatchNormalization(name=name)(x)

    def conv(x, filters, strides, size, name):
        return layers.Conv2D(
            filters, size, strides, "same", use_bias=False, name=f"{name}_conv"
        )(x)

    x = inputs = keras.Input((16, 16, 3))
    x = layers.ReLU()(norm(conv(x, 8, 1, 3, "stem"), "stem_bn"))
    for stage, (filters, strides) in enumerate(((8, 1), (12, 2)), 1):
        for block in (1, 2):
            strides, name = strides if block == 1 else 1, f"stage{stage}_block{block}"
            y = layers.ReLU()(
                norm(conv(x, filters, strides, 3, f"{name}_1"), f"{name}_bn1")
            )
            y = norm(conv(y, filters, 1, 3, f"{name}_2"), f"{name}_bn2")
            if x.shape[-1] != filters:
                x = norm(conv(x, filters, strides, 1, f"{name}_0"), f"{name}_bn0")
            x = layers.ReLU()(layers.Add(name=f"{name}_add")([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(5, name="predictions")(x), name="resnet")
    randomize(model)
    return model


def closed(model, residual, seed=0):
    """Gates as if learned: a third is closed, and one branch altogether."""
    gated = add_channel_gates(model, residual=residual)
    generator = np.random.default_rng(seed)
    for number, gate in enumerate(channel_gates(gated)):
        gate.beta.assign(100.0)
        s = np.where(generator.random(gate.s.shape) < 1 / 3, -1.0, 1.0)
        s[0] = 1.0
        if residual == "exact" and number == 4:
            s[:] = -1.0
        gate.s.assign(s)
    return gated


@pytest.mark.parametrize(
    "derivation",
    [
        "exact",
        pytest.param("joint", marks=pytest.mark.large),
        pytest.param("official", marks=pytest.mark.large),
    ],
)
def test_search_then_group_then_pack(derivation, tmp_path):
    model = resnet()
    joint = derivation == "joint"
    gated = closed(model, "joint" if joint else "exact")
    derived = derive(
        gated, residual="official" if derivation == "official" else "exact"
    )
    kinds = {type(layer) for layer in derived.model.layers}
    if not joint:
        assert kinds & {GatherChannels, ScatterChannels}
    x = random_inputs(model)
    if derivation != "official":  # that one needs fine-tuning
        close_gates(gated)
        np.testing.assert_allclose(
            flat_outputs(derived.model, x)[0], flat_outputs(gated, x)[0], atol=1e-4
        )
    grouped = self_group(derived.model, 0.6, 0.4, num_groups=4)
    _, results = run_pack_test(
        None, ("lists", "auto"), masked=grouped.model, tmp_path=tmp_path
    )
    packed = results["lists"].report
    whole = profile(model)
    assert derived.report.macs_before == whole.macs
    assert derived.report.params_before == whole.params
    assert derived.report.macs_after < 0.9 * whole.macs
    assert derived.report.macs_after == grouped.report.macs_before
    assert derived.report.params_after == grouped.report.params_before
    assert packed.macs_before == grouped.report.macs_before
    assert packed.params_before == grouped.report.params_before
    assert packed.macs_after <= grouped.report.macs_after
    assert packed.params_after <= grouped.report.params_after
    if not packed.unread:
        assert packed.macs_after == grouped.report.macs_after


def test_disjoint_groups_of_a_derived_model():
    """Widths that are multiples of 4, as `round_to` gives them."""
    gated = closed(resnet(), "joint")
    derived = derive(gated, round_to=4)
    grouped = self_group(derived.model, 0.5, 0.0, balance="disjoint")
    assert {row.kept_share for row in grouped.report.layers} <= {1 / 2, 1 / 4}
    _, results = run_pack_test(None, ("grouped",), masked=grouped.model)
    report = results["grouped"].report
    assert {row.form for row in report.layers} == {"grouped"}
    assert report.macs_before == grouped.report.macs_before
    assert report.macs_after == grouped.report.macs_after < 0.7 * report.macs_before
