"""The rebuilt model holds exactly the weights that stay."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.graph import ChannelGraph, rebuild, remove_channels
from keras_sda.utils import InvalidInputError


def chain():
    x = keras.Input((4,), name="x")
    y = layers.Dense(6, name="a", activation="relu")(x)
    y = layers.BatchNormalization(name="bn")(y)
    return keras.Model(x, layers.Dense(2, name="b")(y), name="chain")


def remove(graph, positions):
    removed = np.zeros(len(graph.units.pinned), bool)
    removed[graph.units.classes[graph.layers["a"].made[positions]]] = True
    return remove_channels(graph, removed)


def test_weights_are_cut_where_channels_lie():
    model = chain()
    keep = [0, 2, 3, 5]
    small = remove(ChannelGraph(model), [1, 4])
    assert small.name == "chain" and not small.compiled
    a, bn, b = (model.get_layer(name).get_weights() for name in ("a", "bn", "b"))
    expected = [a[0][:, keep], a[1][keep], *(w[keep] for w in bn), b[0][keep], b[1]]
    for one, other in zip(small.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not {id(v) for v in small.weights} & {id(v) for v in model.weights}


def test_removing_nothing_is_a_copy():
    model = chain()
    copy = remove(ChannelGraph(model), [])
    for one, other in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_compiled_model_gives_one_that_is_not():
    model = chain()
    model.compile("adam", "mse")
    small = remove(ChannelGraph(model), [0])
    assert not small.compiled
    small.compile("sgd", "mse")
    small.fit(np.ones((2, 4)), np.ones((2, 2)), verbose=0)


def test_flags_of_models_layers_and_weights():
    inner = keras.Input((6,))
    block = keras.Model(inner, layers.Dense(3, name="c")(inner), name="block")
    x = keras.Input((4,))
    y = block(layers.Dense(6, name="a")(x))
    model = keras.Model(x, layers.Dense(2, name="b")(y))
    model.trainable = False
    model.get_layer("b").trainable = True
    model.get_layer("b").bias.trainable = False
    small = remove(ChannelGraph(model), [1])
    assert not small.get_layer("block").trainable
    assert not small.trainable and small.get_layer("b").trainable
    assert small.get_layer("b").kernel.trainable
    assert not small.get_layer("b").bias.trainable
    assert small.get_layer("block").input_shape == (None, 5)


def test_rebuild_passes_every_axis_once():
    seen = []

    def change(value, axis):
        seen.append((axis.variable.path, axis.axis))
        return value

    graph = ChannelGraph(chain())
    rebuild(graph, change)
    assert (
        len(seen) == len(set(seen)) == sum(len(x.axes) for x in graph.layers.values())
    )


def test_a_layer_with_an_incomplete_config_is_an_error():
    class Careless(layers.Dense):
        def get_config(self):
            return {"name": self.name, "units": 6}

    from keras_sda.graph.rules.channel_rules import _REGISTERED, register_rule
    from keras_sda.graph.rules.weighted_layer_rules import dense

    register_rule(Careless, dense)
    try:
        x = keras.Input((4,))
        y = Careless(6, name="a", use_bias=False)(x)
        graph = ChannelGraph(keras.Model(x, layers.Dense(2)(y)))
        with pytest.raises(InvalidInputError, match="'a'.*complete get_config"):
            remove(graph, [1])
    finally:
        del _REGISTERED[Careless]
