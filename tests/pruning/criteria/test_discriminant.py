"""The criterion `discriminant`, against its definition and the reference values."""

import pathlib

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.graph import ChannelGraph
from keras_sda.pruning import CRITERIA, collect_statistics, make_plan
from keras_sda.pruning.criteria.discriminant import Discriminant
from keras_sda.utils import InvalidInputError

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures"
SQUARE = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], "float32")


def score(model, data, criterion=CRITERIA["discriminant"]):
    graph = ChannelGraph(model)
    statistics = collect_statistics(graph, [criterion], data)
    (group,) = graph.groups
    return criterion.score(group, statistics)


def passes(shape, readers=1):
    """A model whose channels are those of its inputs, read by so many layers."""
    x = keras.Input(shape)
    kind = layers.Conv2D if len(shape) == 3 else layers.Dense
    size = [1] if len(shape) == 3 else []
    made = kind(shape[-1], *size, use_bias=False, name="made")
    y = made(x)
    model = keras.Model(x, [kind(2, *size)(y + 0.0 * k) for k in range(readers)])
    made.kernel.assign(np.eye(shape[-1]).reshape(made.kernel.shape))
    return model


def information(values, labels, rho):
    """Discriminant information as it is defined: tr(Y' K (K + rho I)^-1 Y)."""
    values = (values - values.mean(0)).reshape(len(values), -1)
    targets = np.eye(labels.max() + 1)[labels]
    targets -= targets.mean(0)
    gram = values @ values.T
    shifted = np.linalg.inv(gram + rho * np.eye(len(gram)))
    return np.trace(targets.T @ gram @ shifted @ targets)


def test_by_hand():
    """16 / 16.81 for the channel that is the class, nothing for the other."""
    found = score(passes((2,)), (SQUARE, np.array([0, 0, 1, 1])))
    np.testing.assert_allclose(found, [16 / 16.81, 0], atol=1e-12)
    np.testing.assert_allclose(found[0], 0.951814, atol=1e-6)
    one_hot = np.eye(3)[[0, 0, 2, 2]]
    np.testing.assert_allclose(score(passes((2,)), (SQUARE, one_hot)), found)


def test_reference():
    golden = np.load(FIXTURES / "dev_discriminant.npz")
    values, labels = golden["x_activations"], golden["x_labels"]
    rho = float(golden["x_rho"])
    found = score(passes(values.shape[1:]), (values.astype("float32"), labels))
    np.testing.assert_allclose(found, golden["want_scores"], rtol=1e-5)
    # The same by scaling one channel at a time.
    np.testing.assert_allclose(
        information(values, labels, rho), golden["want_di"], rtol=1e-10
    )
    np.testing.assert_allclose(
        information(SQUARE, np.array([0, 0, 1, 1]), 0.1), 8 / 4.1, rtol=1e-10
    )
    for channel in range(values.shape[-1]):
        moved = []
        for sign in (-1, 1):
            scale = np.ones(values.shape[-1])
            scale[channel] += sign * 1e-4
            moved.append(information(values * scale, labels, rho) / rho)
        slope = (moved[1] - moved[0]) / 2e-4
        np.testing.assert_allclose(found[channel], slope, rtol=1e-4)


def test_batches_are_averaged_and_tensors_added():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(12, 4)).astype("float32")
    labels = np.arange(12) % 3
    halves = [(rows[:6], labels[:6]), (rows[6:], labels[6:])]
    single = [score(passes((4,)), half) for half in halves]
    np.testing.assert_allclose(score(passes((4,)), halves), np.mean(single, 0))
    both = score(passes((4,), readers=2), halves)
    np.testing.assert_allclose(both, 2 * np.mean(single, 0), rtol=1e-6)


def test_all_positions_of_a_flattened_map_count():
    x = keras.Input((3, 2))
    y = layers.Conv1D(2, 1, use_bias=False, name="made")(x)
    flat = keras.Model(x, layers.Dense(1)(layers.Flatten()(y)))
    whole = keras.Model(x, layers.Conv1D(1, 1)(y))
    rows = np.random.default_rng(0).normal(size=(8, 3, 2)).astype("float32")
    data = rows, np.arange(8) % 2
    np.testing.assert_allclose(score(flat, data), score(whole, data), rtol=1e-6)


def test_what_tells_classes_apart_stays():
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 2
    rows = generator.normal(size=(60, 4)).astype("float32")
    rows[:, 2] += 4 * labels
    plan = make_plan(
        passes((4,)), params=0.4, importance="discriminant", data=(rows, labels)
    )
    assert plan.remove == {"made": [0, 1, 3]}


def test_what_is_refused():
    model = passes((2,))
    labels = np.array([0, 0, 1, 1])

    def fails(match, data):
        with pytest.raises(InvalidInputError, match=match):
            make_plan(model, params=0.9, importance="discriminant", data=data)

    fails("importance='discriminant' needs `data`", None)
    fails("must hold targets as well", SQUARE)
    fails("importance='discriminant' needs `data` with one label", (SQUARE, labels / 2))
    fails("one class alone.*Shuffle", [(SQUARE[:2], [0, 0]), (SQUARE[2:], [1, 1])])
    with pytest.raises(InvalidInputError, match="`rho` must be positive"):
        Discriminant(rho=0)
