"""What reconstruction costs for ResNet50, and the time that a quarter fewer MACs save.

    python benchmarks/resnet50_reconstruct.py                # the costs: minutes
    python benchmarks/resnet50_reconstruct.py --parts times  # on an idle machine

ResNet50 of keras.applications at --image_size pixels with random weights, its
statistics adapted to --images images of imagenette_mini, each part in a process of its
own (reconstruct_cost.csv):

* reconstruct: `reconstruct` for a plan that keeps --macs of the multiply-accumulates.
  Aim: 3 minutes and 6 GB.
* statistics: all criteria that look at data, in one pass over the images.

`times` is the latency of ResNet50 and EfficientNet-Lite0 at --macs over that of the
whole, in alternation, beside what is left of the multiply-accumulates
(reconstruct_latency.csv); which channels go is chosen by `l1`. Needs ../shared/data.
"""

import argparse
import gc
import json
import pathlib
import subprocess
import sys
import time

import keras
import lite0
import numpy as np
import rows
from absl import logging

from keras_sda.analysis import profile
from keras_sda.graph import ChannelGraph
from keras_sda.pruning import (
    CRITERIA,
    collect_statistics,
    make_plan,
    recalibrate,
    reconstruct,
    shrink,
)

AIMS = {"reconstruct": (180, 6)}
KEY = ("network", "part", "device", "backend", "image_size", "macs_target", "images")


def adapted(options):
    """The network with statistics of images, the images and labels."""
    keras.utils.set_random_seed(0)
    size = options.image_size
    model = keras.applications.ResNet50(weights=None, input_shape=(size, size, 3))
    images, labels = lite0.load_images("train", options.images, size)
    # Pixels from -1 to 1, not what ResNet50 was made for: its weights are random.
    images = images.astype("float32") / 127.5 - 1
    model = recalibrate(model, images[:64], check=False)
    return model, images, np.array(lite0.CLASSES)[labels]


def child(options):
    """One part; prints one line of JSON."""
    model, images, labels = adapted(options)
    graph = ChannelGraph(model)
    plan = make_plan(model, macs=options.macs, importance="l1", graph=graph)
    gc.collect()
    before = peak_gigabytes()
    began = time.perf_counter()
    if options.child == "reconstruct":
        reconstruct(model, plan, images)
        done = ""
    else:
        looking = [criterion for criterion in CRITERIA.values() if criterion.needs]
        collect_statistics(
            graph,
            looking,
            in_batches(images, labels),
            loss="sparse_categorical_crossentropy",
        )
        done = " ".join(criterion.name for criterion in looking)
    row = {
        "criteria": done,
        "seconds": round(time.perf_counter() - began, 1),
        "gigabytes_before": before,
        "peak_gigabytes": peak_gigabytes(),
        "params": model.count_params(),
    }
    print(json.dumps(row))


def in_batches(images, labels, size=32):
    """Pairs of arrays."""
    places = range(size, len(images), size)
    return list(zip(np.split(images, places), np.split(labels, places), strict=True))


def peak_gigabytes():
    """The most that this process has held."""
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3)


def cost(part, options):
    """Seconds and memory of one part, from a process of its own."""
    words = [sys.executable, __file__, "--child", part]
    for name in ("macs", "images", "image_size"):
        words += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{part}: {done.stderr[-2000:]}")
    seconds, gigabytes = AIMS.get(part, ("", ""))
    row = {
        "network": "ResNet50",
        "part": part,
        **rows.about("", options.image_size),
        "macs_target": options.macs,
        "images": options.images,
        **json.loads(done.stdout.splitlines()[-1]),
        "wanted_seconds": seconds,
        "wanted_gigabytes": gigabytes,
        **rows.machine(),
        "command": rows.command(),
    }
    rows.replace_row(row, options.output / "reconstruct_cost.csv", KEY)
    logging.info("%s: %s s, %s GB", part, row["seconds"], row["peak_gigabytes"])


def times(options):
    """What is left of the time, beside what is left of the multiply-accumulates."""
    key = ("network", "device", "backend", "batch_size", "image_size", "macs_target")
    networks = {
        "ResNet50": lambda: rows.build("ResNet50", options.image_size),
        "EfficientNet-Lite0": lite0.build_lite0,
    }
    for name, build in networks.items():
        model = build()
        small = shrink(model, make_plan(model, macs=options.macs, importance="l1"))
        for batch_size in options.batch_sizes:
            row = {
                "network": name,
                **rows.about(batch_size, model.input_shape[1]),
                "macs_target": options.macs,
                **rows.sizes(profile(model), profile(small)),
                **rows.latency_ratio(model, small, options.runs, batch_size),
                "runs": options.runs,
                **rows.machine(),
                "command": rows.command(),
            }
            rows.replace_row(row, options.output / "reconstruct_latency.csv", key)
            logging.info("%s batch %d: %s", name, batch_size, row["latency_ratio"])
        del model, small
        keras.backend.clear_session()
        gc.collect()


def main():
    """Measures the parts that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("reconstruct", "statistics", "times")
    parser.add_argument("--parts", nargs="+", default=parts[:2], choices=parts)
    parser.add_argument("--macs", type=float, default=0.75, help="share that stays")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_sizes", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--runs", type=int, default=30, help="timed rounds")
    parser.add_argument("--output", type=pathlib.Path, default=rows.RESULTS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.set_verbosity(logging.INFO)
    if options.child:
        child(options)
        return
    for part in options.parts:
        if part == "times":
            times(options)
        else:
            cost(part, options)


if __name__ == "__main__":
    main()
