"""Where gates are placed, and why not elsewhere."""

import keras
import numpy as np
import pytest
from keras import layers
from keras_networks import make_network
from search.tiny_search import tiny_network

from keras_sda.applications import CIFARResNet20
from keras_sda.layers import GroupedConv2D, ScaledSigmoidGate
from keras_sda.search import (
    ChannelSearch,
    GateCost,
    add_channel_gates,
    channel_gates,
    close_gates,
    derive,
    find_gate_positions,
    remove_channel_gates,
)
from keras_sda.utils import InvalidInputError


@pytest.mark.parametrize(
    ("name", "num_gates", "channels", "missing"),
    [
        pytest.param("ResNet50", 49, 22720, 4, marks=pytest.mark.large),
        ("MobileNetV2", 35, 9920, 17),
    ],
)
def test_published_numbers_of_gates(name, num_gates, channels, missing):
    """Specification of the method."""
    placed = find_gate_positions(make_network(name, classes=1000))
    gates = [p for p in placed if p.gate]
    assert len(gates) == num_gates
    assert sum(p.num_channels for p in gates) == channels
    assert len(placed) - len(gates) == missing
    for position in placed:
        assert bool(position.gate) != bool(position.reason)


def block(x, filters, activation="relu", name=None, **options):
    x = layers.Conv2D(filters, 3, padding="same", name=name and f"{name}_conv")(x)
    x = layers.BatchNormalization(name=name, **options)(x)
    return layers.Activation(activation)(x) if activation else x


def classifier(body):
    x = keras.Input((8, 8, 3))
    y = layers.GlobalAveragePooling2D()(body(x))
    return keras.Model(x, layers.Dense(4, name="top")(y))


@pytest.mark.parametrize(
    "activation", ["relu", "relu6", "silu", "gelu", "tanh", "hard_silu", "leaky_relu"]
)
def test_activations_that_keep_zeros(activation):
    model = classifier(lambda x: block(block(x, 4, activation, "a"), 4, "relu", "b"))
    assert [bool(p.gate) for p in find_gate_positions(model)] == [True, True]


@pytest.mark.parametrize("activation", ["sigmoid", "softplus", "hard_sigmoid"])
def test_activations_that_do_not(activation):
    model = classifier(lambda x: block(block(x, 4, activation, "a"), 4, "relu", "b"))
    first, second = find_gate_positions(model)
    assert not first.gate and second.gate
    assert "'b_conv' (Conv2D) reads its channels" in first.reason


def test_other_reasons():
    def body(x):
        x = block(x, 4, None, "a")
        x = layers.ReLU()(layers.BatchNormalization(name="again")(x))
        x = layers.Conv2D(4, 1, activation="relu", name="bare")(x)
        return block(x, 4, "relu", "last")

    found = {p.layer: p for p in find_gate_positions(classifier(body))}
    assert "'bare' (Conv2D) reads its channels" in found["a"].reason
    assert found["bare"].reason == "no BatchNormalization follows"
    assert found["last"].gate == "last_gate"
    output = classifier(lambda x: block(x, 4, "relu", "a"))
    features = keras.Model(output.input, output.get_layer("a").output)
    (position,) = find_gate_positions(features)
    assert "it is an output of the model" in position.reason


def squeeze_excitation(x):
    """With an attention map, a depthwise convolution and a concatenation."""
    x = block(x, 6, "silu", "expand")
    x = layers.DepthwiseConv2D(3, padding="same", name="dw_conv")(x)
    x = layers.Activation("silu")(layers.BatchNormalization(name="dw")(x))
    y = layers.Reshape((1, 1, 6))(layers.GlobalAveragePooling2D()(x))
    y = layers.Conv2D(3, 1, activation="relu")(y)
    y = layers.Conv2D(6, 1, activation="sigmoid")(y)
    x = block(layers.Multiply()([x, y]), 5, "relu", "project")
    return layers.Concatenate()([x, block(x, 4, "relu", "side")])


