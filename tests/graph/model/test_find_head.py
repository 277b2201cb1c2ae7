"""One answer to what the outputs of a classifier mean."""

import functools

import keras
import numpy as np
import pytest
from keras import layers, losses, ops

from keras_sda.graph import find_head
from keras_sda.graph.model.find_head import check_loss
from keras_sda.utils import InvalidInputError

Dense = layers.Dense
BINARY = losses.BinaryCrossentropy(from_logits=True)
CATEGORICAL = losses.CategoricalCrossentropy(from_logits=True)


def soft(units=3):
    return Dense(units, activation="softmax")


def sigmoids(units=3):
    return Dense(units, activation="sigmoid")


def model_of(end, loss=None):
    x = keras.Input((6,))
    model = keras.Model(x, end(Dense(5, name="hidden")(x)))
    if loss is not None:
        model.compile("sgd", loss)
    return model


class OwnSoftmax(layers.Layer):
    def call(self, inputs):
        return ops.softmax(inputs)


class OwnSigmoid(layers.Layer):
    def call(self, inputs):
        return ops.sigmoid(inputs)


class OwnDense(Dense):
    """Keras's layer by another name."""


def shares(y):
    values = ops.exp(Dense(3)(y))
    return values / ops.sum(values, axis=-1, keepdims=True)


def two_columns(y):
    p = sigmoids(1)(y)
    return layers.Concatenate()([1 - p, p])


def tf_softmax(y):
    import tensorflow as tf

    return Dense(3, activation=tf.nn.softmax)(y)


SOFTMAX = {
    "activation of a Dense": soft(),
    "two units": soft(2),
    "layer": lambda y: layers.Softmax()(Dense(3)(y)),
    "Activation": lambda y: layers.Activation("softmax")(Dense(3)(y)),
    "operation": lambda y: ops.softmax(Dense(3)(y)),
    "temperature before": lambda y: ops.softmax(Dense(3)(y) / 2.0),
    "keras.activations": lambda y: keras.activations.softmax(Dense(3)(y)),
    "layer as activation": Dense(3, activation=layers.Softmax()),
    "operation as activation": Dense(3, activation=ops.softmax),
    "function of TensorFlow": tf_softmax,
    "lambda": Dense(3, activation=lambda y: ops.softmax(y)),
    "nested head": lambda y: keras.Sequential([soft(), layers.Reshape((3,))])(y),
    "nested cast": lambda y: keras.Sequential(
        [keras.Input((3,)), layers.Activation("linear", dtype="float32")]
    )(soft()(y)),
    "reshape": lambda y: layers.Reshape((3,))(layers.Flatten()(soft()(y))),
    "cast": lambda y: ops.cast(soft()(y), "float16"),
    "float32 activation": lambda y: layers.Activation("linear", dtype="float32")(
        soft()(y)
    ),
    "dropout": lambda y: layers.Identity()(layers.Dropout(0.2)(soft()(y))),
    "layer of the user": lambda y: OwnSoftmax()(Dense(3)(y)),
    "subclass": OwnDense(3, activation="softmax"),
    "ensemble": lambda y: layers.Average()([soft()(y), soft()(y)]),
    "ensemble by operations": lambda y: (soft()(y) + soft()(y)) / 2,
    "normed by hand": shares,
    "two columns of a sigmoid": two_columns,
    "spectral": lambda y: layers.SpectralNormalization(soft())(y),
    "einsum": layers.EinsumDense("ab,bc->ac", 3, activation="softmax"),
}


@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax(name):
    head = find_head(model_of(SOFTMAX[name]))
    assert (head.kind, head.from_logits, head.task) == ("softmax", False, "multi-class")
    assert head.num_classes == head.num_units


SIGMOID = {
    "activation": sigmoids(),
    "operation": lambda y: ops.sigmoid(Dense(3)(y)),
    "cast": lambda y: layers.Activation("linear", dtype="float32")(sigmoids()(y)),
    "nested": lambda y: keras.Sequential([sigmoids()])(y),
    "reshape": lambda y: layers.Reshape((3,))(sigmoids()(y)),
    "hard": Dense(3, activation="hard_sigmoid"),
    "one by one": lambda y: layers.Concatenate()([sigmoids(1)(y) for _ in range(3)]),
}


@pytest.mark.parametrize("name", SIGMOID)
def test_sigmoid(name):
    head = find_head(model_of(SIGMOID[name]))
    assert (head.kind, head.from_logits, head.task) == ("sigmoid", False, "multi-label")


def test_one_unit_stands_for_two_classes():
    head = find_head(model_of(sigmoids(1)))
    assert (head.task, head.num_units, head.num_classes) == ("binary", 1, 2)
    assert isinstance(head.loss(), losses.BinaryCrossentropy)


LOGITS = {
    "BCE": (BINARY, "sigmoid"),
    "focal BCE": (losses.BinaryFocalCrossentropy(from_logits=True), "sigmoid"),
    "CCE": (CATEGORICAL, "softmax"),
    "smoothed": (
        losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        "softmax",
    ),
    "sparse": (losses.SparseCategoricalCrossentropy(from_logits=True), "softmax"),
    "focal": (losses.CategoricalFocalCrossentropy(from_logits=True), "softmax"),
    "list": ([CATEGORICAL], "softmax"),
    "partial": (
        functools.partial(losses.binary_crossentropy, from_logits=True),
        "sigmoid",
    ),
}


