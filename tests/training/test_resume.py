"""A run killed with SIGKILL continues to the same bits."""

import io
import pathlib
import signal
import zipfile

import h5py
import numpy as np
import pytest
from training.tiny_training import train_tiny

from keras_sda.runs.epoch_backup import EpochBackup
from keras_sda.runs.history_file import read_history

PROGRAM = pathlib.Path(__file__).with_name("tiny_training.py")
HALF = "mixed_float16"


def read_weights(model_file):
    data = zipfile.ZipFile(model_file).read("model.weights.h5")
    weights = {}

    def collect(name, item):
        if isinstance(item, h5py.Dataset):
            weights[name] = np.asarray(item)

    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(collect)
    return weights


AVERAGED = {"ema": True, "mixed_precision": HALF}


@pytest.mark.parametrize(
    "options", [{}, pytest.param(AVERAGED, marks=pytest.mark.large)]
)
def test_killed_run_ends_in_the_same_weights(options, run_python, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train_tiny(whole, **options)
    words = [f"{name}={value}" for name, value in options.items()]
    result = run_python([PROGRAM, killed, *words, "kill_at=2,4"], check=False)
    assert result.returncode == -signal.SIGKILL
    assert not (killed / "model.keras").exists()
    # As if the kill had also hit the backup while it was written.
    latest = EpochBackup(killed / "backup" / "training").newest
    latest.write_bytes(latest.read_bytes()[:-2000])
    train_tiny(killed, **options, resume=True)

    expected, actual = (read_weights(p / "model.keras") for p in (whole, killed))
    assert expected.keys() == actual.keys() and len(expected) > 15
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)
    rows = [read_history(p / "history.csv") for p in (whole, killed)]
    assert [row["epoch"] for row in rows[1]] == [1, 2, 3]
    for first, second in zip(*rows, strict=True):
        assert {**first, "seconds": 0} == {**second, "seconds": 0}
    assert not (killed / "backup").exists()
