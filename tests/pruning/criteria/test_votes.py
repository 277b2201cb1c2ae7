"""The criterion `votes`, against the examples of its definition."""

import pathlib

import keras
import numpy as np
from keras import layers

from keras_sda.graph import ChannelGraph
from keras_sda.layers import SqueezeExcite2D
from keras_sda.pruning import CRITERIA, collect_statistics, make_plan

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures"
VOTES = CRITERIA["votes"]


def votes(model, rows):
    graph = ChannelGraph(model)
    statistics = collect_statistics(graph, [VOTES], np.asarray(rows, "float32"))
    return [VOTES.score(group, statistics) for group in graph.groups]


def passes(count):
    """A model whose channels are those of its inputs."""
    x = keras.Input((count,))
    y = layers.Dense(count, use_bias=False, name="made")(x)
    model = keras.Model(x, layers.Dense(2, name="read")(y))
    model.get_layer("made").kernel.assign(np.eye(count))
    return model


def test_by_hand():
    """Ties are half a vote: (0, 1/2, 1) and (1/4, 1/4, 1)."""
    (found,) = votes(passes(3), [[1, 2, 3], [0, 0, 5]])
    np.testing.assert_array_equal(found, [0.125, 0.375, 1])
    (found,) = votes(passes(3), [[-1, 2, -3], [0, 0, 5]])
    np.testing.assert_array_equal(found, [0.125, 0.375, 1])


def test_reference():
    golden = np.load(FIXTURES / "dev_voting.npz")
    (found,) = votes(passes(7), golden["x_activations"])
    np.testing.assert_allclose(found, golden["want"], rtol=1e-12)
    np.testing.assert_allclose(found.mean(), 0.5)


def test_positions_and_tensors_are_averaged():
    """Of a map the mean over its positions counts; a flattened map votes as it is."""
    x = keras.Input((2, 2))
    y = layers.Conv1D(2, 1, use_bias=False, name="made")(x)
    outputs = [
        layers.Conv1D(1, 1, name="read")(y),
        layers.Dense(1, name="flat")(layers.Flatten()(y)),
    ]
    model = keras.Model(x, outputs)
    model.get_layer("made").kernel.assign(np.eye(2)[None])
    # Means 2 and 3; flattened 4, 1, 0, 5: of three others they beat 2, 1, 0 and 3.
    (found,) = votes(model, [[[4, 1], [0, 5]]])
    np.testing.assert_allclose(found, [(0 + 2 / 6) / 2, (1 + 4 / 6) / 2])


def test_hidden_units_vote_by_their_weights():
    x = keras.Input((4, 4, 2))
    y = SqueezeExcite2D(3, name="excite")(layers.Conv2D(4, 1)(x))
    model = keras.Model(x, layers.Conv2D(1, 1)(y))
    kernel = np.tile([1.0, -3.0, 2.0], (4, 1))
    model.get_layer("excite").squeeze.kernel.assign(kernel)
    found = votes(model, np.random.default_rng(0).normal(size=(5, 4, 4, 2)))
    assert sorted(len(score) for score in found) == [3, 4]
    (hidden,) = (score for score in found if len(score) == 3)
    np.testing.assert_array_equal(hidden, [0, 1, 0.5])


def test_quiet_channels_go_first():
    model = passes(4)
    rows = np.random.default_rng(0).normal(size=(40, 4)) * [3, 0.1, 2, 0.2]
    plan = make_plan(model, params=0.6, importance="votes", data=rows)
    assert plan.remove == {"made": [1, 3]}
