"""Models run piece by piece give what they give as a whole."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sda.graph import GraphRunner


def network():
    """Two inputs, a shared layer, a nested model called twice, an operation."""
    first, second = keras.Input((6, 6, 2)), keras.Input((6, 6, 2))
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    inner = keras.Input((6, 6, 3))
    nested = keras.Model(inner, layers.Conv2D(3, 1, name="in")(inner), name="nested")
    x = layers.Add(name="sum")([nested(shared(first)), nested(shared(second))])
    x = ops.concatenate([x, shared(first)], axis=-1)
    x = layers.Dropout(0.5)(layers.BatchNormalization()(x))
    return keras.Model([first, second], [layers.Flatten()(x), x])


def arrays(model, seed=0):
    generator = np.random.default_rng(seed)
    return [
        generator.normal(size=(2, *x.shape[1:])).astype("float32") for x in model.inputs
    ]


def test_every_cut_gives_the_outputs():
    model = network()
    inputs = arrays(model)
    expected = model(inputs, training=False)
    runner = GraphRunner(model)
    start = dict(zip(runner.inputs, inputs, strict=True))
    assert [call.name for call in runner.calls].count("nested/in") == 2
    by_number = dict(zip(runner.outputs, expected, strict=True))
    for position in range(len(runner.calls)):
        kept = runner.run(start, runner.frontier(position))
        done = {n for call in runner.calls[:position] for n in call.outputs}
        found = runner.run(kept, [n for n in runner.outputs if n not in done])
        assert found
        for number, value in found.items():
            np.testing.assert_allclose(value, by_number[number], atol=1e-6)


def test_only_what_is_needed_is_run():
    calls = []

    class Seen(layers.Layer):
        def call(self, inputs):
            calls.append(self.name)
            return inputs + 1.0

    x = keras.Input((2,))
    y = Seen(name="one")(x)
    runner = GraphRunner(keras.Model(x, Seen(name="three")(Seen(name="two")(y))))
    calls.clear()
    values = {runner.inputs[0]: np.zeros((1, 2))}
    (made,) = runner.calls[1].outputs
    assert float(runner.run(values, [made])[made][0, 0]) == 2.0
    assert calls == ["one", "two"]
    (known,) = runner.calls[0].outputs
    runner.run({known: np.zeros((1, 2))}, [made])
    assert calls == ["one", "two", "two"]


def test_frontier_is_what_is_still_read():
    x = keras.Input((4,))
    y = layers.Dense(3, name="a")(x)
    z = layers.Dense(3, name="b")(y)
    runner = GraphRunner(keras.Model(x, layers.Add(name="c")([y, z])))
    assert runner.frontier(0) == runner.inputs
    assert runner.frontier(1) == [*runner.calls[0].outputs]
    both = sorted([*runner.calls[0].outputs, *runner.calls[1].outputs])
    assert runner.frontier(2) == both
    assert runner.size(both) == 6
    assert [call.name for call in runner.readers(both[0])] == ["b", "c"]


def test_unknown_values_are_an_error():
    runner = GraphRunner(network())
    with pytest.raises(KeyError):
        runner.run({}, runner.outputs)


def ran(model, inputs):
    runner = GraphRunner(model)
    found = runner.run(runner.given(inputs), runner.outputs)
    return [found[number] for number in runner.outputs]


def test_inputs_are_taken_as_the_model_takes_them():
    """Whole numbers, a missing last axis, dictionaries in any order."""
    x = keras.Input((4, 4, 1))
    model = keras.Model(x, layers.Conv2D(2, 3)(x - 128.0))
    images = np.arange(32, dtype="uint8").reshape(2, 4, 4)
    for given in (images[..., None], images):
        np.testing.assert_allclose(ran(model, given)[0], model(given), atol=1e-5)
    right, left = keras.Input((3,), name="right"), keras.Input((3,), name="left")
    model = keras.Model([right, left], right - 2.0 * left)
    given = {"left": np.ones((2, 3)), "right": np.zeros((2, 3))}
    np.testing.assert_allclose(ran(model, given)[0], -2.0)


def test_nested_models_cast_what_they_get():
    inner = keras.Input((4, 4, 3))
    nested = keras.Model(inner, layers.Conv2D(2, 3)(inner), name="backbone")
    x = keras.Input((4, 4, 3), dtype="uint8")
    model = keras.Model(x, nested(x))
    images = np.arange(96, dtype="uint8").reshape(2, 4, 4, 3)
    np.testing.assert_allclose(ran(model, images)[0], model(images), atol=1e-4)


def test_nothing_runs_as_in_training():
    x = keras.Input((4,))
    y = layers.BatchNormalization(name="bn")(x, training=True)
    model = keras.Model(x, layers.Dropout(0.5)(y, training=True))
    before = [np.array(v) for v in model.weights]
    data = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    found = ran(model, data)[0]
    np.testing.assert_allclose(found, model.predict(data, verbose=0), atol=1e-6)
    for one, other in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)
