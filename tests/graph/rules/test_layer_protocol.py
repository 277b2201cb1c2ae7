"""What a layer says of itself: who is asked, in which order, and what is refused."""

import ast
import pathlib

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sda.analysis import count_macs, profile, register_macs_rule
from keras_sda.analysis.macs import macs_rules
from keras_sda.export import fold_batch_normalization, split_groups
from keras_sda.graph import ChannelGraph, ModelGraph, layer_calls, register_rule
from keras_sda.graph.rules import channel_rules
from keras_sda.layers import (
    GroupedConv2D,
    PyramidalConv2D,
    PyramidSplitAttention2D,
    SelectiveDepthAttention,
)
from keras_sda.search import find_gate_positions
from keras_sda.search.surgery.keeps_zeros import keeps_zeros
from keras_sda.utils import InvalidInputError

PACKAGE = pathlib.Path(__file__).resolve().parents[3] / "keras_sda"


class Doubled(layers.Layer):
    """Says everything of itself."""

    keeps_zeros = True

    def __init__(self, form="fast", **kwargs):
        super().__init__(**kwargs)
        self.form = form

    def call(self, x):
        return 2 * x

    def get_config(self):
        return {**super().get_config(), "form": self.form}

    def compute_macs(self, input_shape, output_shape):
        return 10

    def follow_channels(self, call):
        return call.inputs

    def portable(self):
        return type(self)("plain", name=self.name)


class Inherits(Doubled):
    pass


class Overrides(Doubled):
    def call(self, x):
        return ops.cumsum(x, axis=-1)


class Silent(layers.Layer):
    def call(self, x):
        return 3 * x


class Mixed:
    """A mixin that leaves `call` to the class."""

    keeps_zeros = True

    def follow_channels(self, call):
        return call.inputs


class WithMixin(Mixed, layers.Layer):
    def call(self, x):
        return 4 * x


@pytest.fixture(autouse=True)
def no_registrations():
    yield
    for registered in (channel_rules._REGISTERED, macs_rules._rules):
        for kind in (Doubled, Silent, layers.ReLU):
            registered.pop(kind, None)


def between(layer, name="m"):
    """Dense, the layer, dense."""
    x = keras.Input((4,))
    layer = layer(name=name)
    y = layer(layers.Dense(6, name="a")(x))
    return keras.Model(x, layers.Dense(2, name="b")(y))


def answers(layer):
    """What prune, profile, gates and export get to know of the layer."""
    model = between(layer)
    node = next(node for node in ModelGraph(model).nodes if node.name == "m")
    call = next(call for call in layer_calls(model) if call.name == "m")
    form = getattr(split_groups(model).get_layer("m"), "form", None)
    return bool(ChannelGraph(model).groups), count_macs(call), keeps_zeros(node), form


def test_the_methods_of_a_layer_are_enough():
    assert answers(Doubled) == (True, 10, "all", "plain")
    assert answers(Inherits) == (True, 10, "all", "plain")
    assert answers(WithMixin)[:3] == (True, 0, "all")


def test_methods_do_not_speak_of_the_call_of_a_subclass():
    assert answers(Overrides) == (False, 0, "", "fast")


def test_a_registration_says_what_a_layer_does_not():
    assert answers(Silent) == (False, 0, "", None)
    register_rule(Silent, lambda call: call.inputs, keeps_zeros=True)
    register_rule(Silent, compute_macs=lambda layer, before, after: after[-1])
    register_rule(Silent, portable=lambda layer: Doubled("mine", name=layer.name))
    assert answers(Silent) == (True, 6, "all", "mine")


def test_a_registration_comes_before_the_method():
    register_rule(
        Doubled,
        lambda call: call.pinned_outputs("so it was said"),
        compute_macs=lambda layer, before, after: 11,
        keeps_zeros=lambda layer: layer.form != "fast",
        portable=lambda layer: Doubled("mine", name=layer.name),
    )
    assert answers(Doubled) == (False, 11, "", "mine")
    assert answers(Inherits) == (True, 10, "all", "plain")  # for no subclass
    register_macs_rule(Doubled, lambda call: 12)
    assert answers(Doubled)[1] == 12


def test_a_registration_comes_before_the_table_of_keras():
    assert answers(layers.ReLU)[:3] == (True, 0, "all")
    rule = {"compute_macs": lambda layer, before, after: 5, "keeps_zeros": False}
    register_rule(layers.ReLU, lambda call: call.pinned_inputs("no"), **rule)
    assert answers(layers.ReLU)[:3] == (False, 5, "")


