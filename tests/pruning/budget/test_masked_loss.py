"""The loss of masked models, and what a plan says of it."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.blocks.block_networks import NETWORKS
from pruning.surgery_checks import random_inputs, random_plan, randomize
from pruning.zoo import conv, head

from keras_sda.graph import ChannelGraph
from keras_sda.pruning import PruningPlan, make_plan, mask, prune
from keras_sda.pruning.budget.masked_loss import MaskedLoss
from keras_sda.utils import InvalidInputError

LOSS = "sparse_categorical_crossentropy"


def network():
    """A residual sum, normalization, a nested model that is called twice."""
    x = keras.Input((6, 6, 3), name="x")
    inner_x = keras.Input((6, 6, 8))
    inner = keras.Model(inner_x, conv(inner_x, 8, name="in"), name="inner")
    y = layers.BatchNormalization(name="norm")(conv(x, 8, name="a"))
    y = layers.Add()([y, inner(inner(y))])
    y = conv(y, 12, name="b")
    return keras.Model(x, layers.Softmax()(head(y)), name="network")


def loss_of(model, data):
    images, labels = data
    outputs = model(images, training=False)
    return float(keras.ops.mean(keras.losses.get(LOSS)(labels, outputs)))


def test_the_loss_is_that_of_mask():
    model = network()
    randomize(model)
    data = random_inputs(model, batch_size=40), np.arange(40) % 3
    before = model.get_weights()
    graph = ChannelGraph(model)
    loss = MaskedLoss(graph, data, LOSS)
    nothing = np.zeros(len(graph.units.pinned), bool)
    positions = {group.index: loss.position(group) for group in graph.groups}
    assert len(set(positions.values())) > 1
    for group in sorted(graph.groups, key=lambda g: positions[g.index]):
        removed = nothing.copy()
        removed[group.classes[::2]] = True
        expected = loss_of(mask(model, PruningPlan.from_classes(graph, removed)), data)
        assert loss.behind(removed, positions[group.index]) == pytest.approx(
            expected, rel=1e-5
        )
    plan = random_plan(graph, seed=1)
    expected = loss_of(mask(model, plan), data)
    assert loss(plan.classes(graph)) == pytest.approx(expected, rel=1e-5)
    whole = loss_of(model, data)
    assert loss(nothing) == pytest.approx(whole, rel=1e-5)
    assert loss.whole()[0] == pytest.approx(whole, rel=1e-5)
    assert loss.num_runs == len(graph.groups) + 3
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_masks_of_time_steps_are_not_lost():
    x = keras.Input((5,), dtype="int32")
    y = layers.Embedding(6, 4, mask_zero=True)(x)
    y = layers.LSTM(6, name="lstm")(layers.Dense(7, name="wide")(y))
    model = keras.Model(x, layers.Dense(3, activation="softmax", name="out")(y))
    words = np.array([[1, 2, 0, 0, 0], [3, 4, 5, 1, 0], [5, 5, 0, 0, 0]])
    graph = ChannelGraph(model)
    loss = MaskedLoss(graph, (words, np.arange(3)), LOSS)
    nothing = np.zeros(len(graph.units.pinned), bool)
    group = max(graph.groups, key=loss.position)
    assert loss.position(group) > 1
    assert loss.behind(nothing, loss.position(group)) == pytest.approx(
        loss_of(model, (words, np.arange(3))), rel=1e-5
    )


def sure_network():
    """A classifier and data of which it is sure; no channel can be done without."""
    x = keras.Input((4,))
    y = layers.Dense(16, activation="relu", name="hidden")(x)
    y = layers.Dense(4, activation="softmax", name="classes")(y)
    model = keras.Model(x, y, name="sure")
    hidden, classes = model.get_layer("hidden"), model.get_layer("classes")
    hidden.set_weights([np.tile(np.eye(4), 4) + 0.01 * np.arange(16), np.zeros(16)])
    classes.set_weights([np.tile(2 * np.eye(4), (4, 1)), np.zeros(4)])
    labels = np.arange(60) % 4
    return model, (np.eye(4)[labels], labels)


def test_a_plan_says_what_the_cut_does_to_the_loss(tmp_path):
    model, data = sure_network()
    few = {"importance": "taylor", "data": data, "loss": LOSS}
    plan = make_plan(model, params=0.8, **few)
    known = plan.expected
    assert known["loss_before"] == pytest.approx(loss_of(model, data), rel=1e-5)
    assert known["loss"] == pytest.approx(loss_of(mask(model, plan), data), rel=1e-5)
    # The mean of its outputs is a quarter for each class.
    assert known["loss_chance"] == pytest.approx(np.log(4), rel=1e-3)
    assert not plan.warnings
    hard = make_plan(model, params=0.3, **few)
    (text,) = [text for text in hard.warnings if "the cut alone" in text]
    assert f"from {known['loss_before']:.3g} to {hard.expected['loss']:.3g}" in text
    assert "has 1.39" in text and "reconstruct=True" in text and "scope='loss'" in text
    hard.save(tmp_path / "plan.json")
    assert PruningPlan.load(tmp_path / "plan.json") == hard
    (text,) = prune(model, params=0.3, **few).report.warnings
    assert "with the kernels that stay fitted, the loss is" in text
    result = prune(model, params=0.3, steps=2, reconstruct=False, **few)
    assert result.plan.expected["loss"] == result.plans[1].expected["loss"]
    assert result.plan.expected["loss_before"] == known["loss_before"]
    assert any("the cut alone" in text for text in result.report.warnings)


def test_where_no_loss_is_at_hand_nothing_is_said():
    model, (images, labels) = sure_network()
    plan = make_plan(model, params=0.5, importance="activation", data=images)
    assert set(plan.expected) == {"macs", "macs_before", "params", "params_before"}
    once = iter([(images, labels)])  # cannot be read again
    plan = make_plan(model, params=0.5, importance="taylor", data=once, loss=LOSS)
    assert "loss" not in plan.expected
    with pytest.raises(InvalidInputError, match="iterator, which can be read once"):
        make_plan(
            model, params=0.5, importance="taylor", scope="loss", loss=LOSS,
            data=iter([(images, labels)]),
        )  # fmt: skip


def test_blocks_count_as_cut():
    model = NETWORKS["with_normalization"]()
    randomize(model)
    data = random_inputs(model, batch_size=6), np.arange(6) % 3
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plan = make_plan(model, macs=0.5, blocks=["a"], scope="loss", data=data, loss=loss)

    def of(model):
        return float(keras.ops.mean(loss(data[1], model(data[0], training=False))))

    assert plan.expected["loss_before"] == pytest.approx(of(model), rel=1e-5)
    assert plan.expected["loss"] == pytest.approx(of(mask(model, plan)), rel=1e-4)
    assert plan.expected["macs"] <= 0.5 * plan.expected["macs_before"]
