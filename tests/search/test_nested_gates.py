"""Gates enter nested models, and what they close is cut there."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.surgery_checks import flat_outputs, random_inputs, randomize

from keras_sda.graph import unfold_models
from keras_sda.search import (
    add_channel_gates,
    close_gates,
    derive,
    find_gate_positions,
    remove_channel_gates,
)
from keras_sda.utils import InvalidInputError


def conv(x, filters, name):
    x = layers.Conv2D(filters, 3, padding="same", name=name)(x)
    return layers.ReLU(name=f"{name}_relu")(
        layers.BatchNormalization(name=f"{name}_bn")(x)
    )


def inner_model(name="inner", filters=6, channels=4):
    x = keras.Input((8, 8, channels), name=f"{name}_x")
    y = conv(conv(x, filters, "a"), channels, "b")
    return keras.Model(x, layers.Add(name="sum")([x, y]), name=name)


def outer_model(*parts, **arguments):
    x = keras.Input((8, 8, 3), name="images")
    y = conv(x, 4, "stem")
    for part in parts:
        y = part(y, **arguments)
    y = layers.GlobalAveragePooling2D(name="pool")(conv(y, 5, "top"))
    model = keras.Model(x, layers.Dense(3, name="predictions")(y), name="outer")
    randomize(model)
    return model


def check_derived(model, least_gates):
    gated = add_channel_gates(model)
    x = random_inputs(model)
    before = flat_outputs(model, x)[0]
    np.testing.assert_allclose(flat_outputs(gated, x)[0], before, atol=1e-5)
    plain = remove_channel_gates(gated)
    np.testing.assert_allclose(flat_outputs(plain, x)[0], before, atol=1e-5)
    shared = {id(v) for v in model.variables} & {id(v) for v in gated.variables}
    assert not shared
    gates = [layer for layer in gated.layers if layer.name.endswith("_gate")]
    assert len(gates) >= least_gates
    generator = np.random.default_rng(0)
    for gate in gates:
        signs = np.resize([1.0, -1.0, 1.0], gate.s.shape[0])
        gate.s.assign(generator.permutation(signs))
        gate.beta.assign(1e4)
    result = derive(gated, max_half_open=1.0)
    close_gates(gated)
    expected = flat_outputs(gated, x)[0]
    np.testing.assert_allclose(flat_outputs(result.model, x)[0], expected, atol=1e-5)
    assert result.model.count_params() < model.count_params()
    return gated, result.model


def test_gates_stand_in_a_nested_model():
    model = outer_model(inner_model())
    positions = {p.layer: p for p in find_gate_positions(model)}
    assert positions["a_bn"].gate == "a_bn_gate"
    _, small = check_derived(model, 3)
    assert small.get_layer("a").filters < 6
    assert model.get_layer("inner").get_layer("a").filters == 6


def test_nested_twice_and_names_that_are_taken():
    x = keras.Input((8, 8, 4), name="middle_x")
    y = conv(inner_model()(x), 4, "a")  # the name of a layer inside
    model = outer_model(keras.Model(x, y, name="middle"))
    gated, _ = check_derived(model, 4)
    names = [layer.name for layer in gated.layers]
    assert len(names) == len(set(names)) and "middle_a" in names or "inner_a" in names


def test_shared_nested_models_say_why_not():
    part = inner_model()
    model = outer_model(part, part)
    reasons = {p.layer: p.reason for p in find_gate_positions(model)}
    assert "used several times" in reasons["a_bn"]
    check_derived(model, 1)


def test_sequential_and_dictionaries():
    small = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.Conv2D(6, 1, name="s")], name="sequence"
    )
    small.add(layers.BatchNormalization(name="s_bn"))
    small.add(layers.ReLU())
    a, b = keras.Input((8, 8, 6), name="p"), keras.Input((8, 8, 4), name="q")
    both = keras.Model({"p": a, "q": b}, conv(layers.Concatenate()([b, a]), 4, "c"))
    x = keras.Input((8, 8, 3), name="images")
    y = conv(x, 4, "stem")
    y = both({"q": y, "p": small(y)})
    y = layers.GlobalAveragePooling2D()(conv(y, 5, "top"))
    model = keras.Model(x, layers.Dense(3)(y))
    randomize(model)
    check_derived(model, 4)


def test_flags_of_nested_models_survive():
    part = inner_model()
    model = outer_model(part)
    part.trainable = False
    gated = add_channel_gates(model)
    assert not gated.get_layer("a").trainable
    assert gated.get_layer("stem").trainable
    assert part.get_layer("a").name == "a"


def test_operations_keep_their_names_in_the_old_model():
    x = keras.Input((8, 8, 4))
    inner = keras.Model(x, conv(x * 2.0, 4, "a"), name="inner")
    operation = inner.operations[1]
    operation.name = "twice"
    images = keras.Input((8, 8, 3), name="images")
    y = inner(conv(images, 4, "twice"))
    model = keras.Model(images, layers.Conv2D(2, 1)(y))
    unfolded = unfold_models(model)
    assert operation.name == "twice"
    assert "inner_twice" in [x.name for x in unfolded.operations] or [
        x.name for x in unfolded.operations if x.name.startswith("inner_")
    ]
    x = random_inputs(model)
    np.testing.assert_allclose(
        flat_outputs(model, x)[0], flat_outputs(unfolded, x)[0], atol=1e-6
    )


def test_nested_models_in_training_mode_stay():
    model = outer_model(inner_model(), training=True)
    same = unfold_models(model)
    assert same is not model and same.get_layer("inner") is not None
    reasons = {p.layer: p.reason for p in find_gate_positions(model)}
    assert "training mode" in reasons["inner"]
    plain = outer_model()
    same = unfold_models(plain)
    assert [x.name for x in same.layers] == [x.name for x in plain.layers]
    assert same is not plain
    with pytest.raises(InvalidInputError, match="`model`"):
        unfold_models(3)


@pytest.mark.large
def test_a_network_of_keras_applications_inside():
    backbone = keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(32, 32, 3), alpha=0.35
    )
    x = keras.Input((32, 32, 3), name="images")
    y = layers.Rescaling(1 / 127.5, -1.0)(x)
    y = layers.GlobalAveragePooling2D()(backbone(y, training=False))
    model = keras.Model(x, layers.Dense(3)(y))
    positions = [p for p in find_gate_positions(model) if p.gate]
    assert len(positions) > 30
    check_derived(model, 30)
