"""Gradients and activations per channel, against what they are by definition."""

import keras
import numpy as np
import pytest

from keras_sda.data.fit.fit_data import FitData
from keras_sda.graph import ChannelGraph
from keras_sda.pruning import CRITERIA, collect_statistics, make_plan
from keras_sda.utils import InvalidInputError

layers = keras.layers


def network(classes=3):
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(5, 3, padding="same", name="a")(x)
    y = layers.BatchNormalization(name="bn")(y)
    y = layers.Activation("sigmoid")(y)
    y = layers.Conv2D(4, 3, name="b")(y)
    y = layers.GlobalAveragePooling2D()(layers.ReLU()(y))
    y = layers.Dropout(0.5)(y)
    return keras.Model(x, layers.Dense(classes, activation="softmax", name="c")(y))


def batch(size=40, classes=3):
    generator = np.random.default_rng(0)
    images = generator.normal(size=(size, 6, 6, 2)).astype("float32")
    return images, generator.integers(0, classes, size)


def scores(graph, importance, data, loss=None):
    """For every group one number per channel."""
    criterion = CRITERIA[importance]
    statistics = collect_statistics(graph, [criterion], data, loss)
    return [criterion.score(group, statistics) for group in graph.groups]


def loss_of(model, images, labels):
    predicted = model.predict(images, verbose=0)
    return -np.log(predicted[np.arange(len(labels)), labels].astype("float64")).mean()


def test_taylor_is_the_slope_of_the_loss():
    """Scaling all that makes a channel by 1-e changes the loss by -e x (sum of wg)."""
    model = network()
    model.set_weights([2 * weight + 0.1 for weight in model.get_weights()])
    images, labels = batch(32)
    graph = ChannelGraph(model)
    found = scores(graph, "taylor", (images, labels), "sparse_categorical_crossentropy")
    step = 5e-2
    for name, channel in (("a", 1), ("b", 2)):
        (group,) = (g for g in graph.groups if name in g.writers)
        losses = []
        start = model.get_weights()
        for sign in (-1, 1):
            for part in group.parts:
                if part.role == "writes":
                    value = np.moveaxis(
                        part.variable.numpy().copy(), part.axis.axis, 0
                    )  # a view, so the right axis is scaled
                    value[part.labels == group.classes[channel]] *= 1 + sign * step
                    part.variable.assign(np.moveaxis(value, 0, part.axis.axis))
            losses.append(loss_of(model, images, labels))
            model.set_weights(start)
        slope = abs(losses[1] - losses[0]) / (2 * step)
        np.testing.assert_allclose(found[group.index][channel], slope, rtol=0.03)
        assert found[group.index][channel] > 0


def test_taylor_averages_over_batches_and_takes_every_form_of_data():
    import tensorflow as tf

    model = network()
    model.trainable = False  # a frozen network has importance as well
    graph = ChannelGraph(model)
    images, labels = batch(64)
    one_hot = keras.utils.to_categorical(labels, 3)
    stream = tf.data.Dataset.from_tensor_slices((images, one_hot)).batch(32)
    parts = [(images[:32], labels[:32]), (images[32:], labels[32:, None])]
    sparse, dense = "sparse_categorical_crossentropy", "categorical_crossentropy"
    reference = None
    for data, loss in (
        ((images, labels), sparse),
        ((images, labels), dense),
        (stream, dense),
        (stream, sparse),
        (parts, keras.losses.SparseCategoricalCrossentropy()),
        (iter(parts), keras.losses.CategoricalCrossentropy()),
    ):
        found = scores(graph, "taylor", data, loss)
        reference = reference or found
        for a, b in zip(found, reference, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-7)
    halves = [scores(graph, "taylor", part, sparse) for part in parts]
    np.testing.assert_allclose(
        reference[0], (halves[0][0] + halves[1][0]) / 2, rtol=1e-4
    )


def test_loss_of_the_compiled_model_and_several_outputs():
    x = keras.Input((4,))
    hidden = layers.Dense(6, activation="relu", name="hidden")(x)
    outputs = {
        "kind": layers.Dense(3, activation="softmax", name="kind")(hidden),
        "size": layers.Dense(1, name="size")(hidden),
    }
    model = keras.Model(x, outputs)
    data = (
        np.random.default_rng(0).normal(size=(20, 4)).astype("float32"),
        {"kind": np.arange(20) % 3, "size": np.arange(20.0)},
    )
    losses = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
    plan = make_plan(model, macs=0.5, importance="taylor", data=data, loss=losses)
    model.compile("sgd", losses)
    again = make_plan(model, macs=0.5, importance="taylor", data=data)
    assert plan.remove == again.remove and plan.remove
    assert isinstance(model.loss, dict)


