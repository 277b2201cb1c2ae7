"""Backups after every epoch: the newest complete one wins, whatever a kill left."""

import shutil

import h5py
import keras
import numpy as np
import pytest

from keras_sda.runs.epoch_backup import EpochBackup
from keras_sda.training import CoupledSGD
from keras_sda.utils import InvalidInputError, WeightsFile

EPOCHS = 3


def network(units=2):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])
    model.compile(CoupledSGD(0.1, 0.9), "mse", run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture(scope="module")
def backup(tmp_path_factory):
    """A folder after three epochs of four steps."""
    folder = tmp_path_factory.mktemp("backup")
    data = np.ones((16, 3), "float32"), np.ones((16, 2), "float32")
    network().fit(
        *data, batch_size=4, epochs=EPOCHS, callbacks=[EpochBackup(folder)], verbose=0
    )
    return folder


@pytest.fixture
def copy(backup, tmp_path):
    return shutil.copytree(backup, tmp_path / "backup")


def restored(folder):
    """Finished epochs, which the step counter has to agree with."""
    model = network()
    epoch = EpochBackup(folder).restore(model)
    assert int(model.optimizer.iterations) == 4 * epoch
    return epoch


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_intact(copy):
    assert names(copy) == ["epoch0002.weights.h5", "epoch0003.weights.h5"]
    assert restored(copy) == EPOCHS
    assert EpochBackup(copy).newest == copy / "epoch0003.weights.h5"
    assert WeightsFile(EpochBackup(copy).newest).epoch == EPOCHS


@pytest.mark.parametrize("keep", [0, 100, -500])
def test_truncated_weights_fall_back(copy, keep):
    latest = copy / "epoch0003.weights.h5"
    latest.write_bytes(latest.read_bytes()[:keep])
    assert restored(copy) == 2
    # The next epoch takes its place.
    EpochBackup(copy).save(network(), 3)
    assert names(copy) == ["epoch0002.weights.h5", "epoch0003.weights.h5"]
    assert WeightsFile(latest).problem(network()) == ""


def test_nothing_readable(copy):
    for path in copy.iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(InvalidInputError, match="Delete them.*overwrite"):
        restored(copy)
    assert len(names(copy)) == 2


def test_only_the_first_backup_was_begun(copy):
    """Nothing had been finished: the run starts again instead of refusing for ever."""
    whole = (copy / "epoch0003.weights.h5").read_bytes()
    for path in copy.iterdir():
        path.unlink()
    for content in (b"", b"\x89HDF\r\n\x1a\n" + b"\0" * 88, whole[:1000], whole[:-9]):
        (copy / "epoch0001.weights.h5").write_bytes(content)
        assert restored(copy) == 0
        assert not list(copy.iterdir())


def test_incomplete_weights_fall_back(copy):
    """A file that opens, but lacks variables of the model or the optimizer."""
    latest = copy / "epoch0003.weights.h5"
    whole = latest.read_bytes()
    for name in ("optimizer/vars/3", "optimizer/vars", "layers/dense/vars/1"):
        latest.write_bytes(whole)
        with h5py.File(latest, "r+") as file:
            del file[name]
        assert restored(copy) == 2


def test_what_a_kill_leaves_is_removed(copy):
    (copy / ".epoch0004-0a1b2c3d.weights.h5").write_bytes(b"half")
    assert restored(copy) == EPOCHS and len(names(copy)) == 2


def test_backup_of_another_model(copy):
    with pytest.raises(InvalidInputError, match="belongs to another model"):
        EpochBackup(copy).restore(network(units=5))


def test_backup_of_an_earlier_version(tmp_path):
    (tmp_path / "latest.weights.h5").write_bytes(b"old")
    with pytest.raises(InvalidInputError, match="earlier version.*latest.weights.h5"):
        restored(tmp_path)
    assert names(tmp_path) == ["latest.weights.h5"]


def test_nothing_there(tmp_path):
    assert restored(tmp_path / "absent") == 0
    assert EpochBackup(tmp_path / "absent").newest is None


def test_later_backups_of_a_training_that_was_begun_again_go(copy):
    EpochBackup(copy).save(network(), 1)
    assert names(copy) == ["epoch0001.weights.h5"]
