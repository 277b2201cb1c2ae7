import json
import shutil

import keras
import numpy as np
import pytest

from keras_sda.training import CoupledSGD
from keras_sda.training.repair_backup import repair_backup
from keras_sda.utils import InvalidInputError

STEPS = 4


@pytest.fixture(scope="module")
def backup(tmp_path_factory):
    """A folder as BackupAndRestore leaves it after three epochs of four steps."""
    folder = tmp_path_factory.mktemp("backup")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(CoupledSGD(0.1, 0.9), "mse")
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


def test_nothing_there(tmp_path):
    assert repair_backup(tmp_path / "absent", STEPS) == 0