def test_wrong_registrations_are_one_line():
    for name in ("compute_macs", "portable"):
        with pytest.raises(InvalidInputError, match=f"`{name}` must be a function"):
            register_rule(Silent, **{name: 3})
    with pytest.raises(InvalidInputError, match="`keeps_zeros` must be True, False or"):
        register_rule(Silent, keeps_zeros="often")
    with pytest.raises(InvalidInputError, match="`rule` must be a function"):
        register_rule(Silent, 3, keeps_zeros=True)
    assert Silent not in channel_rules._REGISTERED


def test_a_wrong_answer_names_the_layer():
    register_rule(Doubled, keeps_zeros=lambda layer: None)
    with pytest.raises(InvalidInputError, match="`keeps_zeros` of layer 'm' must be"):
        answers(Doubled)
    register_rule(Doubled, keeps_zeros=True, portable=lambda layer: Silent(name="x"))
    with pytest.raises(InvalidInputError, match="`portable` of layer 'm' .Doubled"):
        answers(Doubled)
    with pytest.raises(InvalidInputError, match="layer class of Keras"):
        register_rule(Silent, lambda call: call.follow_as(Doubled))
        answers(Silent)


class Kernel(layers.Layer):
    """A convolution of a user, of its own making."""

    is_convolution = True

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, shape):
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], self.filters), name="k")
        self.bias = self.add_weight(shape=(self.filters,), name="b")

    def call(self, x):
        return ops.conv(x, self.kernel, padding="same") + self.bias

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}

    def follow_channels(self, call):
        made = call.new_units(self.filters)
        call.index(self.kernel, 2, call.units(), "reads")
        call.index(self.kernel, 3, made, "writes")
        call.index(self.bias, 0, made, "writes")
        call.configure("filters", lambda kept: kept.count(made))
        return call.channels(3, made)

    def scaled_weights(self, scale, offset):
        kernel, bias = map(ops.convert_to_numpy, (self.kernel, self.bias))
        return [kernel * scale, bias * scale + offset]


def test_a_convolution_of_a_user_gets_gates_and_takes_its_normalisation_in():
    x = keras.Input((6, 6, 3))
    y = Kernel(4, name="k")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="bn")(y))
    model = keras.Model(x, layers.Conv2D(2, 3, name="last")(y))
    assert [p.layer for p in find_gate_positions(model) if p.gate] == ["bn"]
    assert profile(model).unknown == ()
    generator = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    folded = fold_batch_normalization(model)
    assert "bn" not in {layer.name for layer in folded.layers}
    images = generator.normal(size=(2, 6, 6, 3)).astype("float32")
    np.testing.assert_allclose(folded(images), model(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "layer, num_channels",
    [
        (lambda: layers.Conv2D(4, 3, groups=2, name="m"), 4),
        (lambda: GroupedConv2D(4, 3, groups=2, name="m"), 4),
        (lambda: PyramidalConv2D([4, 4], [3, 5], [1, 4], name="m"), 8),
        (lambda: PyramidSplitAttention2D(8, (3, 5), (1, 4), name="m"), 8),
    ],
)
def test_groups_are_split_in_the_portable_form(layer, num_channels):
    x = keras.Input((6, 6, 4))
    model = keras.Model(x, layer()(x))
    portable = split_groups(model)
    assert portable.get_layer("m").implementation == "split"
    assert portable.output_shape[-1] == num_channels
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype("float32")
    np.testing.assert_allclose(portable(images), model(images), rtol=1e-5, atol=1e-5)


def test_depth_attention_keeps_zeros_as_its_activation_does():
    assert SelectiveDepthAttention().keeps_zeros
    assert not SelectiveDepthAttention(activation="sigmoid").keeps_zeros


def test_the_graph_knows_no_layer_of_this_package():
    """They say all of it themselves."""
    for path in (PACKAGE / "graph").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("keras_sda.layers"), path


def test_kernels_inside_of_a_foreign_layer_are_registered(monkeypatch):
    monkeypatch.setattr(channel_rules, "_REGISTERED", {})

    class Foreign(layers.Layer):
        pass

    layer = Foreign()
    assert channel_rules.own_rule(layer, "linear_parts") is None
    register_rule(Foreign, linear_parts=lambda layer: [layer.name])
    assert channel_rules.own_rule(layer, "linear_parts")() == [layer.name]
    with pytest.raises(InvalidInputError, match="`linear_parts` must be a function"):
        register_rule(Foreign, linear_parts=[])
