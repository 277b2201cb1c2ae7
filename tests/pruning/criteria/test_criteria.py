"""Every criterion against a computation by hand."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.graph import ChannelGraph
from keras_sda.pruning import CRITERIA, collect_statistics, make_plan

KERNEL = np.array([[1.0, -2.0, 0.5], [3.0, 0.0, -0.5]], "float32")
GAMMA = np.array([0.2, -0.1, 0.3], "float32")


def network():
    x = keras.Input((2,), name="x")
    y = layers.Dense(3, name="a")(x)
    y = layers.BatchNormalization(name="bn", epsilon=0.0)(y)
    model = keras.Model(x, layers.Dense(1, name="b", use_bias=False)(y))
    model.get_layer("a").kernel.assign(KERNEL)
    model.get_layer("a").bias.assign([0.1, 0.2, 0.3])
    model.get_layer("bn").gamma.assign(GAMMA)
    model.get_layer("bn").moving_variance.assign([1.0, 1.0, 1.0])
    model.get_layer("b").kernel.assign([[1.0], [2.0], [-1.0]])
    return model


def score(name, statistics=None):
    (group,) = ChannelGraph(network()).groups
    return CRITERIA[name].score(group, statistics)


def test_l1():
    np.testing.assert_allclose(score("l1"), np.abs(KERNEL).mean(0))


def test_l2():
    np.testing.assert_allclose(score("l2"), np.sqrt((KERNEL**2).mean(0)))


def test_bn_scale():
    np.testing.assert_allclose(score("bn_scale"), np.abs(GAMMA))


def test_bn_scale_without_normalization_is_l1():
    x = keras.Input((2,))
    graph = ChannelGraph(keras.Model(x, layers.Dense(1)(layers.Dense(3)(x))))
    (group,) = graph.groups
    np.testing.assert_allclose(
        CRITERIA["bn_scale"].score(group, None), CRITERIA["l1"].score(group, None)
    )


def test_geometric_median():
    filters = KERNEL.T
    expected = [
        sum(np.linalg.norm(one - other) for other in filters) for one in filters
    ]
    np.testing.assert_allclose(score("geometric_median"), expected, rtol=1e-6)


def test_a_channel_made_by_two_layers_is_their_mean():
    x = keras.Input((2,))
    one, other = layers.Dense(3), layers.Dense(3)
    y = layers.Add()([one(x), other(x)])
    (group,) = ChannelGraph(keras.Model(x, layers.Dense(1)(y))).groups
    one.kernel.assign(KERNEL)
    other.kernel.assign(3 * KERNEL)
    np.testing.assert_allclose(
        CRITERIA["l1"].score(group, None), 2 * np.abs(KERNEL).mean(0), rtol=1e-6
    )
    np.testing.assert_allclose(
        CRITERIA["l2"].score(group, None), np.sqrt(5 * (KERNEL**2).mean(0)), rtol=1e-6
    )


def test_tied_groups_of_a_convolution_count_together():
    x = keras.Input((4, 4, 4))
    grouped = layers.Conv2D(4, 1, groups=2)
    graph = ChannelGraph(keras.Model(x, layers.Conv2D(1, 1)(grouped(x))))
    (group,) = graph.groups
    grouped.kernel.assign(np.tile(np.array([1.0, 2.0, 3.0, -8.0]), (1, 1, 2, 1)))
    np.testing.assert_allclose(CRITERIA["l1"].score(group, None), [2.0, 5.0])


def test_random_follows_the_seed():
    model = network()
    plans = [
        make_plan(model, params=0.8, importance="random", seed=seed).remove
        for seed in (0, 0, 1, 2, 3, 4)
    ]
    assert plans[0] == plans[1]
    assert any(plan != plans[0] for plan in plans[2:])


@pytest.mark.parametrize("name", ["taylor", "activation"])
def test_criteria_on_data(name):
    model = network()
    inputs = np.array([[1.0, 2.0], [-1.0, 0.5], [0.3, 0.1]], "float32")
    targets = np.array([[1.0], [0.0], [2.0]], "float32")
    z = inputs @ KERNEL + np.array([0.1, 0.2, 0.3])
    y = z * GAMMA
    reader = np.array([1.0, 2.0, -1.0])
    if name == "activation":
        expected = np.abs(y).mean(0)
    else:
        # d loss / d y, then |sum of weight x gradient| over kernel, bias and gamma;
        # kernel and bias together are z, gamma is y / gamma.
        slope = 2 * (y @ reader[:, None] - targets) / len(targets) * reader
        changes = (slope * y).sum(0)
        expected = np.abs(2 * changes)
    received = {}

    def spy(group):
        received["scores"] = scores(group)
        return received["scores"]

    graph = ChannelGraph(model)
    data = inputs, targets
    statistics = collect_statistics(graph, [CRITERIA[name]], data, "mse")

    def scores(group):
        return CRITERIA[name].score(group, statistics)

    make_plan(model, params=0.8, importance=spy)
    np.testing.assert_allclose(scores(graph.groups[0]), expected, rtol=1e-4)
    np.testing.assert_allclose(received["scores"], expected, rtol=1e-4)
