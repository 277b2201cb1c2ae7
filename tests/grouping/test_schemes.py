"""Global, local and local-global fine-tuning, at once and after an interruption."""

import json
import os

import keras
import numpy as np
import pytest

from keras_sda.applications import LeNet
from keras_sda.grouping import (
    GROUPING_RECIPES,
    PUBLISHED_GROUPINGS,
    group_and_fine_tune,
    grouping_steps,
    published_counts,
    self_group,
)
from keras_sda.layers.compression.self_grouped import SelfGrouped
from keras_sda.utils import InvalidInputError

layers = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(64, 8, 8, 2)).astype("float32")
LABELS = (IMAGES[..., 0].mean((1, 2)) > 0).astype("int32")


def network(dense=True):
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(8, 3, activation="relu", name="stem")(inputs)
    x = layers.Conv2D(16, 3, activation="relu", name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling2D()(x)
    if dense:
        x = layers.Dense(12, activation="relu", name="hidden")(x)
    outputs = layers.Dense(2, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, outputs)


class Trainer:
    """Fine-tunes, notes what it was asked for, and may stop at a step."""

    def __init__(self, stop_at=None):
        self.calls, self.stop_at = [], stop_at

    def __call__(self, model, epochs, name):
        if name == self.stop_at:
            raise KeyboardInterrupt
        self.calls.append((name, epochs))
        keras.utils.set_random_seed(len(name) + ord(name[-2]))
        model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9),
            "sparse_categorical_crossentropy",
            run_eagerly=True,  # too little to be worth a graph
        )
        model.fit(IMAGES, LABELS, epochs=epochs, batch_size=32, verbose=0)


def masks(model):
    return {
        x.name: np.array(x.mask) for x in model.layers if isinstance(x, SelfGrouped)
    }


def kept(model):
    return {name: float(mask.mean()) for name, mask in masks(model).items()}


def test_steps():
    one = grouping_steps("global", 0.7, 0.6, 5, 9)
    assert [(x.name, x.conv_rate, x.dense_rate, x.epochs) for x in one] == [
        ("global", 0.7, 0.6, 9)
    ]
    steps = grouping_steps("local_global", 0.75, 0.6, 2, 9)
    assert [x.conv_rate for x in steps] == [
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.75,
        0.75,
    ]
    assert [x.dense_rate for x in steps[5:]] == [0.6] * 4
    assert [x.epochs for x in steps] == [2] * 8 + [9]
    assert [x.groups for x in steps] == [True] * 8 + [False]
    assert steps[7].name == "local_75" and steps[8].name == "global"
    higher = grouping_steps("local", 0.2, 0.35, step=0.1)
    assert [(x.conv_rate, x.dense_rate) for x in higher] == [
        (0.1, 0.1), (0.2, 0.2), (0.2, 0.3), (0.2, 0.35)
    ]  # fmt: skip


@pytest.mark.parametrize("scheme", ["global", "local"])
def test_one_training_more_or_less(scheme):
    model, trainer, seen = network(), Trainer(), []
    before = model.get_weights()
    result = group_and_fine_tune(
        model, trainer, 0.5, 0.3, scheme=scheme, local_epochs=1, global_epochs=2,
        step=0.25, num_groups=4, after_grouping=lambda m, step: seen.append(step.name),
    )  # fmt: skip
    names = ["global"] if scheme == "global" else ["local_25", "local_50"]
    assert [name for name, _ in trainer.calls] == names == seen
    assert {epochs for _, epochs in trainer.calls} == {2 if scheme == "global" else 1}
    share = kept(result.model)
    # Blocks of tied importance may take up to one block more.
    assert 0.3 < share["conv"] <= 0.5 and 0.4 < share["hidden"] <= 0.7
    assert set(share) == {"conv", "hidden", "predictions"}
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    report = result.report
    assert [row.name for row in report.layers] == ["conv", "hidden", "predictions"]
    assert all(row.threshold is not None for row in report.layers)
    assert [row.name for row in report.left_alone] == ["stem"]
    assert report.settings["scheme"] == scheme
    # Groups of every step are those of the first.
    assert all(row.num_masks <= row.num_groups for row in report.layers)