@pytest.mark.parametrize(
    ("units", "activation", "loss", "labels"),
    [
        (3, "softmax", "sparse_categorical_crossentropy", np.arange(20) % 3),
        (3, "softmax", "categorical_crossentropy", np.full((20, 3), 1 / 3)),
        (1, "sigmoid", "binary_crossentropy", np.arange(20) % 2),
        (3, "sigmoid", "binary_crossentropy", np.eye(3)[np.arange(20) % 3]),
    ],
)
def test_the_head_of_a_classifier_tells_the_loss(units, activation, loss, labels):
    x = keras.Input((4,))
    hidden = layers.Dense(6, activation="relu", name="hidden")(x)
    model = keras.Model(x, layers.Dense(units, activation=activation)(hidden))
    inputs = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    graph = ChannelGraph(model)
    (expected,) = scores(graph, "taylor", (inputs, labels), loss)
    (found,) = scores(graph, "taylor", (inputs, labels))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (found > 0).any()


def test_activations_are_means_of_what_layers_read():
    model = network()
    images, _ = batch(40)
    graph = ChannelGraph(model)
    for data in ((images, None), images, [images[:10], images[10:]]):
        means = scores(graph, "activation", data)
        (group,) = (g for g in graph.groups if "a" in g.writers)
        read = keras.Model(model.input, model.get_layer("b").input)
        expected = np.abs(read.predict(images, verbose=0)).mean((0, 1, 2))
        np.testing.assert_allclose(means[group.index], expected, rtol=1e-4)


def test_activations_of_hidden_units_are_not_zero():
    """What cannot be watched must not go first."""
    from keras_sda.layers import SqueezeExcite2D

    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(8, 3)(x)
    y = SqueezeExcite2D(4, name="excite")(y)
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))
    graph = ChannelGraph(model)
    found = scores(graph, "activation", batch()[0])
    assert len(graph.groups) == 2
    for score in found:
        assert (score > 0).all()


def test_bad_data():
    model = network()
    images, labels = batch()
    loss = "sparse_categorical_crossentropy"

    def fails(match, importance="taylor", model=model, **arguments):
        with pytest.raises(InvalidInputError, match=match):
            make_plan(model, macs=0.5, importance=importance, **arguments)

    fails("needs `data`", loss=loss)
    fails("`data` is missing", importance="activation")
    bare = keras.Model(model.input, layers.Dense(3)(model.layers[-2].output))
    fails("not compiled.*Pass for example", data=(images, labels), model=bare)
    fails("Keras loss", data=(images, labels), loss="sparse_crossentropi")
    fails(r"\(None, 6, 6, 2\)", data=(images[:, :5], labels), loss=loss)
    fails("targets as well", data=images, loss=loss)
    fails("as many targets", data=(images, labels[:5]), loss=loss)
    fails("labels from", data=(images, labels + 7), loss=loss)
    fails("do not fit an output", data=(images, np.zeros((40, 7))), loss="mse")
    fails("is empty", data=iter([]), loss=loss)
    fails("iterable of batches", data=7, loss=loss)
    fails("one entry per output", data=(images, labels), loss=["mse", "mse"])
    fails("names outputs", data=(images, labels), loss={"d": "mse"})
    nested = keras.Sequential(
        [keras.Input((6, 6, 4)), layers.Conv2D(2, 1)], name="inner"
    )
    x = keras.Input((6, 6, 2))
    outer = keras.Model(x, nested(layers.Conv2D(4, 1)(x)))
    fails("inside 'inner'", importance="activation", model=outer, data=images)


LOOKING = sorted(name for name, criterion in CRITERIA.items() if criterion.needs)


@pytest.mark.parametrize("importance", LOOKING)
def test_values_and_shapes_that_no_criterion_can_use(importance):
    model = network()
    model.compile("sgd", "sparse_categorical_crossentropy")
    images, labels = batch(8)

    def fails(match, *batches):
        with pytest.raises(InvalidInputError, match=match):
            make_plan(model, macs=0.5, importance=importance, data=list(batches))

    broken = images.copy()
    broken[3, 1, 2, 0] = np.nan
    fails("inputs that are NaN or infinite, in batch 2", (images, labels),
          (broken, labels))  # fmt: skip
    fails(r"\(None, 6, 6, 2\).*Received.*\(8, 6, 5, 2\)", (images, labels),
          (images[:, :, 1:], labels))  # fmt: skip
    model.get_layer("b").kernel.assign(np.full((3, 3, 5, 4), 1e38))
    where = "gradients; that of" if importance == "taylor" else "'c' reads values"
    fails(f"{where}.*NaN or infinite", (images, labels))


