"""`blocks="auto"` takes the plan whose cut costs the least loss."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.surgery_checks import randomize

from keras_sda.pruning import make_plan, prune, removable_blocks, shrink
from keras_sda.pruning.blocks.choose_blocks import choose_blocks
from keras_sda.pruning.pruning_plan import PruningPlan
from keras_sda.utils import InvalidInputError

LOSS = "sparse_categorical_crossentropy"


def network(useless=("b", "c")):
    """A stream of three blocks, of which some add nothing."""
    x = keras.Input((6,), name="x")
    y = layers.Dense(6, name="stem")(x)
    for name in "abc":
        z = layers.Dense(12, activation="relu", name=f"{name}1")(y)
        y = layers.Add(name=name)([y, layers.Dense(6, name=f"{name}2")(z)])
    y = layers.Dense(3, activation="softmax", name="top")(y)
    model = keras.Model(x, y, name="network")
    randomize(model)
    for name in useless:
        for variable in model.get_layer(f"{name}2").weights:
            variable.assign(keras.ops.zeros_like(variable))
    return model


def data_of(model):
    """Labels as the model gives them."""
    images = np.random.default_rng(0).normal(size=(48, 6)).astype("float32")
    return images, np.asarray(model(images)).argmax(-1)


def loss_of(model, data):
    values = keras.losses.sparse_categorical_crossentropy(data[1], model(data[0]))
    return float(keras.ops.mean(values))


@pytest.mark.parametrize("importance", ["taylor", "l1"])
def test_it_costs_no_more_than_blocks_that_add_nothing(importance):
    model = network()
    data = data_of(model)
    plan = make_plan(
        model, macs=0.5, blocks="auto", data=data, loss=LOSS, importance=importance
    )
    assert plan.expected["macs"] <= 0.5 * plan.expected["macs_before"]
    # Without both blocks it is half as large and does the same.
    assert loss_of(shrink(model, plan), data) <= loss_of(model, data) + 1e-5


def test_the_plan_of_the_least_loss_is_taken():
    model = network(useless=())
    data = data_of(model)
    plan = make_plan(
        model, macs=0.6, blocks="auto", data=data, loss=LOSS, importance="l1"
    )
    losses = {}
    for count in range(len(removable_blocks(model)) + 1):
        kwargs = {"data": data, "loss": LOSS} if count else {}
        other = make_plan(model, macs=0.6, blocks=count, importance="l1", **kwargs)
        losses[other.blocks] = loss_of(shrink(model, other), data)
        if not other.remove:
            break
    assert plan.blocks in losses
    assert losses[plan.blocks] == min(losses.values())
    assert loss_of(shrink(model, plan), data) == pytest.approx(min(losses.values()))


def test_what_is_tried_is_bounded_and_ends_with_blocks_alone():
    model = network()
    tried = []

    def make(names):
        tried.append(names)
        if not names:
            raise InvalidInputError("`macs` cannot be reached.")
        remove = {} if len(names) == 2 else {"a1": list(range(8))}
        channels = {"stem": 6, "a1": 12, "a2": 6, "b1": 12, "b2": 6, "c1": 12,
                    "c2": 6, "top": 3}  # fmt: skip
        return PruningPlan(model.name, channels, remove, blocks=names)

    data = data_of(model)
    plan = choose_blocks(model, make, data, LOSS)
    assert [len(names) for names in tried] == [0, 1, 2]
    losses = [loss_of(shrink(model, make(names)), data) for names in tried[1:3]]
    assert len(plan.blocks) == 1 + int(np.argmin(losses))

    def never(names):
        raise InvalidInputError(f"`macs` cannot be reached without {len(names)}.")

    with pytest.raises(InvalidInputError, match="cannot be reached without 0"):
        choose_blocks(model, never, data_of(model), LOSS)


def test_prune_takes_it_in_its_first_step(tmp_path):
    model = network()
    data = data_of(model)
    settings = {
        "macs": 0.3, "steps": 2, "blocks": "auto", "data": data, "loss": LOSS,
        "folder": tmp_path,
    }  # fmt: skip
    result = prune(model, **settings)
    assert len(result.plans) == 2 and result.plans[1].blocks == ()
    assert result.report.macs_after <= 0.3 * result.report.macs_before
    assert prune(model, **settings).plan == result.plan


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"macs": None}, "One of `macs`, `params` and `latency`"),
        ({"data": None}, "`data` is missing"),
        ({"data": iter([1]), "importance": "l1"}, "`data` is an iterator"),
    ],
)
def test_bad_input_is_one_clear_line(changed, message):
    model = network()
    arguments = {"macs": 0.5, "data": data_of(model), "loss": LOSS, **changed}
    with pytest.raises(InvalidInputError, match=message):
        make_plan(model, blocks="auto", **arguments)


def test_a_model_without_blocks_says_so():
    x = keras.Input((4,))
    y = layers.Dense(3, activation="softmax")(layers.Dense(8)(x))
    data = np.ones((8, 4), "float32"), np.zeros(8)
    with pytest.raises(InvalidInputError, match="no block that can go"):
        make_plan(keras.Model(x, y), macs=0.5, blocks="auto", data=data, loss=LOSS)
