"""Who reads what in a functional model."""

import keras
from keras import layers

from keras_sda.graph.model.consumers import consumers


def test_readers_calls_and_outputs():
    x = keras.Input((4,), name="x")
    shared = layers.Dense(4, name="shared")
    first = shared(x)
    second = shared(first)
    drop = layers.Dropout(0.5, name="drop")(second, training=True)
    total = layers.Add(name="total")([drop, second])
    end = layers.ReLU(name="end")(total)
    uses = consumers(keras.Model(x, [end, drop]))
    assert list(uses) == ["x", "shared", "drop", "total", "end"]
    assert uses["shared"].num_calls == 2 and uses["shared"].only_consumer is None
    assert sorted(uses["shared"].consumers) == ["drop", "shared", "total"]
    assert uses["total"].only_consumer == "end" and not uses["total"].plain
    assert uses["end"].consumers == [None] and uses["end"].plain
    assert set(uses["drop"].consumers) == {"total", None}
    assert uses["drop"].training and not uses["drop"].plain


def test_calls_outside_the_model_do_not_count():
    x = keras.Input((4,), name="x")
    dense = layers.Dense(4, name="dense")
    y = dense(x)
    model = keras.Model(x, layers.ReLU(name="relu")(y))
    layers.ReLU()(y)
    dense(keras.Input((4,)))
    assert consumers(model)["dense"].num_calls == 1
    assert consumers(model)["dense"].only_consumer == "relu"


def test_a_tensor_read_twice_by_one_layer_counts_twice():
    x = keras.Input((4,), name="x")
    y = layers.Dense(4, name="dense")(x)
    uses = consumers(keras.Model(x, layers.Multiply(name="square")([y, y])))
    assert uses["dense"].consumers == ["square", "square"]
    assert uses["dense"].only_consumer is None
