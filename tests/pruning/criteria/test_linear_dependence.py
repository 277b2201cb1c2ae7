"""The criterion `linear_dependence`, by hand and against the reference values."""

import dataclasses
import pathlib

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.graph import ChannelGraph
from keras_sda.layers import GroupedConv2D, SqueezeExcite2D
from keras_sda.pruning import CRITERIA, collect_statistics, make_plan
from keras_sda.pruning.criteria import collect_statistics as module
from keras_sda.pruning.criteria.linear_dependence import LinearDependence
from keras_sda.utils import InvalidInputError

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures"
EXACT = LinearDependence(ridge=1e-7)
DEPENDENT = np.array([[1, 0, 1], [0, 1, 2], [1, 1, 3], [2, 1, 4]], "float32")
# Their mean products are [[4, 2], [2, 2]]: by the other, 2 and 1 are not explained.
ROWS = np.array([[2, 2], [2, 0]], "float32")


def passes(shape, *readers):
    """A model whose channels are those of its inputs."""
    x = keras.Input(shape)
    made = (
        layers.Conv2D(shape[-1], 1, use_bias=False, name="made")
        if len(shape) == 3
        else layers.Dense(shape[-1], use_bias=False, name="made")
    )
    y = made(x)
    model = keras.Model(x, [reader(y) for reader in readers])
    made.kernel.assign(np.eye(shape[-1]).reshape(made.kernel.shape))
    return model


def dense(kernel):
    """A layer that has this kernel."""
    kernel = np.asarray(kernel, "float32")
    layer = layers.Dense(kernel.shape[1], use_bias=False)
    layer.build((None, kernel.shape[0]))
    layer.kernel.assign(kernel)
    return layer


def score(model, rows, criterion=EXACT):
    graph = ChannelGraph(model)
    statistics = collect_statistics(graph, [criterion], np.asarray(rows, "float32"))
    (group,) = graph.groups
    return criterion.score(group, statistics)


def test_by_hand():
    """|W|^2 is 1 and 4, the power of the output 4 + 2 * 4 + 2 * 4 = 20."""
    found = score(passes((2,), dense([[1.0], [2.0]])), ROWS)
    np.testing.assert_allclose(found, [2 * 1 / 20, 1 * 4 / 20], rtol=1e-6)
    # Independent channels: their shares of the power.
    found = score(passes((2,), dense([[3.0], [1.0]])), np.diag([1.0, 2.0]))
    np.testing.assert_allclose(found, [9 / 13, 4 / 13], rtol=1e-6)
    # Of three that are each a sum of the others, nothing is lost.
    found = score(passes((3,), dense([[1.0], [2.0], [10.0]])), DEPENDENT)
    assert (0 <= found).all() and (found < 1e-6).all()


def test_the_costs_of_all_readers_are_added():
    one, other = [[1.0], [2.0]], [[3.0, 0.0], [0.0, 1.0]]
    model = passes((2,), dense(one), dense(other))
    # Of the other: 9 * 4 + 2 = 38.
    expected = [2 / 20 + 2 * 9 / 38, 4 / 20 + 1 / 38]
    np.testing.assert_allclose(score(model, ROWS), expected, rtol=1e-6)


def test_reference():
    """In the order in which a greedy choice takes them, each with its cost."""
    golden = np.load(FIXTURES / "dev_reconstruction.npz")
    rows, kernel = golden["x_activations"], golden["x_kernel"]
    moments, ridge = golden["want_second_moments"], float(golden["x_ridge"])
    left = np.arange(len(moments))
    shift = ridge * np.trace(moments) / len(moments)
    for channel, cost in zip(
        golden["want_greedy_order"], golden["want_greedy_costs"], strict=True
    ):
        reader = layers.Conv2D(4, 3, use_bias=False)
        model = passes((5, 5, len(left)), reader)
        reader.kernel.assign(kernel)
        graph = ChannelGraph(model)
        criterion = LinearDependence(ridge=shift * len(left) / np.trace(moments))
        data = rows[..., left].astype("float32")
        statistics = collect_statistics(graph, [criterion], data)
        # What the model gives in single precision, then in double precision.
        of = [k for k, x in enumerate(statistics.readings) if "made" not in x.layers]
        np.testing.assert_allclose(statistics.moments[of[0]], moments, 1e-5, 1e-6)
        statistics = dataclasses.replace(statistics, moments=[moments, moments])
        found = criterion.finish(graph, statistics)[of[0]]
        assert left[found.argmin()] == channel
        np.testing.assert_allclose(found.min(), cost, rtol=1e-4)
        # It goes, and the others take over what they can.
        inverse = np.linalg.inv(moments + shift * np.eye(len(left)))
        gone = found.argmin()
        shares = np.delete(-inverse[gone] / inverse[gone, gone], gone)
        kernel = np.delete(kernel, gone, 2) + np.multiply.outer(
            shares, kernel[:, :, gone]
        ).transpose(1, 2, 0, 3)
        moments = np.delete(np.delete(moments, gone, 0), gone, 1)
        left = np.delete(left, gone)


def test_redundancy_of_the_reference():
    """With kernels of size one in a row it is what cannot be explained alone."""
    golden = np.load(FIXTURES / "dev_reconstruction.npz")
    moments, ridge = golden["want_second_moments"], float(golden["x_ridge"])
    model = passes((8,), dense(np.eye(8)))
    graph = ChannelGraph(model)
    criterion = LinearDependence(ridge)
    statistics = collect_statistics(graph, [criterion], np.eye(8, dtype="float32"))
    statistics = dataclasses.replace(statistics, moments=[moments, moments])
    (group,) = graph.groups
    statistics.collected[criterion.name] = criterion.finish(graph, statistics)
    power = np.diag(moments) + ridge * np.trace(moments) / len(moments)
    found = criterion.score(group, statistics) * np.trace(moments) / power
    np.testing.assert_allclose(found, golden["want_redundancy"], rtol=1e-6, atol=1e-9)
    assert (found[[0, 1, 5, 6]] < 1e-6).all()


