"""Losses, gradients and the architecture stage against the reference vectors."""

import keras
import numpy as np
import pytest
from search.golden_networks import (
    gated_network,
    images,
    keras_name,
    relative,
    set_gates,
)

from keras_sda.search import ChannelSearch
from keras_sda.search.gates.gate_penalty import gate_penalty
from keras_sda.search.search_model import SearchModel


def gradients(function, variables):
    """Values of the gradients on the backend in use."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the gradients are taken with TensorFlow")
    import tensorflow as tf

    with tf.GradientTape() as tape:
        values = function()
    return values, tape.gradient(values[-1], [v.value for v in variables])


@pytest.mark.parametrize("name", ["chain", "resblock", "mbconv", "mixed"])
@pytest.mark.parametrize("phase", ["eval", "train"])
def test_losses_and_gradients(name, phase):
    gated, gates, arrays = gated_network(name)
    penalty = gate_penalty(gates, None)
    numbers = [gate.s for gate in gates]
    model = SearchModel(
        gated.input, gated.output, numbers, penalty, price=arrays["lam"]
    )
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    statistics = [v.numpy() for v in gated.non_trainable_variables]
    x = images(arrays)
    for number, beta in enumerate(arrays["betas"]):
        for variable, value in zip(
            gated.non_trainable_variables, statistics, strict=True
        ):
            variable.assign(value)
        set_gates(gates, arrays, beta, "soft")

        def losses():
            logits = model(x, training=phase == "train")
            loss = model.compute_loss(y=arrays["labels"], y_pred=logits, training=True)
            return logits, penalty(), loss

        (logits, price, loss), received = gradients(losses, numbers)
        assert relative(logits, arrays[f"{phase}_logits"][number]) < 1e-4
        assert relative(price, arrays[f"{phase}_reg"][number]) < 1e-5
        assert relative(loss, arrays[f"{phase}_loss"][number]) < 1e-4
        for position, gradient in enumerate(received):
            expected = arrays[f"{phase}_grad_s{position}"][number]
            assert relative(gradient, expected) < 5e-4, (beta, position)
        if number == 0 and phase == "train":
            _check_means(model, arrays)


def _check_means(model, arrays):
    names = [key for key in arrays if key.startswith("after1_")]
    for key in names:
        name, kind = key[7:].rsplit(".", 1)
        if kind == "running_mean":
            layer = model.get_layer(keras_name(name))
            assert relative(layer.moving_mean, arrays[key]) < 1e-4


class _Watch(keras.callbacks.Callback):
    def __init__(self, gates):
        super().__init__()
        self.gates, self.losses, self.numbers = gates, [], [[] for _ in gates]

    def on_train_batch_end(self, batch, logs=None):
        # Keras logs the mean over the epoch so far, here of batches of one size.
        before = self.losses[-1] if batch else 0.0
        self.losses.append((batch + 1) * logs["loss"] - batch * before)
        for gate, values in zip(self.gates, self.numbers, strict=True):
            values.append(gate.s.numpy().copy())


@pytest.mark.parametrize("kind", ["fc", "frozen"])
def test_trajectory(kind):
    gated, gates, arrays = gated_network("traj")
    batches = [(images(arrays, f"x{k}"), arrays[f"labels{k}"]) for k in (0, 1)]
    watch = _Watch(gates)

    def stream(start):
        assert start == 0
        while True:
            yield from batches

    before = _values(gated)
    rows = ChannelSearch(gated).learn_architecture(
        stream,
        epochs=int(arrays["epochs"]),
        lambda_arch=float(arrays["lam"]),
        # Four epochs of the ramp that takes ten in the paper.
        final_beta=float(arrays["betas"][-1]),
        optimizer=keras.optimizers.SGD(
            float(arrays["lr"]), momentum=float(arrays["momentum"])
        ),
        train_dense=kind == "fc",
        steps_per_epoch=int(arrays["steps_per_epoch"]),
        callbacks=[watch],
        verbose=0,
    )
    np.testing.assert_allclose([r["beta"] for r in rows], arrays["betas"], rtol=1e-6)
    assert relative(np.array(watch.losses), arrays[f"{kind}_losses"][:, 2]) < 5e-4
    for number, values in enumerate(watch.numbers):
        assert relative(np.array(values), arrays[f"{kind}_s{number}"]) < 5e-4
    for name in ("features.1", "features.6", "classifier.1"):
        layer = gated.get_layer(keras_name(name))
        for value, key in (
            (layer.moving_mean, "running_mean"),
            (layer.moving_variance, "running_var_biased"),
        ):
            assert relative(value, arrays[f"{kind}_final_{name}.{key}"]) < 5e-4
    for name in ("classifier.0", "classifier.3"):
        bias = gated.get_layer(keras_name(name)).bias
        assert relative(bias, arrays[f"{kind}_final_{name}.bias"]) < 5e-4
    _check_frozen(before, _values(gated), kind)


def _values(model):
    return {v.path: keras.ops.convert_to_numpy(v).copy() for v in model.weights}


def _check_frozen(before, after, kind):
    """Frozen bits are the same, statistics moved."""
    for path, value in before.items():
        layer, name = path.split("/")
        same = np.array_equal(value, after[path])
        if name.startswith("moving"):
            assert not same, path
        elif layer.startswith("features") and not layer.endswith("gate"):
            assert same, path
        elif layer.startswith("classifier"):
            assert same == (kind == "frozen"), path