def test_reached_layers_stay_even_where_each_step_clusters_anew():
    seen = {}

    def note(model, step):
        seen[step.name] = masks(model)

    group_and_fine_tune(
        network(), Trainer(), 0.6, 0.2, scheme="local", local_epochs=1, step=0.2,
        num_groups=4, regroup="every_step", after_grouping=note,
    )  # fmt: skip
    assert list(seen) == ["local_20", "local_40", "local_60"]
    for name in ("hidden", "predictions"):
        for step in ("local_40", "local_60"):
            np.testing.assert_array_equal(seen[step][name], seen["local_20"][name])
    shares = [found["conv"].mean() for found in seen.values()]
    assert shares[0] > shares[1] > shares[2]


def test_a_rate_without_layers_needs_no_steps():
    trainer = Trainer()
    result = group_and_fine_tune(
        network(dense=False), trainer, 0.2, 0.9, scheme="local", local_epochs=1,
        exclude=["predictions"],
    )  # fmt: skip
    assert [x.name for x in result.steps] == ["local_10", "local_20"]
    assert list(kept(result.model)) == ["conv"]


def test_interrupted_steps_go_on(tmp_path):
    options = {
        "conv_rate": 0.4, "dense_rate": 0.2, "scheme": "local_global", "step": 0.2,
        "local_epochs": 1, "global_epochs": 1, "num_groups": 4,
    }  # fmt: skip
    keras.utils.set_random_seed(3)
    model = network()
    whole = group_and_fine_tune(model, Trainer(), folder=tmp_path / "whole", **options)
    folder = tmp_path / "steps"
    for stop_at in ("local_40", "global"):
        with pytest.raises(KeyboardInterrupt):
            group_and_fine_tune(model, Trainer(stop_at), folder=folder, **options)
    assert (folder / "local_40" / "model.keras").is_file()
    trainer = Trainer()
    again = group_and_fine_tune(model, trainer, folder=folder, **options)
    assert trainer.calls == [("global", 1)]
    for a, b in zip(whole.model.weights, again.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert whole.report == again.report
    # Complete: nothing is trained, the result is that of the folder.
    read = group_and_fine_tune(model, Trainer("global"), folder=folder, **options)
    np.testing.assert_array_equal(
        read.model.predict(IMAGES, verbose=0), whole.model.predict(IMAGES, verbose=0)
    )
    assert read.report == whole.report


def test_groups_of_a_killed_step_are_kept(tmp_path):
    """They are read, not chosen again: clustering may depend on the machine."""
    model = network()
    with pytest.raises(KeyboardInterrupt):
        group_and_fine_tune(model, Trainer("global"), 0.5, 0.5, folder=tmp_path)
    path = tmp_path / "global" / "grouped.keras"
    grouped = keras.saving.load_model(path)
    mask = np.array(grouped.get_layer("conv").mask)[::-1]
    grouped.get_layer("conv").mask.assign(mask)
    grouped.save(path)
    result = group_and_fine_tune(model, lambda *_: None, 0.5, 0.5, folder=tmp_path)
    np.testing.assert_array_equal(result.model.get_layer("conv").mask, mask)


def test_folder_of_other_arguments(tmp_path):
    model = network()

    def call(model, **options):
        return group_and_fine_tune(
            model, Trainer(), **{"global_epochs": 0, "folder": tmp_path, **options}
        )

    call(model)
    with pytest.raises(InvalidInputError, match="conv_rate was 0.7, now 0.5"):
        call(model, conv_rate=0.5)
    model.layers[1].kernel.assign(model.layers[1].kernel + 1)
    with pytest.raises(InvalidInputError, match="another model"):
        call(model)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InvalidInputError, match="run.json is damaged"):
        call(model)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"conv_rate": 70}, "For 70 % give 0.7"),
        ({"dense_rate": -0.1}, "`dense_rate` must be from 0"),
        ({"scheme": "all"}, "`scheme` must be one of"),
        ({"local_epochs": 1.5}, "`local_epochs` must be an integer"),
        ({"global_epochs": -1}, "`global_epochs` must be an integer"),
        ({"step": 10}, "`step` must be a share"),
        ({"scheme": "local", "balance": "disjoint"}, "nothing to reach in steps"),
        ({"balance": "even"}, "`balance` must be one of"),
        ({"exclude": ["none"]}, "none"),
        ({"conv_rate": 0.0, "dense_rate": 0.0}, "its rate is 0"),
    ],
)
def test_bad_arguments(options, text, tmp_path):
    with pytest.raises(InvalidInputError, match=text):
        group_and_fine_tune(network(), Trainer(), **options)


