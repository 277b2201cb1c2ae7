"""A new criterion is one file: known to plans, pruning, reports, the command line."""

import importlib.util
import json

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda import cli
from keras_sda.graph import ChannelGraph
from keras_sda.pruning import (
    CRITERIA,
    Criterion,
    PruningPlan,
    PruningReport,
    collect_statistics,
    make_plan,
    prune,
    register_criterion,
)
from keras_sda.utils import InvalidInputError

NEW_FILE = '''
"""Worth of a channel: how far its activation swings."""

import keras
import numpy as np

from keras_sda.pruning import Criterion, register_criterion


@register_criterion
class Swing(Criterion):
    """Largest minus smallest activation, averaged over the images."""

    name = "swing"
    needs = ("activations",)

    def reduce(self, activations):
        return keras.ops.max(activations, axis=1) - keras.ops.min(activations, axis=1)

    def score(self, group, statistics):
        values = statistics.per_channel(group, statistics["swing"])
        return np.array([np.mean(v) if v else 0.0 for v in values])
'''


@pytest.fixture
def forget():
    """What a test registers is gone after it."""
    before = dict(CRITERIA)
    yield
    CRITERIA.clear()
    CRITERIA.update(before)


@pytest.fixture
def swing(forget, tmp_path):
    """The new file, imported as a user's module is."""
    path = tmp_path / "swing.py"
    path.write_text(NEW_FILE)
    spec = importlib.util.spec_from_file_location("swing", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network():
    """Grey images of 32 pixels, as the digits come; channel k of `a` swings by k."""
    x = keras.Input((32, 32, 1))
    y = layers.Rescaling(1 / 255)(x)
    y = layers.Conv2D(6, 1, use_bias=False, name="a")(y)
    y = layers.Conv2D(4, 3, strides=8, name="b")(y)
    y = layers.Flatten()(y)
    model = keras.Model(x, layers.Dense(10, activation="softmax", name="c")(y))
    model.get_layer("a").kernel.assign(np.reshape([3.0, 1, 5, 2, 6, 4], (1, 1, 1, 6)))
    return model


def test_in_plans_reports_and_the_command_line(swing, tmp_path, capsys):
    model = network()
    images = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 1))
    (group,) = [g for g in ChannelGraph(model).groups if "a" in g.writers]
    statistics = collect_statistics(
        ChannelGraph(model), [CRITERIA["swing"]], images.astype("float32")
    )
    found = CRITERIA["swing"].score(group, statistics)
    np.testing.assert_allclose(
        found / found.max(), np.array([3, 1, 5, 2, 6, 4]) / 6, 1e-5
    )
    plan = make_plan(model, macs=0.62, importance="swing", data=images, scope="layer")
    assert plan.remove["a"] == [1, 3] and plan.settings["importance"] == "swing"
    plan.save(tmp_path / "plan.json")
    assert PruningPlan.load(tmp_path / "plan.json") == plan
    result = prune(model, macs=0.62, importance="swing", data=images, steps=2)
    assert json.loads(result.report.to_json())["settings"]["importance"] == "swing"

    with pytest.raises(SystemExit):
        cli.main(["prune", "--help"])
    assert "random, swing, taylor" in " ".join(capsys.readouterr().out.split())
    model.save(tmp_path / "model.keras")
    words = ["prune", str(tmp_path / "model.keras"), "--macs", "0.62"]
    words += ["--importance", "swing", "--output", str(tmp_path / "run")]
    assert cli.main(words) == 2
    assert "importance='swing' needs data" in capsys.readouterr().err
    data = ["--dataset", "digits", "--importance_examples", "64", "--scope", "layer"]
    assert cli.main([*words, *data]) == 0
    assert PruningPlan.load(tmp_path / "run" / "plan.json").remove["a"] == [1, 3]
    assert PruningReport.load(tmp_path / "run").settings["importance"] == "swing"


