"""What the benchmarks of speed share: networks, times and rows of a CSV file."""

import os
import pathlib
import shlex
import sys

import keras
import numpy as np

from keras_sda.analysis import compare_latency
from keras_sda.analysis.latency import timer
from keras_sda.analysis.latency.inference_step import device_name, versions
from keras_sda.utils.files.csv_rows import read_rows, write_rows

RESULTS = pathlib.Path(__file__).parent / "results"


def build(name, image_size):
    """A network with the statistics of a trained one, not all zeros and ones."""
    keras.utils.set_random_seed(0)
    shape = (image_size, image_size, 3)
    model = getattr(keras.applications, name)(weights=None, input_shape=shape)
    randomize_statistics(model)
    return model


def randomize_statistics(model):
    """TensorFlow leaves out what a zero bias makes needless, so there are none."""
    generator = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale:
            size = layer.gamma.shape
            gamma, variance = generator.uniform(0.5, 1.5, (2, *size))
            beta, mean = generator.normal(size=(2, *size))
            layer.set_weights([gamma, beta, mean, variance])


def about(batch_size, image_size):
    """What a time depends on, besides the network: columns of the key of a row."""
    return {
        "device": device_name(),
        "backend": keras.backend.backend(),
        "batch_size": batch_size,
        "image_size": image_size,
    }


def machine(dtype="float32"):
    """What else a reader has to know: the last columns of a row."""
    return {
        "dtype": dtype,
        "cpu_cores": os.cpu_count(),
        "cpu_vectors": _vectors(),
        "onednn": _onednn(),
        "versions": " ".join(f"{k} {v}" for k, v in versions().items()),
    }


def _vectors():
    """The widest vector instructions of the processor, where Linux names them."""
    path = pathlib.Path("/proc/cpuinfo")
    words = set(path.read_text().split()) if path.exists() else set()
    return next((x for x in ("avx512f", "avx2", "asimd") if x in words), "")


def _onednn():
    """Whether TensorFlow computes with oneDNN in this process."""
    if keras.backend.backend() != "tensorflow":
        return ""
    from tensorflow.python.util import _pywrap_util_port

    return "on" if _pywrap_util_port.IsMklEnabled() else "off"


def command():
    """The command line of this run, as it is typed in the root of the repository."""
    script = f"benchmarks/{pathlib.Path(sys.argv[0]).name}"
    return shlex.join(["python", script, *sys.argv[1:]])


def sizes(before, after):
    """Columns from the profiles of two models."""
    return {
        "macs_before": before.macs,
        "macs": after.macs,
        "macs_ratio": round(after.macs / before.macs, 4),
        "params_before": before.params,
        "params": after.params,
    }


def timed(model, small, batch_size, options):
    """Milliseconds and the ratio whole / small with its quartiles."""
    result = compare_latency(
        {"small": small, "whole": model},
        batch_size=batch_size,
        num_warmup=options.warmup,
        num_runs=options.runs,
    )
    low, high = result.ratio_iqrs["whole"]
    return {
        "whole_ms": round(result.results["whole"].median_ms, 2),
        "small_ms": round(result.results["small"].median_ms, 2),
        "speed_up": round(result.ratios["whole"], 4),
        "speed_up_low": round(low, 4),
        "speed_up_high": round(high, 4),
        "runs": options.runs,
    }


def latency_ratio(model, small, num_runs, batch_size=1):
    """The ratio small / whole with its quartiles: columns of a row."""
    result = compare_latency(
        {"whole": model, "small": small}, batch_size=batch_size, num_runs=num_runs
    )
    low, high = result.ratio_iqrs["small"]
    return {
        "latency_ratio": round(result.ratios["small"], 4),
        "latency_ratio_low": round(low, 4),
        "latency_ratio_high": round(high, 4),
    }


def quartiles(values, digits):
    """Lower quartile, median and upper quartile, rounded."""
    return [round(q, digits) for q in timer.quartiles(values)]


def replace_row(row, path, key):
    """Writes a row behind the others, in place of the one with the same key."""
    mine = [str(row[column]) for column in key]
    others = [old for old in read_rows(path) if [old[c] for c in key] != mine]
    write_rows([*others, row], path)


def has_row(path, **wanted):
    """Whether a row with these values is there."""
    return any(
        all(row[column] == str(value) for column, value in wanted.items())
        for row in read_rows(path)
    )