def test_balance_at_once():
    result = group_and_fine_tune(
        network(), Trainer(), 0.5, 0.0, balance="disjoint", global_epochs=1
    )
    (row,) = result.report.layers
    assert row.group_sizes == (8, 8) and row.group_channels == (4, 4)


def test_recipes_fit_the_published_rows():
    assert set(GROUPING_RECIPES) == set(PUBLISHED_GROUPINGS)
    for name, recipe in GROUPING_RECIPES.items():
        rows = PUBLISHED_GROUPINGS[name]
        assert rows[0]["conv_rate"] == 0
        found = {
            (row["conv_rate"], row["dense_rate"])
            for row in rows
            if row["scheme"] == recipe.scheme
        }
        assert set(recipe.rates) == found
        steps = grouping_steps(recipe.scheme, *recipe.rates[0], 2, 3)
        assert steps[-1].epochs == 3
    # The first row is the network of the recipe.
    counts = published_counts(LeNet(input_shape=(28, 28, 1)))
    first = PUBLISHED_GROUPINGS["lenet_mnist"][0]
    assert counts.params == pytest.approx(1e6 * first["params_millions"], rel=1e-3)
    assert counts.macs == pytest.approx(1e6 * first["macs_millions"], rel=1e-3)
    rate = GROUPING_RECIPES["lenet_mnist"].rates[0]
    report = self_group(LeNet(input_shape=(28, 28, 1)), *rate).report
    assert report.published_macs == pytest.approx(0.388e6, rel=2e-2)


def test_settings_are_json(tmp_path):
    group_and_fine_tune(
        network(), Trainer(), layers=("conv",), global_epochs=0, folder=tmp_path
    )
    stored = json.loads((tmp_path / "run.json").read_text())["settings"]["grouping"]
    assert stored["layers"] == ["conv"] and stored["scheme"] == "global"


def test_last_rates_are_checked_before_the_first_training(tmp_path):
    trainer = Trainer()
    with pytest.raises(InvalidInputError, match="`conv_rate`=0.99.* 'conv'"):
        group_and_fine_tune(
            network(), trainer, 0.99, 0.0, scheme="local", step=0.3, num_groups=2,
            folder=tmp_path,
        )  # fmt: skip
    assert not trainer.calls


def test_a_folder_in_use(tmp_path):
    owner = {"host": os.uname().nodename, "pid": os.getppid()}
    (tmp_path / ".lock").write_text(json.dumps(owner))
    with pytest.raises(InvalidInputError, match=f"process {os.getppid()} on host"):
        group_and_fine_tune(network(), Trainer(), global_epochs=0, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_what_a_kill_leaves_is_removed(tmp_path):
    left = tmp_path / "global" / ".model-0a1b2c3d.keras"
    left.parent.mkdir()
    left.write_bytes(b"half")
    group_and_fine_tune(network(), Trainer(), global_epochs=0, folder=tmp_path)
    assert not left.exists()
