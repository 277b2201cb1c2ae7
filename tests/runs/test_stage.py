"""Stages of a search: complete backups, the same starting model, one process."""

import json
import os

import h5py
import keras
import numpy as np
import pytest
from search.tiny_search import tiny_data, tiny_network

from keras_sda.runs.run import Run
from keras_sda.runs.train_stage import train_stage
from keras_sda.search import ChannelSearch, add_channel_gates
from keras_sda.utils import InvalidInputError


def model_of(units=2):
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture
def stage(tmp_path):
    """A stage with backups of two epochs."""
    with Run(tmp_path, "test").opened() as run:
        made = run.stage("stage", {"epochs": 5})
        model = model_of()
        assert made.restore(model) == 0
        for epoch in (1, 2):
            model.optimizer.iterations.assign(epoch)
            made.backup.save(model, epoch)
        yield made


def again(stage):
    """The stage as a repeated call finds it."""
    run = Run(stage.folder.parent, "test")
    with run.opened():
        return run.stage("stage", {"epochs": 5})


def test_newest_complete_backup_wins(stage):
    assert again(stage).restore(model_of()) == 2
    newest = stage.folder / "epoch0002.weights.h5"
    whole = newest.read_bytes()
    for name in ("optimizer/vars/2", "layers/dense/vars/1", "optimizer"):
        newest.write_bytes(whole)
        with h5py.File(newest, "r+") as file:
            del file[name]
        model = model_of()
        assert again(stage).restore(model) == 1
        assert int(model.optimizer.iterations) == 1
    (stage.folder / "epoch0001.weights.h5").unlink()
    model = model_of()
    assert again(stage).restore(model) == 0
    assert int(model.optimizer.iterations) == 0


def test_backup_of_another_network(stage):
    with pytest.raises(InvalidInputError, match="belongs to another model"):
        again(stage).restore(model_of(units=4))


def test_damaged_end_of_a_stage(stage):
    stage.finish(model_of())
    assert [path.name for path in stage.folder.iterdir()] == ["final.weights.h5"]
    assert again(stage).is_finished
    final = stage.folder / "final.weights.h5"
    final.write_bytes(final.read_bytes()[:-100])
    with pytest.raises(InvalidInputError, match="final.weights.h5 cannot be used"):
        again(stage).load(model_of())
    # As the message says: without it the stage is run again.
    final.unlink()
    assert not again(stage).is_finished and again(stage).restore(model_of()) == 0


def test_what_a_kill_leaves_is_removed(stage):
    left = stage.folder / ".epoch0003-0a1b2c3d.weights.h5"
    left.write_bytes(b"half")
    again(stage)
    assert not left.exists()


def test_models_and_facts(stage):
    stage.keep(model_of(), "begun")
    stage.note(accuracy=0.5, rows=[1, 2])
    assert again(stage).keeps("begun") and not again(stage).keeps("model")
    assert again(stage).fact("accuracy", float) == 0.5
    assert again(stage).fact("rows", list[int]) == [1, 2]
    assert again(stage).fact("absent", int) is None
    with pytest.raises(InvalidInputError, match="rows must be"):
        again(stage).fact("rows", dict)
    model = model_of()
    stage.finish_with(model)
    assert [path.name for path in stage.folder.iterdir()] == ["model.keras"]
    found = again(stage)
    assert found.is_finished and not found.keeps("begun")
    assert not found.model().compiled
    np.testing.assert_array_equal(
        found.model().layers[0].kernel, model.layers[0].kernel
    )


def test_without_a_folder_nothing_is_kept():
    run = Run(None, "test")
    with run.opened():
        stage = run.stage("stage", {"epochs": 5})
        assert stage.restore(model_of()) == 0 and stage.callbacks() == []
        stage.keep(model_of(), "begun")
        stage.finish(model_of())
        stage.finish_with(model_of())
        assert not stage.keeps("begun") and not stage.is_finished
        run.stage("stage", {"epochs": 6})


@pytest.fixture
def eager():
    """Too little is trained to be worth a graph."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def search_in(folder, change=0.0, add=0.0):
    model = tiny_network()
    model.get_layer("conv2").kernel.assign_add(
        np.full(model.get_layer("conv2").kernel.shape, change)
    )
    search = ChannelSearch(add_channel_gates(model), folder)
    images, labels = (part[:8] for part in tiny_data())
    data = images + add, labels
    return search.train_weights(data, 1, batch_size=8, verbose=0)


def test_another_starting_model_is_refused(eager, tmp_path):
    assert len(search_in(tmp_path)) == 1
    assert search_in(tmp_path) == []
    with pytest.raises(InvalidInputError, match="another starting model"):
        search_in(tmp_path, change=1.0)
    with pytest.raises(InvalidInputError, match="other data"):
        search_in(tmp_path, add=1.0)


def test_a_folder_in_use(eager, tmp_path):
    owner = {"host": os.uname().nodename, "pid": os.getppid()}
    (tmp_path / ".lock").write_text(json.dumps(owner))
    with pytest.raises(InvalidInputError, match=f"process {os.getppid()} on host"):
        search_in(tmp_path)


def test_finished_stage_of_a_model_that_was_measured_meanwhile(tmp_path):
    """Its weights come with the optimizer of the stage, whatever compiled the model."""
    data = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")

    def stage_of(model):
        schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
        optimizer = keras.optimizers.SGD(schedule, 0.9)
        with Run(tmp_path, "test").open_stage("stage", {"epochs": 1}) as stage:
            train_stage(stage, model, data, 1, optimizer, "mse", [], verbose=0)
        return model

    trained = stage_of(model_of())
    again = model_of()
    again.compile(loss="mse", metrics=["accuracy"])
    again.evaluate(*data, verbose=0)
    assert stage_of(again).optimizer.iterations == 1
    for one, other in zip(again.weights, trained.weights, strict=True):
        np.testing.assert_array_equal(one, other)