def ghost(x):
    """A depthwise convolution beside what it reads."""
    x = block(x, 4, "relu", "primary")
    y = layers.DepthwiseConv2D(3, padding="same")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="cheap")(y))
    return block(layers.Concatenate()([x, y]), 4, "relu", "last")


def grouped(x):
    """Channels that can only go in pairs."""
    x = block(x, 6, "relu", "before")
    x = GroupedConv2D(8, 3, groups=2, padding="same")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="grouped", scale=False)(x))
    return block(x, 4, "relu", "after")


def projected(x):
    """Residual blocks with a convolution in one shortcut and operators as sums."""
    x = block(x, 4, "relu", "stem")
    y = block(block(x, 6, "relu", "a"), 6, None, "b")
    shortcut = block(x, 6, None, "shortcut")
    x = keras.ops.relu(y + shortcut)
    y = block(block(x, 5, "relu", "c"), 6, None, "d")
    return layers.ReLU()(layers.Add()([x, y]))


@pytest.mark.parametrize("residual", ["exact", "joint"])
@pytest.mark.parametrize("body", [squeeze_excitation, ghost, grouped, projected])
def test_derived_is_gated(body, residual):
    model = classifier(body)
    generator = np.random.default_rng(3)
    for variable in model.weights:
        value = generator.normal(0.3, 0.5, variable.shape)
        variable.assign(np.abs(value) + 0.2 if "variance" in variable.path else value)
    gated = add_channel_gates(model, residual=residual)
    gates = channel_gates(gated)
    expected = {
        squeeze_excitation: ["dw", "project", "side"],
        ghost: ["primary", "last"],
        grouped: ["before", "grouped", "after"],
        projected: ["stem", "a", "b", "c", "d"],
    }[body]
    if body is projected and residual == "joint":
        expected = ["stem", "a", "c", "b"]  # one for b, d and the shortcut
    assert sorted(g.name for g in gates) == sorted(f"{n}_gate" for n in expected)
    images = generator.normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(gated(images), model(images), atol=1e-6)
    for gate in gates:
        gate.s.assign(np.where(generator.random(gate.channels) < 0.5, 1, -1))
        gate.beta.assign(1e4)
    result = derive(gated)
    close_gates(gated)
    outputs = gated(images)
    np.testing.assert_allclose(result.model(images), outputs, rtol=1e-5, atol=1e-5)
    assert np.abs(outputs - model(images)).max() > 1e-3
    assert result.model.count_params() < model.count_params()
    plain = remove_channel_gates(gated)
    np.testing.assert_allclose(plain(images), model(images), atol=1e-6)


def test_where_and_exclude():
    model = tiny_network()
    assert len(channel_gates(add_channel_gates(model))) == 2
    named = add_channel_gates(model, where=["conv1", "bn2"])
    assert {g.name for g in channel_gates(named)} == {"bn1_gate", "bn2_gate"}
    (gate,) = channel_gates(add_channel_gates(model, exclude=["conv2"]))
    assert gate.name == "bn3_gate"
    joint = add_channel_gates(model, residual="joint")
    assert {g.name for g in channel_gates(joint)} == {"bn1_gate", "bn2_gate"}


def no_normalization():
    x = keras.Input((8, 8, 3))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))
    return keras.Model(x, layers.Dense(2)(y))


def gated_tiny(value=0.0, beta=1.0):
    gated = add_channel_gates(tiny_network())
    for gate in channel_gates(gated):
        gate.s.assign(np.full(gate.channels, value))
        gate.beta.assign(beta)
    return gated


def no_classes():
    x = keras.Input((8, 8, 3))
    return add_channel_gates(keras.Model(x, layers.Conv2D(2, 1)(block(x, 4))))


