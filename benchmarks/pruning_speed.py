"""How much faster pruned networks are, and what pruning itself costs.

    python benchmarks/pruning_speed.py               # CPU, batches of 8 and 1 at 224
    python benchmarks/pruning_speed.py --parts speed --networks ResNet50

Run it on a machine that does nothing else. Three parts, each writes its CSV in
benchmarks/results/, a row as soon as it is measured; rows of the same key are replaced:

* speed: networks pruned to half of the multiply-accumulates with round_to=8, timed in
  alternation with the whole network (pruning_speed.csv). Target: ResNet50 1.75 x.
* cost: seconds and peak memory of plan and shrink, in a process of its own
  (pruning_cost.csv). Targets: ResNet152 20 s, EfficientNetV2L 60 s and 4 GB.
* latency: latency targets, measured again afterwards (pruning_latency.csv). Target:
  within 10 %.
"""

import argparse
import csv
import gc
import json
import os
import pathlib
import subprocess
import sys
import time

import keras
import numpy as np

from keras_sda.analysis import compare_latency, profile
from keras_sda.analysis.inference_step import device_name, versions
from keras_sda.graph import ChannelGraph, remove_channels
from keras_sda.pruning import make_plan, prune
from keras_sda.utils import atomic_write

RESULTS = pathlib.Path(__file__).parent / "results"
NETWORKS = ("ResNet50", "MobileNetV2", "EfficientNetB0")
TARGET_SPEED = {"ResNet50": 1.75}
# Seconds and gigabytes that plan and shrink may take.
TARGET_COST = {"ResNet152": (20, 4), "EfficientNetV2L": (60, 4)}
KEY = ("network", "device", "backend", "batch_size", "image_size", "target")


def build(name, image_size):
    """A network with the statistics of a trained one, not all zeros and ones."""
    keras.utils.set_random_seed(0)
    shape = (image_size, image_size, 3)
    model = getattr(keras.applications, name)(weights=None, input_shape=shape)
    generator = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale:
            size = layer.gamma.shape
            gamma, variance = generator.uniform(0.5, 1.5, (2, *size))
            beta, mean = generator.normal(size=(2, *size))
            layer.set_weights([gamma, beta, mean, variance])
    return model


def about(name, batch_size, options, target):
    return {
        "network": name,
        "device": device_name(),
        "backend": keras.backend.backend(),
        "batch_size": batch_size,
        "image_size": options.image_size,
        "target": target,
    }


def machine():
    return {
        "dtype": "float32",
        "cpu_cores": os.cpu_count(),
        "versions": " ".join(f"{k} {v}" for k, v in versions().items()),
    }


def sizes(before, after):
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


def speed(options):
    for name in options.networks:
        model = build(name, options.image_size)
        small = prune(model, macs=0.5, round_to=8).model
        before, after = profile(model), profile(small)
        for batch_size in options.batch_sizes:
            wanted = TARGET_SPEED.get(name, "")
            row = {
                **about(name, batch_size, options, "macs 0.5 round_to 8"),
                **timed(model, small, batch_size, options),
                "wanted_speed_up": wanted,
                **sizes(before, after),
                **machine(),
            }
            write(row, options.output / "pruning_speed.csv")
            print(f"{name} batch {batch_size}: {row['speed_up']:.2f} x", flush=True)
        del model, small
        keras.backend.clear_session()
        gc.collect()


def latency(options):
    for name in options.networks:
        model = build(name, options.image_size)
        for target in options.latencies:
            batch_size = options.batch_sizes[0]
            began = time.perf_counter()
            result = prune(
                model, latency=target, round_to=options.round_to, batch_size=batch_size
            )
            seconds = time.perf_counter() - began
            row = {
                **about(name, batch_size, options, f"latency {target}"),
                **timed(model, result.model, batch_size, options),
                **sizes(profile(model), profile(result.model)),
                "round_to": options.round_to,
                "seconds": round(seconds, 1),
            }
            reached = 1 / row["speed_up"]
            row |= {
                "latency_ratio": round(reached, 4),
                "within_10_percent": bool(0.9 <= reached / target <= 1.1),
                **machine(),
            }
            write(row, options.output / "pruning_latency.csv")
            print(f"{name} latency {target}: {reached:.3f}", flush=True)
        del model
        keras.backend.clear_session()
        gc.collect()


def cost(options):
    for name in options.large_networks:
        words = [sys.executable, __file__, "--child", name]
        words += ["--image_size", str(options.image_size)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr[-2000:]}")
        measured = json.loads(done.stdout.splitlines()[-1])
        seconds, gigabytes = TARGET_COST.get(name, ("", ""))
        row = {
            **about(name, 1, options, "macs 0.5"),
            **measured,
            "wanted_seconds": seconds,
            "wanted_gigabytes": gigabytes,
            **machine(),
        }
        write(row, options.output / "pruning_cost.csv")
        print(
            f"{name}: {row['seconds']} s, {row['peak_gigabytes']} GB "
            f"({row['gigabytes_before']} GB before)",
            flush=True,
        )


def child(options):
    """Plan and shrink of one network; prints one line of JSON."""
    model = build(options.child, options.image_size)
    start = peak_gigabytes()
    began = time.perf_counter()
    graph = ChannelGraph(model)
    plan = make_plan(model, macs=0.5, graph=graph)
    planned = time.perf_counter()
    small = remove_channels(graph, plan.classes(graph))
    ended = time.perf_counter()
    row = {
        "seconds": round(ended - began, 2),
        "plan_seconds": round(planned - began, 2),
        "shrink_seconds": round(ended - planned, 2),
        "gigabytes_before": start,
        "peak_gigabytes": peak_gigabytes(),
        "params_before": model.count_params(),
        "params": small.count_params(),
    }
    print(json.dumps(row))


def peak_gigabytes():
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3)


def write(row, path):
    rows = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    key = [str(row[column]) for column in KEY]
    rows = [old for old in rows if [old[column] for column in KEY] != key] + [row]
    with atomic_write(path) as temporary:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"speed": speed, "cost": cost, "latency": latency}
    parser.add_argument("--parts", nargs="+", default=list(parts), choices=list(parts))
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--large_networks", nargs="+", default=list(TARGET_COST))
    parser.add_argument("--batch_sizes", nargs="+", type=int, default=[8, 1])
    parser.add_argument("--latencies", nargs="+", type=float, default=[0.5])
    parser.add_argument("--round_to", type=int, default=8, help="for latency")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--warmup", type=int, default=5, help="rounds before the clock")
    parser.add_argument("--runs", type=int, default=30, help="timed rounds")
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    for part in options.parts:
        parts[part](options)


if __name__ == "__main__":
    main()