def test_functions_get_the_group_and_what_they_ask_for(forget):
    model = network()
    images = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 1))
    labels = np.arange(8) % 10
    seen = []

    def alone(group, power=2):
        return np.arange(group.num_channels) ** power

    def with_statistics(group, statistics):
        seen.append(statistics)
        return CRITERIA["activation"].score(group, statistics)

    assert make_plan(model, macs=0.6, importance=alone).remove["a"][0] == 0
    half = {"macs": 0.6, "scope": "layer"}
    plan = make_plan(model, **half, importance=with_statistics, data=images)
    assert plan.settings["importance"] == "with_statistics"
    assert (
        plan.remove
        == make_plan(model, **half, importance="activation", data=images).remove
    )
    assert "taylor" not in seen[0].collected
    with pytest.raises(InvalidInputError, match="`statistics` hold nothing of .*taylo"):
        seen[0]["taylor"]

    def both(group, statistics):
        return CRITERIA["taylor"].score(group, statistics) * with_statistics(
            group, statistics
        )

    register_criterion(both, needs=("activations", "gradients"))
    loss = "sparse_categorical_crossentropy"
    plan = make_plan(model, **half, importance="both", data=(images, labels), loss=loss)
    assert {"both", "taylor", "activation", "votes"} == set(seen[-1].collected)
    register_criterion(both, name="both")  # a notebook cell that runs twice
    assert CRITERIA["both"].needs == ("activations",)


class Products(Criterion):
    """Sees labels and moments, and counts its batches."""

    name = "products"
    needs = ("activations", "labels", "moments")

    def collect(self, graph, batch):
        return {"labels": np.bincount(batch.labels, minlength=3), "batches": np.ones(1)}


class Stream:
    """Batches that can be read once."""

    def __init__(self, *arrays):
        self.batches = iter(zip(*[np.split(a, 4) for a in arrays], strict=True))
        self.reads = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.reads += 1
        return next(self.batches)


@pytest.mark.parametrize("one_hot", [False, True])
def test_one_pass_for_all_criteria(one_hot):
    x = keras.Input((5, 2))
    y = layers.Conv1D(4, 3, padding="same", activation="relu", name="a")(x)
    first = layers.Conv1D(3, 1, name="b")(y)
    y = layers.Flatten()(layers.Concatenate()([first, y]))
    model = keras.Model(x, layers.Dense(3, activation="softmax", name="c")(y))
    graph = ChannelGraph(model)
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(12, 5, 2)).astype("float32")
    labels = np.arange(12) % 3
    targets = keras.utils.to_categorical(labels, 3) if one_hot else labels
    loss = f"{'' if one_hot else 'sparse_'}categorical_crossentropy"
    data = Stream(inputs, targets)
    criteria = [Products(), *CRITERIA.values()]
    found = collect_statistics(graph, criteria, data, loss)
    assert data.reads == 5 and (found.num_batches, found.num_samples) == (4, 12)
    assert found["products"]["labels"].tolist() == [4, 4, 4]
    assert found["products"]["batches"] == 4
    assert [reading.layers for reading in found.readings] == [("a",), ("b",), ("c",)]
    for reading, moments in zip(found.readings, found.moments, strict=True):
        seen = keras.Model(x, reading.tensor).predict(inputs, verbose=0)
        rows = seen.reshape(-1, seen.shape[-1]).astype("float64")
        np.testing.assert_allclose(moments, rows.T @ rows / len(rows), 1e-5, 1e-6)
        assert len(reading.classes) == moments.shape[0] == seen.shape[-1]
    alone = collect_statistics(
        graph, [CRITERIA["taylor"]], Stream(inputs, targets), loss
    )
    for group in graph.groups:
        np.testing.assert_array_equal(
            CRITERIA["taylor"].score(group, found),
            CRITERIA["taylor"].score(group, alone),
        )


def test_a_criterion_of_several_layers_and_their_second_moments(forget):
    """Of a channel that is the sum of others, nothing is lost that cannot be refitted.

    By hand: activations (1, 0, 1), (0, 1, 2), (1, 1, 3), (2, 1, 4), so that the third
    is the first and twice the second.
    """

    @register_criterion
    class Unexplained(Criterion):
        name = "unexplained"
        needs = ("moments",)

        def score(self, group, statistics):
            total = np.zeros(group.num_channels)
            for part in group.parts:
                if part.role != "reads":
                    continue
                for reading, moments in zip(
                    statistics.readings, statistics.moments, strict=True
                ):
                    if part.layer in reading.layers:
                        ridge = 1e-6 * np.trace(moments) * np.eye(len(moments))
                        left = 1 / np.diag(np.linalg.inv(moments + ridge))
                        places = np.searchsorted(group.classes, reading.classes)
                        np.add.at(total, places, left / np.diag(moments))
            return total

    x = keras.Input((3,))
    y = layers.Dense(3, name="made", use_bias=False)(x)
    readers = [layers.Dense(2, name=name)(y) for name in ("one", "other")]
    model = keras.Model(x, readers)
    model.get_layer("made").kernel.assign(np.eye(3))
    rows = np.array([[1, 0, 1], [0, 1, 2], [1, 1, 3], [2, 1, 4]], "float32")
    graph = ChannelGraph(model)
    found = collect_statistics(graph, [CRITERIA["unexplained"]], rows)
    moments = [m for r, m in zip(found.readings, found.moments, strict=True)
               if "one" in r.layers]  # fmt: skip
    np.testing.assert_allclose(
        4 * moments[0], [[6, 3, 12], [3, 3, 9], [12, 9, 30]], rtol=1e-6
    )
    (score,) = (CRITERIA["unexplained"].score(g, found) for g in graph.groups)
    assert (score < 1e-3).all()
    plan = make_plan(model, params=0.8, importance="unexplained", data=rows)
    assert plan.remove