def test_a_criterion_of_labels_wants_labels():
    images, _ = batch(8)
    for data, match in (
        (images, "must hold targets as well"),
        ((images, None), "must hold targets as well"),
        ((images, images), "'discriminant' needs `data` with one label per sample"),
    ):
        with pytest.raises(InvalidInputError, match=match):
            make_plan(network(), macs=0.5, importance="discriminant", data=data)


def test_gradients_that_are_all_zero_are_an_error():
    """As of a network that is sure of all that it sees."""
    model = network()
    images, labels = batch(8)
    model.get_layer("c").bias.assign([0, 200, 0])
    loss = "sparse_categorical_crossentropy"

    def plan(labels):
        return make_plan(
            model, macs=0.5, importance="taylor", data=(images, labels), loss=loss
        )

    with pytest.raises(InvalidInputError, match="importance='taylor' learns nothing"):
        plan(np.ones(8, int))
    kernel = model.get_layer("c").kernel
    model.get_layer("c").bias.assign([0, 0, 0])
    assert kernel.numpy().any() and plan(labels).remove


def test_few_samples_are_a_warning(caplog):
    model = network()
    model.compile("sgd", "sparse_categorical_crossentropy")
    wanted = CRITERIA["taylor"].num_samples_wanted
    graph = ChannelGraph(model)

    def lines(size, *names):
        caplog.clear()
        criteria = [CRITERIA[name] for name in names]
        with caplog.at_level("WARNING"):
            collect_statistics(graph, criteria, batch(size))
        return [line for line in caplog.messages if "fewer than these" in line]

    (line,) = lines(wanted - 1, "activation", "taylor")
    assert f"held {wanted - 1} samples" in line and f"'taylor' ({wanted})" in line
    assert "activation" not in line
    assert not lines(wanted, "taylor") and not lines(8, "activation")


def test_endless_data_is_refused():
    import tensorflow as tf

    model = network()
    stream = tf.data.Dataset.from_tensors(batch()).repeat()
    with pytest.raises(InvalidInputError, match="never ends"):
        next(FitData(stream, model).batches())


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_give_the_same(backend, run_python, capsys):
    pytest.importorskip(backend)
    code = """
import numpy as np, keras
from keras_sda.graph import ChannelGraph
from keras_sda.pruning import CRITERIA, collect_statistics
x = keras.Input((4,))
y = keras.layers.Dense(3, kernel_initializer="ones", bias_initializer="ones")(x)
y = keras.layers.BatchNormalization()(y)
model = keras.Model(x, keras.layers.Dense(1, kernel_initializer="ones")(y))
graph = ChannelGraph(model)
data = np.arange(8.0).reshape(2, 4).astype("float32"), np.zeros((2, 1), "float32")
criteria = [CRITERIA["taylor"], CRITERIA["activation"]]
found = collect_statistics(graph, criteria, data, "mse")
taylor = [CRITERIA["taylor"].score(group, found) for group in graph.groups]
seen = np.concatenate(found["activation"]) / found.num_samples
print([[float(v) for v in c] for c in taylor], list(map(float, seen)))
"""
    exec(code, {})
    expected = capsys.readouterr().out
    found = run_python(code, env={"KERAS_BACKEND": backend}).stdout
    numbers = [
        np.array([float(word) for word in text.replace("[", " ").replace("]", " ")
                  .replace(",", " ").split()])
        for text in (expected, found)
    ]  # fmt: skip
    assert len(numbers[0]) == 10
    np.testing.assert_allclose(numbers[1], numbers[0], rtol=1e-3)


def test_taylor_does_not_take_logits_for_probabilities():
    x = keras.Input((6, 6, 2))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))
    model = keras.Model(x, layers.Dense(3)(y))
    images, labels = batch(8)

    def plan(loss):
        return make_plan(
            model, macs=0.5, importance="taylor", data=(images, labels), loss=loss
        )

    with pytest.raises(InvalidInputError, match="takes probabilities.*from_logits"):
        plan("sparse_categorical_crossentropy")
    plan(keras.losses.SparseCategoricalCrossentropy(from_logits=True))