def test_groups_of_a_convolution_solve_for_themselves():
    """Channel 2 equals channel 0, but another group reads it."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(50, 3, 3, 4))
    rows[..., 2] = rows[..., 0]
    kernel = generator.normal(size=(1, 1, 2, 6)).astype("float32")
    for reader in (layers.Conv2D(6, 1, groups=2), GroupedConv2D(6, 1, groups=2)):
        model = passes((3, 3, 4), reader)
        reader.kernel.assign(kernel)
        graph = ChannelGraph(model)
        statistics = collect_statistics(graph, [EXACT], rows.astype("float32"))
        (costs,) = (x for x in statistics["linear_dependence"] if x is not None
                    and x[0] > 1e-3 and len(x) == 4)  # fmt: skip
        flat = rows.reshape(-1, 4)
        moments = flat.T @ flat / len(flat)
        expected, power = [], 0.0
        for part, columns in ((slice(0, 2), slice(0, 3)), (slice(2, 4), slice(3, 6))):
            inner, own = moments[part, part], kernel[0, 0, :, columns]
            rest = 1 / np.diag(np.linalg.inv(inner))
            expected += list(rest * (own**2).sum(1))
            power += np.trace(own.T @ inner @ own)
        np.testing.assert_allclose(costs, np.array(expected) / power, rtol=1e-4)
        (group,) = (g for g in graph.groups if "made" in g.writers)
        found = EXACT.score(group, statistics)
        np.testing.assert_allclose(found, costs[:2] + costs[2:], rtol=1e-6)


def test_calls_of_a_shared_layer_count_by_their_rows():
    shared = layers.Conv1D(1, 1, use_bias=False, name="shared")
    x = keras.Input((4, 2))
    made = layers.Conv1D(2, 1, use_bias=False, name="made")
    y = made(x)
    model = keras.Model(x, [shared(y), shared(y[:, :1])])
    made.kernel.assign(np.eye(2)[None])
    shared.kernel.assign([[[1.0], [2.0]]])
    rows = np.random.default_rng(0).normal(size=(9, 4, 2)).astype("float32")
    seen = np.concatenate([rows.reshape(-1, 2), rows[:, 0]]).astype("float64")
    moments = seen.T @ seen / len(seen)
    kernel = np.array([1.0, 2.0])
    rest = 1 / np.diag(np.linalg.inv(moments))
    expected = rest * kernel**2 / (kernel @ moments @ kernel)
    np.testing.assert_allclose(score(model, rows), expected, rtol=1e-5)


def test_what_cannot_be_solved_has_the_score_of_l1(monkeypatch):
    x = keras.Input((4, 4, 2))
    y = SqueezeExcite2D(3, name="excite")(layers.Conv2D(4, 1, name="made")(x))
    model = keras.Model(x, layers.Dense(2, name="read")(layers.Flatten()(y)))
    graph = ChannelGraph(model)
    rows = np.random.default_rng(0).normal(size=(70, 4, 4, 2)).astype("float32")
    l1 = CRITERIA["l1"]
    for most in (64, 63):
        monkeypatch.setattr(module, "MOST_MOMENTS", most)
        statistics = collect_statistics(graph, [EXACT], rows)
        for group in graph.groups:
            is_seen = "made" in group.writers and most == 64
            by_weights = l1.score(group, statistics)
            same = np.array_equal(EXACT.score(group, statistics), by_weights)
            assert same != is_seen
    assert [m is None for m in statistics.moments] == [False, False, True]
    assert statistics.num_rows == [70 * 16, 70 * 16, 70]


def test_dead_channels_and_dead_readers_are_free():
    rows = np.array([[1, 0, 2], [3, 0, 1], [0, 0, 1]], "float32")
    found = score(passes((3,), dense(np.ones((3, 1)))), rows)
    assert found[1] < 1e-6 < min(found[0], found[2])
    assert not score(passes((3,), dense(np.zeros((3, 1)))), rows).any()
    assert not score(passes((3,), dense(np.ones((3, 1)))), 0 * rows).any()


def test_a_copy_goes_before_what_is_unique():
    """Chance takes the pair of copies in one of six plans."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(80, 4)).astype("float32")
    rows[:, 3] = rows[:, 1]
    model = passes((4,), dense(generator.normal(size=(4, 5))))
    plan = make_plan(model, params=0.8, importance="linear_dependence", data=rows)
    assert plan.remove in ({"made": [1]}, {"made": [3]})


def test_too_few_samples_for_a_width(caplog):
    model = passes((6,), dense(np.ones((6, 1))))
    rows = np.random.default_rng(0).normal(size=(6, 6))
    with caplog.at_level("WARNING"):
        score(model, rows[:5], LinearDependence())
    (line,) = [x for x in caplog.messages if "every one of them looks" in x]
    assert "held 5 samples" in line and "reads 6 channels" in line
    assert "fewer than 6 samples" in line
    caplog.clear()
    with caplog.at_level("WARNING"):
        score(model, rows, LinearDependence())
    assert not [x for x in caplog.messages if "every one of them looks" in x]


def test_the_ridge_is_checked():
    for ridge in (0, -1.0, float("nan")):
        with pytest.raises(InvalidInputError, match="`ridge` must be positive"):
            LinearDependence(ridge)
