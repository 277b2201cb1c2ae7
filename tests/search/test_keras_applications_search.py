"""Gates on the networks of keras.applications, and what is derived from them."""

import gc

import keras
import numpy as np
import pytest
from keras_networks import make_network
from pruning.surgery_checks import assert_outputs_close, flat_outputs, randomize

from keras_sda.layers import GatherChannels, ScatterChannels
from keras_sda.search import (
    add_channel_gates,
    channel_gates,
    close_gates,
    derive,
)
from keras_sda.utils import InvalidInputError

# Families of tests/pruning with batch normalization, at the smallest size they take.
SIZES = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
LARGE = pytest.mark.large
# Numbers of gates, so that a network which loses some is noticed, and a gate that
# closes altogether, behind which a branch becomes a constant. Where no stream can
# narrow, "joint" places the gates of "exact": one row is enough.
ROWS = [
    ("ResNet50", "exact", 49, "conv4_block3_2_bn_gate"),
    ("ResNet50", "joint", 37, ""),
    ("ResNet50V2", "exact", 32, "conv3_block2_2_bn_gate"),
    ("MobileNet", "exact", 14, ""),
    ("MobileNetV2", "exact", 35, ""),
    ("MobileNetV2", "joint", 25, "block_8_depthwise_BN_gate"),
    ("MobileNetV3Small", "exact", 23, "expanded_conv_4_project_bn_gate"),
    ("MobileNetV3Small", "joint", 17, ""),
    ("EfficientNetB0", "exact", 33, ""),
    ("EfficientNetB0", "joint", 24, "block6b_bn_gate"),
    ("EfficientNetV2B0", "exact", 43, "block5b_project_bn_gate"),
    ("InceptionV3", "exact", 94, ""),
    ("InceptionResNetV2", "exact", 195, ""),
    ("Xception", "exact", 36, ""),
    ("Xception", "joint", 28, "block9_sepconv2_bn_gate"),
]
# The same of the networks with fewer blocks of each kind. Those that are large consist
# of what the others have.
SMALL_ROWS = [
    ("ResNet50", "exact", 13, "conv3_block2_2_bn_gate"),
    ("ResNet50", "joint", 11, ""),
    ("ResNet50V2", "exact", 8, "conv2_block2_2_bn_gate"),
    ("DenseNet121", "exact", 5, ""),
    pytest.param("MobileNet", "exact", 14, "", marks=LARGE),
    ("MobileNetV3Small", "exact", 9, "expanded_conv_3_project_bn_gate"),
    pytest.param("MobileNetV3Small", "joint", 7, "", marks=LARGE),
    ("EfficientNetB0", "joint", 8, "block3b_bn_gate"),
    pytest.param(
        "EfficientNetV2B0", "exact", 14, "block3b_project_bn_gate", marks=LARGE
    ),
]


@pytest.fixture(autouse=True)
def clean_up():
    yield
    keras.backend.clear_session()
    gc.collect()


def build(name, small=False):
    model = make_network(name, small, SIZES.get(name, 32))
    randomize(model)
    return model


def pixels(model):
    shape = (1, *model.input_shape[1:])
    return np.random.default_rng(0).uniform(0, 255, shape).astype("float32")


def close_at_random(gates, closed_gate, share=0.4):
    """Closes some channels of every gate, as a search would have, and all of one."""
    generator = np.random.default_rng(3)
    for gate in gates:
        is_closed = generator.random(gate.channels) < share
        is_closed[0] = False
        is_closed |= gate.name == closed_gate
        gate.s.assign(np.where(is_closed, -1.0, 1.0))
        gate.beta.assign(1e4)


@pytest.mark.large
@pytest.mark.parametrize("name, residual, num_gates, closed_gate", ROWS)
def test_derived_is_gated(name, residual, num_gates, closed_gate):
    check_derived(build(name), residual, num_gates, closed_gate)


@pytest.mark.parametrize(
    "name, residual, num_gates, closed_gate",
    [*SMALL_ROWS, pytest.param("NASNetMobile", "exact", 78, "", marks=LARGE)],
)
def test_derived_is_gated_for_every_block(name, residual, num_gates, closed_gate):
    check_derived(build(name, small=True), residual, num_gates, closed_gate)


def check_derived(model, residual, num_gates, closed_gate):
    """Gates, closes some of them and compares what is derived with the gated model."""
    images = pixels(model)
    whole = flat_outputs(model, images)
    gated = add_channel_gates(model, residual=residual)
    gates = channel_gates(gated)
    assert len(gates) == num_gates
    assert_outputs_close(flat_outputs(gated, images), whole, 1e-6)
    close_at_random(gates, closed_gate)
    result = derive(gated)
    close_gates(gated)
    expected = flat_outputs(gated, images)
    assert np.isfinite(expected[0]).all()
    assert_outputs_close(flat_outputs(result.model, images), expected, 1e-4)
    difference = np.ptp(expected[0] - whole[0])
    assert difference > 1e-2 * np.abs(whole[0]).max(), "the gates change nothing"
    assert bool(result.branches) == bool(closed_gate)
    num_open = {name: len(places) for name, places in result.kept.items()}
    assert not closed_gate or num_open.pop(closed_gate) == 0
    assert min(num_open.values()) > 0
    assert result.model.count_params() == result.report.params_after
    assert result.report.params_after < 0.8 * result.report.params_before
    for layer in result.model.layers:
        is_own = isinstance(layer, (GatherChannels, ScatterChannels))
        assert is_own or type(layer).__module__.startswith("keras.")


@pytest.mark.parametrize("name, small", [("VGG16", False), ("ConvNeXtTiny", True)])
def test_networks_without_batch_normalization(name, small):
    """They can be pruned by importance, but there is no place for a gate."""
    model = make_network(name, small)
    message = f"'{model.name}' has no BatchNormalization layer"
    for residual in ("exact", "joint"):
        with pytest.raises(InvalidInputError, match=message):
            add_channel_gates(model, residual=residual)
