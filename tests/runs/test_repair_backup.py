import json
import shutil

import h5py
import keras
import numpy as np
import pytest

from keras_sda.runs.repair_backup import repair_backup
from keras_sda.training import CoupledSGD
from keras_sda.utils import InvalidInputError

STEPS = 4


def network(units=2):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])
    model.compile(CoupledSGD(0.1, 0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture(scope="module")
def backup(tmp_path_factory):
    """A folder as BackupAndRestore leaves it after three epochs of four steps."""
    folder = tmp_path_factory.mktemp("backup")
    model = network()
    callback = keras.callbacks.BackupAndRestore(
        str(folder), double_checkpoint=True, delete_checkpoint=False
    )
    data = np.ones((16, 3), "float32"), np.ones((16, 2), "float32")
    model.fit(*data, batch_size=4, epochs=3, callbacks=[callback], verbose=0)
    return folder


@pytest.fixture
def copy(backup, tmp_path):
    return shutil.copytree(backup, tmp_path / "backup")


def stored_epoch(folder):
    return json.loads((folder / "training_metadata.json").read_text())["epoch"]


def test_intact(copy):
    assert repair_backup(copy, STEPS) == 3 and stored_epoch(copy) == 3


def test_killed_between_weights_and_number(copy):
    shutil.copy(copy / "training_metadata.json.bkp", copy / "training_metadata.json")
    assert stored_epoch(copy) == 2
    assert repair_backup(copy, STEPS) == 3 and stored_epoch(copy) == 3


@pytest.mark.parametrize("keep", [0, 100, -500])
def test_truncated_weights_fall_back(copy, keep):
    latest = copy / "latest.weights.h5"
    latest.write_bytes(latest.read_bytes()[:keep])
    assert repair_backup(copy, STEPS) == 2 and stored_epoch(copy) == 2
    previous = copy / "latest.weights.h5.bkp"
    assert latest.read_bytes() == previous.read_bytes()


def test_truncated_number(copy):
    (copy / "training_metadata.json").write_text('{"epo')
    assert repair_backup(copy, STEPS) == 3 and stored_epoch(copy) == 3


def test_nothing_readable(copy):
    for path in copy.glob("*.weights.h5*"):
        path.write_bytes(b"damaged")
    with pytest.raises(InvalidInputError, match="overwrite"):
        repair_backup(copy, STEPS)


def test_only_the_first_backup_was_begun(copy):
    """Nothing had been finished: the run starts again instead of refusing for ever."""
    whole = (copy / "latest.weights.h5").read_bytes()
    for path in copy.iterdir():
        path.unlink()
    for content in (b"", b"\x89HDF\r\n\x1a\n" + b"\0" * 88, whole[:1000], whole[:-9]):
        (copy / "latest.weights.h5").write_bytes(content)
        assert repair_backup(copy, STEPS) == 0
        assert not list(copy.iterdir())


def test_incomplete_weights_fall_back(copy):
    """A file that opens, but lacks variables of the model or the optimizer."""
    latest = copy / "latest.weights.h5"
    whole = latest.read_bytes()
    model = network()
    assert repair_backup(copy, STEPS, model) == 3
    for name in ("optimizer/vars/3", "optimizer/vars", "layers/dense/vars/1"):
        latest.write_bytes(whole)
        with h5py.File(latest, "r+") as file:
            del file[name]
        assert repair_backup(copy, STEPS, model) == 2
        previous = copy / "latest.weights.h5.bkp"
        assert latest.read_bytes() == previous.read_bytes()


def test_backup_of_another_model(copy):
    with pytest.raises(InvalidInputError, match="belongs to another model"):
        repair_backup(copy, STEPS, network(units=5))


def test_nothing_there(tmp_path):
    assert repair_backup(tmp_path / "absent", STEPS) == 0
