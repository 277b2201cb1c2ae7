"""What a block is worth: by hand, by reference vectors, and for data of every kind."""

import pathlib

import keras
import numpy as np
import pytest
from keras import layers
from pruning.blocks.block_networks import NETWORKS
from pruning.surgery_checks import random_inputs, randomize

from keras_sda.pruning import block_importance, removable_blocks, remove_blocks
from keras_sda.pruning.blocks.distance_correlation import distance_correlation
from keras_sda.utils import InvalidInputError

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures"


def network(*factors):
    """Blocks that add so many times what they get."""
    x = keras.Input((2,), name="x")
    y = x
    for number, _ in enumerate(factors, 1):
        z = layers.Dense(2, use_bias=False, name=f"dense{number}")(y)
        y = layers.Add(name=f"block{number}")([y, z])
    model = keras.Model(x, y, name="factors")
    for number, factor in enumerate(factors, 1):
        model.get_layer(f"dense{number}").kernel.assign(factor * np.eye(2))
    return model


def test_the_rise_of_the_loss_by_hand():
    x = np.array([[1.0, 1.0], [2.0, 2.0]], "float32")
    # The model returns 3 x; without the first block 1.5 x, without the other 2 x.
    found = block_importance(network(1.0, 0.5), (x, 3 * x), loss="mse")
    assert list(found) == ["block1", "block2"]
    mean = (1 + 4) / 2
    assert found["block1"] == pytest.approx(1.5**2 * mean)
    assert found["block2"] == pytest.approx(1.0 * mean)


def test_a_block_that_does_harm_is_below_zero():
    x = np.ones((3, 2), "float32")
    found = block_importance(network(1.0, 0.0), (x, x), loss="mse")
    assert found == {"block1": -1.0, "block2": 0.0}


@pytest.mark.parametrize("name", ["inverted_residuals", "nested", "as_output"])
def test_the_loss_is_that_of_the_model_without_the_block(name):
    model = NETWORKS[name]()
    randomize(model)
    inputs = random_inputs(model, batch_size=5)
    targets = [np.zeros((5, *x.shape[1:]), "float32") for x in model.outputs]

    def loss(model):
        outputs = keras.tree.flatten(model(inputs, training=False))
        return sum(float(np.mean(np.square(x))) for x in outputs)

    found = block_importance(model, (inputs, targets), loss="mse")
    whole = loss(model)
    for block in removable_blocks(model):
        rise = loss(remove_blocks(model, [block.name])) - whole
        assert found[block.name] == pytest.approx(rise, rel=1e-4, abs=1e-6)


def test_batches_count_by_their_samples():
    x = np.arange(10, dtype="float32").reshape(5, 2)
    model = network(1.0, 0.5)
    model.compile(loss="mse")
    whole = block_importance(model, (x, x))
    batches = [(x[:4], x[:4]), (x[4:], x[4:])]
    for data in (batches, iter(batches)):
        assert block_importance(model, data) == pytest.approx(whole)


@pytest.mark.parametrize(
    "one, other, expected",
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], 1.0),
        ([0, 1, 2, 3], [0, 1, 0, 1], 0.526640),
        ([-1, 0, 1], [1, 0, 1], 0.562341),
        ([1, 1, 1], [1, 2, 3], 0.0),
    ],
)
def test_distance_correlation_by_hand(one, other, expected):
    assert distance_correlation(one, other) == pytest.approx(expected, abs=1e-6)


def test_distance_correlation_of_the_reference_vectors():
    vectors = np.load(FIXTURES / "layer_dependence.npz")
    found = [
        distance_correlation(vectors[f"x_{name}"], vectors["x_output"])
        for name in ("close", "half", "far")
    ]
    np.testing.assert_allclose(found, vectors["want"], atol=1e-7)


def test_distance_correlation_does_not_depend_on_the_place():
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(2, 30, 4))
    expected = distance_correlation(one, other)
    assert distance_correlation(one + 1e6, other) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(InvalidInputError, match="as many samples"):
        distance_correlation(one, other[:5])
    with pytest.raises(InvalidInputError, match="finite"):
        distance_correlation(one * np.nan, other)


def test_dependence_of_block_and_output():
    model = network(0.0, 3.0, 0.0)
    model.get_layer("dense3").kernel.assign([[0, 0], [0, 0.5]])
    x = np.random.default_rng(1).normal(size=(64, 2)).astype("float32")
    found = block_importance(model, x, how="dependence")
    assert found["block1"] == 0  # it adds nothing
    added = 3 * x
    output = keras.ops.convert_to_numpy(model(x))
    assert found["block2"] == pytest.approx(
        distance_correlation(added, output), abs=1e-6
    )
    assert 0 < found["block3"] < found["block2"]


def test_dependence_looks_at_256_samples_and_averages_long_maps():
    x = keras.Input((96, 96, 4), name="x")
    y = layers.Add(name="sum")([x, layers.Conv2D(4, 1, name="c")(x)])
    model = keras.Model(x, layers.GlobalAveragePooling2D()(y))
    images = np.random.default_rng(0).normal(size=(16, 96, 96, 4)).astype("float32")
    found = block_importance(model, images, how="dependence")["sum"]
    inner = keras.Model(x, model.get_layer("c").output)
    means = keras.ops.convert_to_numpy(inner(images)).mean((1, 2))
    expected = distance_correlation(means, keras.ops.convert_to_numpy(model(images)))
    assert found == pytest.approx(expected, abs=1e-4)
    read = []

    def batches():
        for number in range(4):
            read.append(number)
            generator = np.random.default_rng(number)
            yield generator.normal(size=(100, 2)).astype("float32")

    block_importance(network(1.0), batches(), how="dependence")
    assert read == [0, 1, 2]


def test_dependence_inside_a_model_that_is_called_twice():
    model = NETWORKS["nested"]()
    found = block_importance(
        model, random_inputs(model, batch_size=12), how="dependence"
    )
    assert list(found) == ["inner/sum", "outer"]
    assert all(0 < value <= 1 for value in found.values())


X = np.ones((8, 2), "float32")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"data": None, "loss": "mse"}, "`data` is missing"),
        ({"data": X, "loss": "mse"}, "must hold targets as well"),
        ({"data": (X, X)}, "`loss` is missing: how='loss' needs one"),
        ({"data": (X, X), "loss": "wrong"}, "`loss` must be a Keras loss"),
        ({"data": (X, X), "how": "size"}, "`how` must be 'loss' or 'dependence'"),
        ({"data": X, "how": "dependence", "loss": "mse"}, "would not be looked at"),
        ({"data": X[:3], "how": "dependence"}, "needs at least 8"),
        ({"data": X * np.nan, "how": "dependence"}, "not finite"),
        ({"data": (X * np.nan, X), "loss": "mse"}, "on batch 1 is nan"),
        ({"data": X[:, :1], "how": "dependence"}, "does not fit model"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        block_importance(network(1.0), **arguments)


def test_a_model_without_blocks_is_refused():
    x = keras.Input((2,))
    model = keras.Model(x, layers.Dense(2)(x), name="flat")
    with pytest.raises(InvalidInputError, match="'flat' has no block that can go"):
        block_importance(model, (X, X), loss="mse")