def trained(**options):
    data = np.zeros((4, 6, 6, 2)), np.zeros(4)
    search = ChannelSearch(gated_tiny())
    return search.learn_architecture(data, 1, verbose=0, **options)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: add_channel_gates(no_normalization()), "no BatchNormalization"),
        (lambda: add_channel_gates(gated_tiny()), "has 2 gates already"),
        (lambda: add_channel_gates(tiny_network(), where=["bn9"]), "lacks: .*bn9"),
        (lambda: add_channel_gates(tiny_network(), where="all"), "`where` must be"),
        (lambda: add_channel_gates(tiny_network(), residual="x"), "`residual`"),
        (lambda: add_channel_gates(tiny_network(), exclude="bn1"), "`exclude`"),
        (
            lambda: add_channel_gates(tiny_network(), exclude=["bn1", "bn2", "bn3"]),
            "no place for a channel gate",
        ),
        (lambda: derive(tiny_network()), "no channel gates"),
        (lambda: derive(gated_tiny()), "untrained .all at 0.5."),
        (lambda: derive(gated_tiny(0.5)), "14 of 14 gates are half open"),
        (lambda: derive(gated_tiny(np.nan)), "not finite"),
        (lambda: derive(gated_tiny(1.0, 1e4), threshold=1.0), "`threshold`"),
        (lambda: derive(gated_tiny(1.0, 1e4), residual="joint"), "`residual`"),
        (lambda: ChannelSearch(no_classes()), "does not return classes"),
        (lambda: ChannelSearch(gated_tiny()).fine_tune(None, 1), "Call `derive"),
        (lambda: ChannelSearch(gated_tiny()).plot("x.png"), "nothing to draw"),
        (lambda: trained(), "Received neither"),
        (lambda: trained(lambda_arch=-1e-4), "`lambda_arch` must be a number"),
        (lambda: trained(lambda_arch=0, target_macs=0.5), "must be positive"),
        (lambda: trained(target_macs=0.01), "out of reach"),
        (lambda: trained(target_macs=10**9), "out of reach"),
        (lambda: trained(target_macs=True), "`target_macs` must be"),
        (lambda: trained(lambda_arch=1, regularizer="l1"), "`kind`"),
        (lambda: trained(lambda_arch=1, learning_rate=-1), "`learning_rate`"),
        (
            lambda: ChannelSearch(gated_tiny()).train_weights(
                (np.full((4, 6, 6, 2), np.nan), np.zeros(4)), 1, verbose=0
            ),
            "diverged: the loss became nan",
        ),
        (
            lambda: ChannelSearch(gated_tiny()).train_weights(
                (np.zeros((4, 6, 6, 2)), np.zeros(3)), 1
            ),
            r"as many targets .* as inputs",
        ),
    ],
)
def test_bad_input(make, text):
    with pytest.raises(InvalidInputError, match=text):
        make()


def test_gate_in_a_place_of_its_own():
    """Closed channels that have to stay need a normalisation to make them zero."""
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3)(x)
    y = layers.Activation("sigmoid")(ScaledSigmoidGate(name="gate")(y))
    y = layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, layers.Dense(2)(y))
    gate = model.get_layer("gate")
    gate.s.assign([1, -1, 1, 1])
    gate.beta.assign(1e4)
    with pytest.raises(InvalidInputError, match="no BatchNormalization before it"):
        derive(model)


def test_joint_gates_where_streams_widen_without_parameters():
    model = CIFARResNet20()
    positions = find_gate_positions(model, residual="joint")
    reasons = {p.layer: p.reason for p in positions if not p.gate}
    assert set(reasons) == {"stem_bn"} | {
        p.layer for p in positions if p.layer.endswith("bn2")
    }
    assert all("no one gate fits them" in reason for reason in reasons.values())
    gated = add_channel_gates(model, residual="joint")
    generator = np.random.default_rng(0)
    for gate in channel_gates(gated):
        gate.s.assign(generator.normal(size=gate.channels))
        gate.beta.assign(1e4)
    masks = {gate.name: gate.gates() > 0.9 for gate in channel_gates(gated)}
    report = derive(gated).report
    assert round(GateCost(gated).macs_at(masks)) == report.macs_after
    assert report.macs_after < report.macs_before
