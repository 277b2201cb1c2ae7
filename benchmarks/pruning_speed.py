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
import gc
import json
import pathlib
import subprocess
import sys
import time

import keras
import rows

from keras_sda.analysis import profile
from keras_sda.graph import ChannelGraph, remove_channels
from keras_sda.pruning import make_plan, prune

NETWORKS = ("ResNet50", "MobileNetV2", "EfficientNetB0")
TARGET_SPEED = {"ResNet50": 1.75}
# Seconds and gigabytes that plan and shrink may take.
TARGET_COST = {"ResNet152": (20, 4), "EfficientNetV2L": (60, 4)}
KEY = ("network", "device", "backend", "batch_size", "image_size", "target")


def about(name, batch_size, options, target):
    return {
        "network": name,
        **rows.about(batch_size, options.image_size),
        "target": target,
    }


def speed(options):
    for name in options.networks:
        model = rows.build(name, options.image_size)
        small = prune(model, macs=0.5, round_to=8).model
        before, after = profile(model), profile(small)
        for batch_size in options.batch_sizes:
            wanted = TARGET_SPEED.get(name, "")
            row = {
                **about(name, batch_size, options, "macs 0.5 round_to 8"),
                **rows.timed(model, small, batch_size, options),
                "wanted_speed_up": wanted,
                **rows.sizes(before, after),
                **rows.machine(),
            }
            rows.replace_row(row, options.output / "pruning_speed.csv", KEY)
            print(f"{name} batch {batch_size}: {row['speed_up']:.2f} x", flush=True)
        del model, small
        keras.backend.clear_session()
        gc.collect()


def latency(options):
    for name in options.networks:
        model = rows.build(name, options.image_size)
        for target in options.latencies:
            batch_size = options.batch_sizes[0]
            began = time.perf_counter()
            result = prune(
                model, latency=target, round_to=options.round_to, batch_size=batch_size
            )
            seconds = time.perf_counter() - began
            row = {
                **about(name, batch_size, options, f"latency {target}"),
                **rows.timed(model, result.model, batch_size, options),
                **rows.sizes(profile(model), profile(result.model)),
                "round_to": options.round_to,
                "seconds": round(seconds, 1),
            }
            reached = 1 / row["speed_up"]
            row |= {
                "latency_ratio": round(reached, 4),
                "within_10_percent": bool(0.9 <= reached / target <= 1.1),
                **rows.machine(),
            }
            rows.replace_row(row, options.output / "pruning_latency.csv", KEY)
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
            **rows.machine(),
        }
        rows.replace_row(row, options.output / "pruning_cost.csv", KEY)
        print(
            f"{name}: {row['seconds']} s, {row['peak_gigabytes']} GB "
            f"({row['gigabytes_before']} GB before)",
            flush=True,
        )


def child(options):
    """Plan and shrink of one network; prints one line of JSON."""
    model = rows.build(options.child, options.image_size)
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
    parser.add_argument("--output", type=pathlib.Path, default=rows.RESULTS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    for part in options.parts:
        parts[part](options)


if __name__ == "__main__":
    main()
