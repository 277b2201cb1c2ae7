"""What tests of several commands share."""

import json

import keras
import numpy as np

from keras_sda import cli
from keras_sda.utils import InvalidInputError


def fails(capsys, *arguments):
    """Runs a command that must fail; returns its one line on standard error."""
    status = cli.main([str(argument) for argument in arguments])
    error = capsys.readouterr().err.strip().splitlines()
    assert status == 2
    assert error[-1].startswith("keras-sda: error: ")
    assert "Traceback" not in "\n".join(error)
    return error[-1]


def stop(*_, **__):
    """Stands for a part of a run that is not reached."""
    raise InvalidInputError("stop")


def check_same_end(whole, stopped, same):
    """The models of two runs have the same bits, and their metrics the same values."""
    one, other = (
        keras.saving.load_model(path / "model.keras") for path in (whole, stopped)
    )
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    found = [
        json.loads((path / "metrics.json").read_text()) for path in (whole, stopped)
    ]
    for name in same:
        assert found[0][name] == found[1][name]
    return found[0]
