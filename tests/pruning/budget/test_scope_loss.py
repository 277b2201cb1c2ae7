"""`scope="loss"`: who loses how much is what the loss says."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.tiny_prune import prune_tiny

from keras_sda.graph import ChannelGraph
from keras_sda.pruning import make_plan
from keras_sda.pruning.budget.mac_cost import MacCost
from keras_sda.pruning.budget.rate_by_loss import rate_by_loss
from keras_sda.pruning.budget.select_channels import select_channels
from keras_sda.pruning.check_reachable import check_reachable
from keras_sda.training import PruneOptions
from keras_sda.utils import InvalidInputError

LOSS = "sparse_categorical_crossentropy"


def two_branches():
    """What `idle` makes is read with zeros; `busy` has more to lose by its weights."""
    generator = np.random.default_rng(0)
    x = keras.Input((8,))
    y = [layers.Dense(16, activation="relu", name=name)(x) for name in ("idle", "busy")]
    y = layers.Dense(3, activation="softmax", name="out")(layers.Concatenate()(y))
    model = keras.Model(x, y, name="branches")
    size = {"idle": 1.0, "busy": np.geomspace(0.01, 1, 16)}
    for name, scale in size.items():
        kernel = generator.normal(size=(8, 16)) * scale
        model.get_layer(name).kernel.assign(kernel)
    kernel = (
        generator.normal(size=(32, 3))
        / np.concatenate([np.ones(16), size["busy"]])[:, None]
    )
    kernel[:16] = 0
    model.get_layer("out").kernel.assign(kernel)
    images = generator.normal(size=(64, 8)).astype("float32")
    return model, (images, model.predict(images, verbose=0).argmax(-1))


@pytest.mark.parametrize("importance", ["l1", "taylor"])
def test_it_takes_what_the_loss_does_not_need(importance):
    model, data = two_branches()
    options = {"importance": importance, "loss": LOSS, "data": data}
    plan = make_plan(model, params=0.6, scope="loss", **options)
    assert list(plan.remove) == ["idle"] and plan.settings["scope"] == "loss"
    assert plan.expected["loss"] == pytest.approx(plan.expected["loss_before"])
    before, after = plan.expected["params_before"], plan.expected["params"]
    assert 0.6 * before - 12 < after <= 0.6 * before  # a channel has 12 parameters
    assert plan == make_plan(model, params=0.6, scope="loss", **options)
    if importance == "l1":
        del options["data"]
        other = make_plan(model, params=0.6, **options)
        # All that the global scope takes is needed.
        assert len(other.remove["busy"]) > 8
    hard = make_plan(model, params=0.3, scope="loss", importance="l1", data=data)
    assert len(hard.remove["idle"]) == 14 and "busy" in hard.remove  # the floor
    assert hard.expected["params"] <= 0.3 * before


def chain(number, width=4):
    x = y = keras.Input((6,))
    for place in range(number):
        y = layers.Dense(width, name=f"d{place}")(y)
    graph = ChannelGraph(keras.Model(x, layers.Dense(2, name="out")(y)))
    return graph, [np.arange(1.0, 1 + g.num_channels) for g in graph.groups]


class Stub:
    """Says of a chain what the loss is; `costs` is by group, per channel."""

    def __init__(self, graph, costs):
        self.graph, self.costs, self.runs = graph, costs, []

    def whole(self):
        return 1.0, 2.0

    def position(self, group):
        return group.index

    def behind(self, removed, position):
        gone = [int(removed[group.classes].sum()) for group in self.graph.groups]
        self.runs.append((position, gone))
        return 1.0 + sum(self.costs(k, count) for k, count in enumerate(gone) if count)


@pytest.mark.parametrize("most, runs", [(120, 36), (30, 24), (14, 12), (6, 4), (3, 1)])
def test_evaluations_are_bounded(most, runs):
    graph, scores = chain(12, 8)
    stub = Stub(graph, lambda group, count: count * (1 + group))
    targets = [(MacCost(graph), 200)]
    found = rate_by_loss(graph, scores, targets, stub, most)
    assert len(stub.runs) == runs <= most - 2
    positions = [position for position, _ in stub.runs]
    assert positions == sorted(positions)
    if most > 12:  # groups are alike in what they save, and measured alone
        means = [rates.mean() for rates in found]
        assert means[1:-1] == sorted(means[1:-1])
    for rates in found:
        assert (np.diff(rates) >= 0).all()  # in the order of the scores
    removed = select_channels(graph, found, targets, relative=False)
    assert MacCost(graph).count(graph.kept(removed)) <= 200


def test_a_group_that_ruins_the_network_at_once_is_dear():
    """Beyond chance the loss rises no more: what is lost by then is no bargain."""
    graph, scores = chain(3, 8)

    def costs(group, count):
        return {0: 0.4 * count, 1: 2.0, 2: np.inf}[group]

    found = rate_by_loss(graph, scores, [(MacCost(graph), 80)], Stub(graph, costs))
    # At three quarters the first has 2.4, but the second is dear at a quarter.
    assert found[0].mean() < found[1].mean() < found[2].mean()


def test_excluded_and_spared_groups_are_not_measured():
    graph, scores = chain(4)
    stub = Stub(graph, lambda group, count: 1.0)
    targets = [(MacCost(graph), 40)]
    rate_by_loss(graph, scores, targets, stub, exclude=["d1"], spare=[2])
    assert {k for _, gone in stub.runs for k, n in enumerate(gone) if n} == {0, 3}
    met = [(MacCost(graph), 10**6)]
    assert rate_by_loss(graph, scores, met, None)[0] is scores[0]  # nothing has to go


def test_steps_in_a_folder_go_on(tmp_path):
    options = {"scope": "loss", "importance": "l1", "steps": 2, "floor": 0.2}
    whole = prune_tiny(tmp_path / "whole", **options)
    calls = []

    def interrupted(model):
        calls.append(model)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune_tiny(tmp_path / "cut", interrupted, **options)
    result = prune_tiny(tmp_path / "cut", **options)
    assert result.plan == whole.plan and result.plans == whole.plans
    assert result.plan.settings["scope"] == "loss"
    for one, other in zip(result.model.weights, whole.model.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InvalidInputError, match="floor was 0.2, now 0.5"):
        prune_tiny(tmp_path / "cut", **{**options, "floor": 0.5})


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "scope='loss' needs `data`"),
        ({"data": np.ones((4, 6))}, "must hold targets"),
        ({"data": "given", "loss": None}, "scope='loss' needs one"),
        ({"data": "given", "max_evaluations": 2}, "`max_evaluations` must be"),
        ({"data": "given", "floor": 1.0}, "`floor` must be the share"),
    ],
)
def test_bad_arguments(arguments, message):
    graph, _ = chain(2)
    given = np.ones((4, 6)), np.zeros((4, 2))
    arguments = {"loss": "mse", **arguments}
    if isinstance(arguments.get("data"), str):
        arguments["data"] = given
    with pytest.raises(InvalidInputError, match=message):
        make_plan(graph.model, macs=0.5, scope="loss", **arguments)


def test_a_loss_that_is_no_number():
    graph, _ = chain(2)
    data = np.ones((4, 6)), np.zeros((4, 2))
    with pytest.raises(InvalidInputError, match="the loss of model .* is nan"):
        make_plan(
            graph.model, macs=0.5, scope="loss", importance="l1", data=data,
            loss=lambda target, output: keras.ops.sum(output, -1) * np.nan,
        )  # fmt: skip


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_number_of_measurements_that_nothing_takes(scope):
    graph, _ = chain(2)
    with pytest.raises(InvalidInputError, match="`max_evaluations` would not be"):
        make_plan(
            graph.model, macs=0.5, scope=scope, importance="l1", max_evaluations=50
        )
    with pytest.raises(InvalidInputError, match="`max_evaluations` .* would not be"):
        PruneOptions(model="model.keras", macs=0.5, scope=scope, max_evaluations=50)
    with pytest.raises(InvalidInputError, match="must be 3 or more"):
        PruneOptions(model="model.keras", macs=0.5, max_evaluations=2)
    # How far a model can go is asked without measuring.
    how = {"scope": "loss", "max_evaluations": 50}
    assert check_reachable(graph.model, macs=0.5, **how).settings["scope"] == "global"


def test_the_command_line_asks_for_a_dataset():
    with pytest.raises(InvalidInputError, match="scope='loss' needs data: name a"):
        PruneOptions(model="model.keras", macs=0.5, scope="loss")
    options = PruneOptions(
        model="model.keras", macs=0.5, scope="loss", dataset="digits", floor=0.2
    )
    assert options.needs_data
