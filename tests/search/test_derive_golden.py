"""Derived networks against the reference vectors."""

import keras
import numpy as np
import pytest
from search.golden_networks import (
    gated_network,
    images,
    keras_name,
    operation_name,
    relative,
    set_gates,
    trainable_count,
)

from keras_sda.analysis import profile
from keras_sda.search import close_gates, derive, remove_channel_gates

STOCK = keras.layers.Layer.__module__.split(".")[0]


def derived(name, **options):
    gated, gates, arrays = gated_network(name)
    set_gates(gates, arrays, arrays["derive_beta"], "soft")
    result = derive(gated, max_half_open=1, **options)
    return gated, gates, arrays, result


@pytest.mark.parametrize("name", ["chain", "resblock", "mbconv", "mixed", "collapse"])
def test_derived_network_is_the_binary_gated_one(name, tmp_path):
    gated, gates, arrays, result = derived(name)
    x = images(arrays)
    for number, gate in enumerate(gates):
        assert result.kept[gate.name] == arrays[f"keep{number}"].tolist()
    assert gates[0].mode == "soft", "derive changed the gated model"
    outputs = result.model(x, training=False)
    assert relative(outputs, arrays["binary_logits"]) < 1e-5
    close_gates(gated)
    assert relative(gated(x, training=False), arrays["binary_logits"]) < 1e-5
    result.model.save(tmp_path / "small.keras")
    again = keras.saving.load_model(tmp_path / "small.keras")
    assert relative(again(x, training=False), arrays["binary_logits"]) < 1e-5


@pytest.mark.parametrize("name", ["chain", "resblock", "mbconv", "mixed"])
def test_counts(name):
    gated, _, arrays, result = derived(name)
    report = result.report
    plain = remove_channel_gates(gated)
    assert trainable_count(plain) == arrays["params_full"]
    assert trainable_count(result.model) == arrays["params_derived"]
    assert _kernel_macs(plain) == arrays["macs_full"]
    assert _kernel_macs(result.model) == arrays["macs_derived"]
    assert report.params_after == result.model.count_params()
    assert report.params_before == plain.count_params()


def _kernel_macs(model):
    kinds = ("Conv2D", "DepthwiseConv2D", "Dense")
    return sum(row.macs for row in profile(model).layers if row.type in kinds)


def test_open_gates_change_nothing():
    for name in ("chain", "resblock", "mbconv", "mixed"):
        gated, _, arrays = gated_network(name)
        outputs = gated(images(arrays), training=False)
        assert relative(outputs, arrays["open_logits"]) < 1e-5


def test_flattened_columns_of_the_chain():
    _, _, arrays, result = derived("chain")
    kernel = arrays["w_classifier.0.weight"].reshape(16, 10, 4).transpose(2, 1, 0)
    expected = kernel.reshape(40, 16)[arrays["fc1_cols_keras"]]
    actual = result.model.get_layer("classifier_0").kernel
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(actual), expected)
    assert all(type(x).__module__.startswith(STOCK) for x in result.model.layers)


@pytest.mark.parametrize("name", ["resblock", "mbconv"])
def test_official_columns(name):
    gated, _, arrays, result = derived(name, residual="official")
    outputs = result.model(images(arrays), training=False)
    assert relative(outputs, arrays["official_logits"]) < 1e-5
    exact = derive(gated, max_half_open=1).model
    assert result.model.count_params() < exact.count_params()


def test_live_channels_of_a_stream():
    _, _, arrays, result = derived("mbconv")
    reader = result.model.get_layer("features_4_0")
    assert reader.kernel.shape[-2] == len(arrays["live_after_block3"])
    assert result.model.get_layer("features_3_conv_0").kernel.shape[-2] == 7


def test_operation_without_open_channels_disappears():
    _, _, arrays, result = derived("mixed")
    names = {layer.name for layer in result.model.layers}
    kept = set(arrays["kept_ops"].tolist())
    for block, number in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        name = keras_name(f"{operation_name(block, number)}.depth_conv.conv")
        assert (name in names) == (f"{block}_{number}" in kept)
    reader = result.model.get_layer("feature_mix_layer_conv")
    assert reader.kernel.shape[-2] == len(arrays["live_after_block1"])


def test_collapsed_branches_become_constants():
    _, _, arrays, result = derived("collapse")
    assert result.constants == ("layer1_0_add", "layer1_1_add")
    names = {layer.name for layer in result.model.layers}
    for block in (0, 1):
        assert not any(name.startswith(f"layer1_{block}_conv") for name in names)
        layer = result.model.get_layer(f"layer1_{block}_add_constant")
        assert isinstance(layer, keras.layers.Rescaling)
        expected = arrays[f"branch_const{block}"]
        np.testing.assert_allclose(layer.offset, expected, atol=1e-5)
    assert all(type(x).__module__.startswith(STOCK) for x in result.model.layers)
