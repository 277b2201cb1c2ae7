"""Reordered channels: the same function on the zoo of topologies."""

import keras
import numpy as np
import pytest
from pruning.surgery_checks import flat_outputs, random_inputs, randomize
from pruning.zoo_structures import TOPOLOGIES

from keras_sda.graph import ChannelGraph
from keras_sda.graph.edit.permute_channels import permute_channels


def shuffled(graph, seed=0):
    generator = np.random.default_rng(seed)
    source = np.arange(len(graph.units.pinned))
    for group in graph.groups:
        source[group.classes] = generator.permutation(group.classes)
    return source


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_the_function_stays(name):
    model = TOPOLOGIES[name]()
    randomize(model)
    graph = ChannelGraph(model)
    source = shuffled(graph)
    assert (source != np.arange(len(source))).any() or not graph.groups
    permuted = permute_channels(graph, source)
    inputs = random_inputs(model)
    for before, after in zip(
        flat_outputs(model, inputs), flat_outputs(permuted, inputs), strict=True
    ):
        scale = max(1, np.abs(before).max())
        np.testing.assert_allclose(before / scale, after / scale, atol=2e-5)


def test_something_moves():
    x = keras.Input((8, 8, 3))
    y = keras.layers.Conv2D(6, 3, name="a")(x)
    model = keras.Model(x, keras.layers.Conv2D(4, 1, name="b")(y))
    graph = ChannelGraph(model)
    source = np.arange(len(graph.units.pinned))
    classes = graph.groups[0].classes
    source[classes] = classes[::-1]
    permuted = permute_channels(graph, source)
    for name, axis in (("a", -1), ("b", -2)):
        np.testing.assert_array_equal(
            np.flip(model.get_layer(name).kernel, axis),
            permuted.get_layer(name).kernel,
        )


@pytest.mark.parametrize("wrong", ["length", "pinned", "twice"])
def test_no_permutation_of_groups(wrong):
    x = keras.Input((3,))
    y = keras.layers.Dense(4)(x)
    graph = ChannelGraph(keras.Model(x, keras.layers.Dense(2)(y)))
    source = np.arange(len(graph.units.pinned))
    classes = graph.groups[0].classes
    if wrong == "length":
        source = source[:-1]
    elif wrong == "pinned":
        fixed = np.flatnonzero(graph.units.pinned)[:2]
        source[fixed] = source[fixed][::-1]
    else:
        source[classes[0]] = classes[1]
    with pytest.raises(ValueError, match="permute the classes"):
        permute_channels(graph, source)