def test_a_criterion_finishes_what_it_collected(forget):
    @register_criterion
    class Ranked(Criterion):
        name = "ranked"
        needs = ("activations",)

        def finish(self, graph, statistics):
            assert statistics.num_samples == 8 and graph.groups
            return [np.argsort(np.argsort(x.mean(0))) for x in statistics["ranked"]]

        def score(self, group, statistics):
            values = statistics.per_channel(group, statistics["ranked"])
            return np.array([sum(v) for v in values])

    images = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 1))
    plan = make_plan(
        network(), macs=0.62, importance="ranked", data=images, scope="layer"
    )
    assert plan.remove["a"] == [1, 3]


def test_a_criterion_of_labels_by_hand():
    """The closed form of discriminant information: 16 / 16.81 and nothing."""

    class Discriminant(Criterion):
        name = "discriminant"
        needs = ("activations", "labels")

        def collect(self, graph, batch):
            one_hot = np.eye(batch.labels.max() + 1)[batch.labels]
            one_hot -= one_hot.mean(0)
            found = []
            for values in batch.activations:
                values = values.astype("float64") - values.mean(0)
                flat = values.reshape(len(values), -1)
                inverse = np.linalg.inv(flat @ flat.T + 0.1 * np.eye(len(flat)))
                slopes = np.einsum("by,bx,xpc->ypc", one_hot, inverse, values)
                found.append(2 * (slopes**2).sum((0, 1)))
            return found

        def score(self, group, statistics):
            values = statistics.per_channel(group, statistics[self.name])
            return np.array([sum(v) for v in values])

    x = keras.Input((2,))
    y = layers.Dense(2, use_bias=False, name="made")(x)
    model = keras.Model(x, layers.Dense(1, name="read")(y))
    model.get_layer("made").kernel.assign(np.eye(2))
    rows = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], "float32")
    graph = ChannelGraph(model)
    found = collect_statistics(graph, [Discriminant()], (rows, [0, 0, 1, 1]))
    (score,) = (Discriminant().score(group, found) for group in graph.groups)
    np.testing.assert_allclose(score, [0.951814, 0], atol=1e-6)


def test_what_is_refused(forget):
    model = network()
    images = np.zeros((4, 32, 32, 1), "float32")

    def fails(match, **arguments):
        with pytest.raises(InvalidInputError, match=match):
            make_plan(model, macs=0.6, **arguments)

    labels = (images, np.linspace(0, 1, 4))
    fails(
        "`data` would not be looked at: importance='l1'", importance="l1", data=images
    )
    fails("would not be looked at", data=images, importance=lambda group: group.classes)
    fails("importance='products' needs `data`", importance=Products())
    fails("targets as well", importance=Products(), data=images)
    fails("one label per sample", importance=Products(), data=labels)
    fails("`needs` of the criterion 'wrong'", importance=criterion(needs=("labels", 3)))
    fails("`needs` of the criterion 'wrong'", importance=criterion(needs="labels"))
    fails("must be a word", importance=criterion(name=""))
    uneven = criterion(needs=("activations",), collect=lambda *_: np.ones(next(sizes)))
    sizes = iter([2, 3])
    fails("same shapes", importance=uneven, data=[images, images])

    def refuses(match, *arguments, **options):
        with pytest.raises(InvalidInputError, match=match):
            register_criterion(*arguments, **options)

    refuses("must be a Criterion or a function", 3)
    refuses("is that of a criterion of this package", lambda group: 1, name="l1")
    refuses("must be a word", lambda group: 1)
    refuses("`needs` is for functions", Products(), needs=("labels",))
    refuses("`needs` of the criterion 'f'", lambda g, s: 1, name="f", needs=("loss",))
    assert "f" not in CRITERIA


def criterion(**settings):
    return type("Wrong", (Criterion,), {"name": "wrong", **settings})()