@pytest.mark.parametrize("name", LOGITS)
def test_the_loss_tells_what_logits_are(name):
    loss, kind = LOGITS[name]
    head = find_head(model_of(lambda y: Dense(3)(y) / 2.0, loss))
    assert (head.kind, head.from_logits) == (kind, True)
    outputs = np.array([[0.0, 1.0, -2.0]])
    expected = np.exp(outputs) / np.exp(outputs).sum()
    if kind == "sigmoid":
        expected = 1 / (1 + np.exp(-outputs))
    np.testing.assert_allclose(head.probabilities(outputs), expected, atol=1e-6)


def test_loss_of_one_unit_of_a_dict_and_of_a_nested_model():
    head = find_head(model_of(Dense(1), BINARY))
    assert (head.kind, head.from_logits, head.num_classes) == ("sigmoid", True, 2)
    model = model_of(Dense(3, name="kind"))
    model.compile(loss={"kind": BINARY})
    assert find_head(model).task == "multi-label"
    x = keras.Input((6,))
    outer = keras.Model(x, model(x))
    assert (find_head(outer).kind, find_head(outer).from_logits) == ("sigmoid", True)


def test_the_loss_of_a_layer_of_the_user():
    assert find_head(model_of(OwnSigmoid(), "binary_crossentropy")).from_logits is False
    # Log-probabilities are logits of themselves.
    head = find_head(model_of(Dense(3, activation="log_softmax")))
    assert (head.kind, head.from_logits) == ("softmax", True)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    for end in (SOFTMAX["float32 activation"], SOFTMAX["layer of the user"]):
        head = find_head(model_of(end))
        assert (head.kind, head.from_logits) == ("softmax", False)


UNKNOWN = {
    "logits": (Dense(3), None),
    "one logit": (Dense(1), None),
    "regression": (Dense(1), "mse"),
    "loss of the user": (Dense(3), lambda y, p: ops.mean(p)),
    "softmax of one unit": (Dense(1), CATEGORICAL),
    "hinge": (Dense(1, activation="tanh"), losses.Hinge()),
    "sigmoid of the user": (lambda y: OwnSigmoid()(Dense(3)(y)), None),
    "logarithms": (Dense(3, activation="log_sigmoid"), None),
    "softmax over something else": (
        lambda y: layers.Flatten()(layers.Softmax()(layers.Reshape((2, 3))(Dense(6)(y)))),  # noqa: E501
        None,
    ),
    "recurrent": (
        lambda y: layers.LSTM(3, activation="sigmoid")(layers.Reshape((5, 1))(y)),
        None,
    ),
    "scaled probabilities": (lambda y: 100 * sigmoids()(y), None),
    "wrong loss": (Dense(3), "sparse_categorical_crossentropy"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_cannot_be_known_is_asked_for(name):
    model = model_of(*UNKNOWN[name])
    with pytest.raises(InvalidInputError, match="cannot be known.*`activation`") as e:
        find_head(model)
    assert "\n" not in str(e.value)
    given = "sigmoid" if model.output_shape[1] == 1 else "softmax"
    head = find_head(model, given)
    assert (head.kind, head.from_logits) == (given, True)
    assert find_head(model, "none").from_logits is False


def test_what_is_given():
    assert find_head(model_of(soft()), "softmax").from_logits is False
    assert find_head(model_of(soft()), "none").kind == "softmax"
    with pytest.raises(InvalidInputError, match="contradicts"):
        find_head(model_of(soft()), "sigmoid")
    with pytest.raises(InvalidInputError, match="`activation` must be one of"):
        find_head(model_of(soft()), "Softmax")
    # Labels tell as well.
    assert find_head(model_of(Dense(3)), exclusive=True).kind == "softmax"
    assert find_head(model_of(Dense(3)), exclusive=False).kind == "sigmoid"
    # A loss tells more than they do.
    assert find_head(model_of(Dense(3), BINARY), exclusive=True).kind == "sigmoid"


def test_convolutional_ends():
    x = keras.Input((8, 8, 3))
    maps = layers.Conv2D(4, 1)(x)
    pool = layers.GlobalAveragePooling2D
    flat = layers.Reshape((4,))(layers.Softmax()(pool(keepdims=True)(maps)))
    for output, from_logits in ((pool()(maps), True), (flat, False)):
        head = find_head(keras.Model(x, output), exclusive=True)
        assert (head.kind, head.from_logits) == ("softmax", from_logits)


def test_a_loss_for_probabilities_does_not_take_logits():
    model = model_of(Dense(3))
    for loss in ("sparse_categorical_crossentropy", losses.BinaryCrossentropy()):
        with pytest.raises(InvalidInputError, match="from_logits=True"):
            check_loss(model, loss)
    check_loss(model, CATEGORICAL)
    check_loss(model, "mse")
    check_loss(model_of(soft()), "categorical_crossentropy")
