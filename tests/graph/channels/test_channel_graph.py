"""Units, groups and reasons on small models."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.graph import ChannelGraph
from keras_sda.graph.rules.unit_table import UnitTable


def residual(filters=4):
    x = keras.Input((8, 8, 3), name="x")
    a = layers.Conv2D(filters, 3, padding="same", name="a")(x)
    y = layers.Conv2D(5, 1, name="b")(layers.BatchNormalization(name="bn")(a))
    y = layers.Add(name="sum")([a, layers.Conv2D(filters, 1, name="c")(y)])
    y = layers.GlobalAveragePooling2D()(y)
    return keras.Model(x, layers.Dense(2, name="predictions")(y))


def describe(graph):
    return {group.writers: group.num_channels for group in graph.groups}


def test_groups_of_a_residual_network():
    graph = ChannelGraph(residual())
    assert describe(graph) == {("a", "c"): 4, ("b",): 5}
    stream = graph.groups[0]
    assert [(p.layer, p.variable.name, p.axis.axis, p.role) for p in stream.parts] == [
        ("a", "kernel", 3, "writes"),
        ("a", "bias", 0, "writes"),
        ("bn", "gamma", 0, "writes"),
        ("bn", "beta", 0, "writes"),
        ("bn", "moving_mean", 0, "carries"),
        ("bn", "moving_variance", 0, "carries"),
        ("b", "kernel", 2, "reads"),
        ("c", "kernel", 3, "writes"),
        ("c", "bias", 0, "writes"),
        ("predictions", "kernel", 0, "reads"),
    ]
    assert [(u.layer, u.num_channels, u.because_of) for u in graph.untouchable] == [
        ("predictions", 2, "predictions")
    ]


def test_units_are_made_by_layers():
    graph = ChannelGraph(residual())
    made = graph.layers["a"].made, graph.layers["c"].made
    assert len(set(made[0]) & set(made[1])) == 0
    np.testing.assert_array_equal(*[graph.units.classes[units] for units in made])
    assert "sum" in graph.layers and not len(graph.layers["sum"].made)


def test_a_grouped_convolution_ties_the_groups():
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(6, 1, name="a")(x)
    y = layers.Conv2D(9, 1, groups=3, name="b")(y)
    graph = ChannelGraph(keras.Model(x, layers.Conv2D(1, 1, name="c")(y)))
    assert describe(graph) == {("a",): 2, ("b",): 3}
    classes = graph.units.classes[graph.layers["a"].made].reshape(3, 2)
    assert (classes == classes[0]).all() and classes[0, 0] != classes[0, 1]
    values = graph.groups[1].values(graph.groups[1].parts[0])
    assert [value.shape for value in values] == [(3, 1, 1, 2)] * 3


def test_a_tensor_joined_with_itself_has_its_units_twice():
    x = keras.Input((8, 8, 3))
    a = layers.Conv2D(4, 1, name="a")(x)
    y = layers.Concatenate()([a, a])
    graph = ChannelGraph(keras.Model(x, layers.Conv2D(1, 1, name="b")(y)))
    (group,) = graph.groups
    reading = group.parts[-1]
    assert reading.layer == "b" and reading.role == "reads"
    np.testing.assert_array_equal(reading.labels[:4], reading.labels[4:])
    kernel = keras.ops.convert_to_numpy(reading.variable)
    np.testing.assert_allclose(
        group.reduce(reading), kernel[0, 0, :4, 0] + kernel[0, 0, 4:, 0], rtol=1e-6
    )


def test_layers_of_nested_models_have_long_names():
    inner = keras.Input((8, 8, 4))
    block = keras.Model(inner, layers.Conv2D(5, 1, name="conv")(inner), name="block")
    x = keras.Input((8, 8, 3))
    y = block(layers.Conv2D(4, 1, name="a")(x))
    graph = ChannelGraph(keras.Model(x, layers.Conv2D(1, 1, name="b")(y)))
    assert describe(graph) == {("a",): 4, ("block/conv",): 5}
    assert list(graph.nested_inputs) == [id(block)]


def test_pieces_of_a_tensor_are_groups_of_their_own():
    x = keras.Input((8, 8, 3))
    one, other = keras.ops.split(layers.Conv2D(6, 1, name="a")(x), 2, axis=-1)
    y = keras.ops.concatenate([other, one], axis=-1)
    graph = ChannelGraph(keras.Model(x, layers.Conv2D(1, 1, name="b")(y)))
    assert [(g.writers, g.num_channels) for g in graph.groups] == [(("a",), 3)] * 2


def test_a_model_without_free_channels_has_no_groups():
    x = keras.Input((4,), name="x")
    graph = ChannelGraph(keras.Model(x, layers.Dense(3, name="d")(x)))
    assert graph.groups == []
    assert graph.untouchable[0].reason == "it is an output of the model"


def test_unit_table():
    table = UnitTable()
    a, b, c = table.new(3), table.new(3), table.new(2)
    table.couple(a, b)
    table.couple(b[:1], c)
    table.pin(a[2:], "layer", "first reason")
    table.pin(b[2:], "other", "second reason")
    table.close()
    assert table.classes.tolist() == [0, 1, 2, 0, 1, 2, 0, 0]
    assert table.pinned.tolist() == [False, False, True]
    assert table.reasons == {2: ("layer", "first reason")}


@pytest.mark.parametrize("removed", [[0], [0, 3], []])
def test_kept(removed):
    graph = ChannelGraph(residual())
    mask = np.zeros(len(graph.units.pinned), bool)
    mask[graph.groups[0].classes[removed]] = True
    kept = graph.kept(mask)
    made = graph.layers["c"].made
    assert kept.count(made) == 4 - len(removed)
    assert np.flatnonzero(~kept.mask(made)).tolist() == removed


class Block(layers.Layer):
    """A layer made of another one."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(4, name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x)


@pytest.mark.parametrize("kind", [Block, layers.SpectralNormalization])
def test_what_can_be_taken_apart_says_how(kind):
    x = keras.Input((4,))
    layer = Block() if kind is Block else kind(layers.Dense(4))
    graph = ChannelGraph(keras.Model(x, layers.Dense(2)(layer(x))))
    reason = graph.untouchable[0].reason
    assert reason.startswith(f"there is no channel rule for {kind.__name__}, which")
    assert ("keras_sda.graph.expand_blocks(model)" in reason) == (kind is Block)
