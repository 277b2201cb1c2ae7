"""Two devices against one, in a process of their own: devices are set only once."""

import pathlib

import pytest

PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
import tiny_training
from keras_sda.training import TrainOptions, make_strategy
from keras_sda.runs.history_file import read_history
tiny_training.DROPOUT = 0.0  # replicas draw their own masks
metrics = tiny_training.train_tiny({output!r} + "/two", strategy="mirrored",
                                   virtual_devices=2, epochs=2)
tiny_training.train_tiny({output!r} + "/one", epochs=2)
two, one = (
    read_history({output!r} + f"/{{name}}/history.csv") for name in ("two", "one")
)
assert len(one) == len(two) == 2
worst = max(
    abs(a[key] - b[key])
    for a, b in zip(one, two, strict=True)
    for key in ("loss", "val_loss")
)
print("strategy", metrics["strategy"])
print("worst", worst)
try:
    make_strategy("mirrored", virtual_devices=5)
except ValueError as error:
    print("late", error)
"""


@pytest.mark.parametrize(
    "backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.large)]
)
def test_two_devices_give_the_losses_of_one(backend, run_python, tmp_path):
    if backend == "jax":
        pytest.importorskip("jax")
    folder = str(pathlib.Path(__file__).parent)
    program = PROGRAM.format(folder=folder, output=str(tmp_path))
    output = run_python(program, env={"KERAS_BACKEND": backend}).stdout
    lines = dict(line.split(" ", 1) for line in output.splitlines() if " " in line)
    assert "on 2 device(s)" in lines["strategy"]
    assert float(lines["worst"]) < 1e-3
    assert "cannot be set any more" in lines["late"]
