"""What depth attention costs in each family, and what a MAC costs, in inference time.

    python benchmarks/sda_families_speed.py                 # CPU, batch 8 at 224
    python benchmarks/sda_families_speed.py --resume        # after an interruption
    python benchmarks/sda_families_speed.py --families SDASENet86,SDAPyConv86

Run it on a machine that does nothing else. For each family three networks run in turn
and the ratios are taken inside every round: the network, its own plain trunk
(`depth_attention=False`) and keras.applications ResNet50. A row per family goes to
benchmarks/results/sda_families_speed.csv as soon as it is measured and replaces the
row of the same family, device, backend, dtype, batch and size; --resume keeps such
rows and measures the others.

Columns: `ratio_to_trunk` has the target 1.08; `ratio_to_resnet50` divided by
`macs_ratio` is `ratio_per_macs`, with the target 1.3 for SDAPyConv86 and SDARes2Net86.
`_low` and `_high` are the quartiles over the rounds.
"""

import argparse
import gc
import os
import pathlib

import keras
import numpy as np
from rows import quartiles, replace_row

from keras_sda.analysis import profile
from keras_sda.analysis.latency.inference_step import (
    InferenceStep,
    device_name,
    versions,
)
from keras_sda.analysis.latency.timer import Timer
from keras_sda.applications import get_model
from keras_sda.utils import InvalidInputError
from keras_sda.utils.files.csv_rows import read_rows

RESULT = pathlib.Path(__file__).parent / "results" / "sda_families_speed.csv"
FAMILIES = (
    "SDAResNet50",
    "SDAResNet86",
    "SDASENet86",
    "SDARes2Net86",
    "SDAPyConv86",
    "SDAEPSANet86",
    "SDACBAM86",
)
TARGET_TRUNK = 1.08
TARGETS_PER_MACS = {"SDAPyConv86": 1.3, "SDARes2Net86": 1.3}
KEY = ("family", "device", "backend", "dtype", "batch_size", "image_size")


def build(constructor, options, **arguments):
    """Builds a network with the statistics of a trained one, not all zeros and ones."""
    shape = (options.image_size, options.image_size, 3)
    model = constructor(weights=None, input_shape=shape, **arguments)
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape
            gamma, variance = generator.uniform(0.5, 1.5, (2, *size))
            beta, mean = generator.normal(size=(2, *size))
            layer.set_weights([gamma, beta, mean, variance])
    return model


def measure(family, options):
    """Times one family against its trunk and ResNet50; returns its row."""
    constructor = get_model(family)
    models = {
        "network": build(constructor, options),
        "trunk": build(constructor, options, depth_attention=False),
        "resnet50": build(keras.applications.ResNet50, options),
    }
    macs = {name: profile(model).macs for name, model in models.items()}
    shape = (options.image_size, options.image_size, 3)
    steps = {
        name: InferenceStep(model, options.batch_size, shape).time_ms
        for name, model in models.items()
    }
    times = Timer(options.warmup, options.runs).run(steps)
    row = {
        "family": family,
        "device": device_name(),
        "backend": keras.backend.backend(),
        "dtype": options.dtype,
        "batch_size": options.batch_size,
        "image_size": options.image_size,
        "unit": "ms per batch",
    }
    for name, values in times.items():
        row[f"{name}_low"], row[name], row[f"{name}_high"] = quartiles(values, 2)
    low, ratio, high = quartiles(times["network"] / times["trunk"], 4)
    row |= {
        "ratio_to_trunk": ratio,
        "ratio_to_trunk_low": low,
        "ratio_to_trunk_high": high,
        "target_to_trunk": TARGET_TRUNK,
        "within_target_to_trunk": ratio <= TARGET_TRUNK,
    }
    low, ratio, high = quartiles(times["network"] / times["resnet50"], 4)
    macs_ratio = macs["network"] / macs["resnet50"]
    target = TARGETS_PER_MACS.get(family)
    row |= {
        "ratio_to_resnet50": ratio,
        "ratio_to_resnet50_low": low,
        "ratio_to_resnet50_high": high,
        **{f"{name}_macs": number for name, number in macs.items()},
        "macs_ratio": round(macs_ratio, 4),
        "ratio_per_macs": round(ratio / macs_ratio, 4),
        "target_per_macs": target or "",
        "within_target_per_macs": ratio / macs_ratio <= target if target else "",
        "runs": options.runs,
        "versions": " ".join(f"{k} {v}" for k, v in versions().items()),
        "cpu_cores": os.cpu_count(),
    }
    return row


def key(row):
    return tuple(str(row[column]) for column in KEY)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--dtype", default="float32", help="a Keras dtype policy")
    parser.add_argument("--warmup", type=int, default=5, help="rounds before the clock")
    parser.add_argument("--runs", type=int, default=30, help="timed rounds")
    parser.add_argument("--output", type=pathlib.Path, default=RESULT)
    parser.add_argument("--resume", action="store_true", help="keep measured families")
    options = parser.parse_args()
    families = options.families.split(",")
    unknown = [family for family in families if family not in FAMILIES]
    if unknown:
        parser.error(f"--families takes {', '.join(FAMILIES)}. Received: {unknown}.")
    if min(options.batch_size, options.runs) < 1 or options.warmup < 0:
        parser.error("--batch_size and --runs start at 1, --warmup at 0.")
    keras.config.set_dtype_policy(options.dtype)
    done = {key(row) for row in read_rows(options.output)} if options.resume else set()
    for family in families:
        values = (family, device_name(), keras.backend.backend(), options.dtype)
        if (*values, str(options.batch_size), str(options.image_size)) in done:
            print(f"{family:14} is there already", flush=True)
            continue
        try:
            row = measure(family, options)
        except InvalidInputError as error:
            parser.error(str(error))
        replace_row(row, options.output, KEY)
        print(
            f"{family:14} {row['network']:9.1f} ms   {row['ratio_to_trunk']:.3f} x its "
            f"trunk (target {TARGET_TRUNK})   {row['ratio_to_resnet50']:.3f} x ResNet50"
            f"   per MACs {row['ratio_per_macs']:.3f}"
            + (f" (target {row['target_per_macs']})" if row["target_per_macs"] else ""),
            flush=True,
        )
        # The networks of the next family need the memory.
        keras.backend.clear_session()
        gc.collect()


if __name__ == "__main__":
    main()
