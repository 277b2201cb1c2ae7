"""Which terms of sums stand beside a shortcut, and what a sum is."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sda.graph import edit_terms, residual_branches, sum_terms


def test_what_is_a_sum():
    x, y = keras.Input((4, 4, 2)), keras.Input((4, 4, 2))
    narrow = keras.Input((1, 1, 2))
    add = layers.Add()
    operation = keras.Model([x, y], x + y).operations[-1]
    assert sum_terms(add, ([x, y, x],)) == [x, y, x]
    assert sum_terms(operation, (x, y)) == [x, y]
    for layer, args in (
        (add, ([x, narrow],)),
        (operation, (x, 1.0)),
        (operation, (x, np.ones((4, 4, 2)))),
        (layers.Average(), ([x, y],)),
        (layers.Dense(2), (x,)),
    ):
        assert sum_terms(layer, args) is None


@pytest.mark.parametrize(
    "shortcut, goes",
    [
        (lambda x: x, True),
        (layers.ReLU(), True),
        (lambda x: layers.Dropout(0.5)(layers.Activation("gelu")(x)), True),
        (lambda x: ops.relu(x * 2.0), True),
        (lambda x: layers.Add()([x, layers.Conv2D(2, 1)(x)]), True),
        (layers.Conv2D(2, 1), False),
        (layers.BatchNormalization(), False),
        (lambda x: x * ops.sigmoid(x), False),
    ],
)
def test_weights_on_the_shortcut_keep_a_branch(shortcut, goes):
    x = keras.Input((4, 4, 2), name="x")
    y = layers.Conv2D(2, 3, padding="same", name="last")(x)
    y = layers.Add(name="sum")([shortcut(x), y])
    branch = residual_branches(keras.Model(x, layers.Flatten()(y)))[-1]
    assert (branch.joint.name, branch.end.name, branch.places[0][1]) == (
        "sum",
        "last",
        1,
    )
    assert (branch.why_not == "") == goes
    assert goes or "no shortcut stands beside it" in branch.why_not
    assert [layer.name for layer in branch.layers] == ["last", "sum"]


def test_terms_of_a_sum_may_become_others():
    x = keras.Input((2,), name="x")
    y = layers.Add(name="sum")([x, layers.Dense(2, name="dense")(x)])
    model = keras.Model(x, y)

    def change(terms):
        return [terms[0], 2.0 * terms[0], terms[0]]

    copy = edit_terms(model, {id(model): {("sum", 0): change}})
    np.testing.assert_allclose(copy(np.ones((1, 2))), [[4, 4]])
    assert copy.count_params() == 0 and model.count_params() == 6
