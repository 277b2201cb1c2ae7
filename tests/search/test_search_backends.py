"""Other backends, several devices, mixed precision."""

import pathlib

import keras
import numpy as np
import pytest
from search.tiny_search import run, tiny_data

PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
import contextlib
import keras, numpy as np
from keras_sda.search import ChannelSearch, add_channel_gates
from search.tiny_search import run, tiny_data, tiny_network

scope = contextlib.nullcontext()
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    devices = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        devices[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    scope = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope()
with scope:
    gated = add_channel_gates(tiny_network())
search = ChannelSearch(gated, loss=lambda y, p: 0 * keras.ops.sum(p, axis=-1))
search.learn_architecture(
    tiny_data(32), 1, lambda_arch=0.1, optimizer=keras.optimizers.SGD(0.5),
    batch_size=8, verbose=0,
)
# Four steps of rate times price times the slope of the sigmoid, about a quarter.
numbers = np.concatenate([np.array(gate.s) for gate in search.gates])
worst = np.abs(numbers + 4 * 0.5 * 0.1 / 4).max()
print("worst", worst)
if keras.backend.backend() == "jax":
    search = run({output!r}, target_macs=0.5, lambda_arch=None)
    report = search.result.report
    print("share", report.macs_after / report.macs_before)
    print("prices", len({{row["price"] for row in search.log.rows}}))
    again = run({output!r}, target_macs=0.5, lambda_arch=None)
    print("same", again.result.kept == search.result.kept)
"""


@pytest.mark.parametrize(
    "backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.large)]
)
def test_price_on_other_backends(backend, run_python, tmp_path):
    if backend == "jax":
        pytest.importorskip("jax")
    folder = str(pathlib.Path(__file__).parents[1])
    program = PROGRAM.format(folder=folder, output=str(tmp_path / "run"))
    output = run_python(program, env={"KERAS_BACKEND": backend}).stdout
    lines = dict(line.split(" ", 1) for line in output.splitlines() if " " in line)
    assert float(lines["worst"]) < 1e-4
    if backend == "jax":
        assert abs(float(lines["share"]) - 0.5) < 0.1
        assert int(lines["prices"]) > 1 and lines["same"] == "True"


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    search = run(None)
    gate = search.gates[0]
    assert gate.compute_dtype == "float16" and gate.s.dtype == "float32"
    outputs = search.result.model(tiny_data()[0])
    assert np.isfinite(keras.ops.convert_to_numpy(outputs)).all()
    layer = search.result.model.get_layer("conv1")
    assert layer.compute_dtype == "float16"
