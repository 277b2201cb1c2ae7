"""What EfficientNet-Lite0 keeps of its accuracy without any training.

    python benchmarks/lite0_reconstruct.py
    python benchmarks/lite0_reconstruct.py --times  # on an idle machine, afterwards

Channels of the network with its ImageNet weights are chosen by a criterion and cut, and
the kernels that stay are fitted (`keras_sda.pruning.reconstruct`), all with training
images of imagenette_mini; accuracies are those of its 400 validation images, among its
ten classes and among all thousand. The images are of ten classes, so the second figure
of a fitted network can exceed that of the whole one. Rows that are there are kept; a
run that was killed goes on. Needs ../shared/data.
"""

import argparse
import pathlib
import time

import keras
import lite0
import numpy as np
import rows
from absl import logging

from keras_sda.analysis import profile
from keras_sda.graph import ChannelGraph
from keras_sda.pruning import make_plan, reconstruct, shrink

RESULT = rows.RESULTS / "lite0_reconstruct.csv"
KEY = ("criterion", "target_macs", "images", "importance_images")


def measure(model, images, labels, criterion, macs, options):
    """One row; the small models are kept in the folder of work."""
    wanted = np.array(lite0.CLASSES)[labels]
    looked = slice(options.importance_images)
    needs = {
        "l1": {},
        "activation": {"data": images[looked].astype("float32")},
        "taylor": {
            "data": (images[looked].astype("float32"), wanted[looked]),
            "loss": "sparse_categorical_crossentropy",
        },
    }
    start = time.perf_counter()
    graph = ChannelGraph(model)
    plan = make_plan(
        model, macs=macs, importance=criterion, graph=graph, **needs[criterion]
    )
    planned = time.perf_counter()
    small = reconstruct(model, plan, images[: options.images])
    fitted = time.perf_counter()
    cut = shrink(model, plan)
    small.save(options.work / f"{criterion}_{macs}.keras")
    test = options.test
    among, top1 = lite0.accuracies(cut, *test)
    among_refitted, top1_refitted = lite0.accuracies(small, *test)
    return {
        "criterion": criterion,
        "target_macs": macs,
        "images": options.images,
        "importance_images": options.importance_images,
        "among_ten_cut": round(among, 2),
        "top1_cut": round(top1, 2),
        "among_ten": round(among_refitted, 2),
        "top1": round(top1_refitted, 2),
        **rows.sizes(profile(model), profile(small)),
        "plan_seconds": round(planned - start, 1),
        "reconstruct_seconds": round(fitted - planned, 1),
        "latency_ratio": "",
        "latency_ratio_low": "",
        "latency_ratio_high": "",
        **rows.machine(),
    }


def add_times(model, options):
    """Ratios small / whole of the rows that are there."""
    for row in rows.read_rows(options.output):
        path = options.work / f"{row['criterion']}_{row['target_macs']}.keras"
        if not path.exists():
            logging.warning("%s is not there; its row keeps its times.", path)
            continue
        small = keras.saving.load_model(path)
        result = rows.compare_latency(
            {"whole": model, "small": small}, batch_size=1, num_runs=options.runs
        )
        low, high = result.ratio_iqrs["small"]
        row["latency_ratio"] = round(result.ratios["small"], 4)
        row["latency_ratio_low"], row["latency_ratio_high"] = (
            round(low, 4),
            round(high, 4),
        )
        rows.replace_row(row, options.output, KEY)
        logging.info("%s %s: %s", row["criterion"], row["target_macs"], low)


def main():
    """Measures what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--criteria", nargs="+", default=["taylor", "activation", "l1"])
    parser.add_argument("--macs", nargs="+", type=float, default=[0.9, 0.75, 0.5])
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--importance_images", type=int, default=256)
    parser.add_argument("--times", action="store_true", help="latencies alone")
    parser.add_argument("--runs", type=int, default=50, help="timed rounds")
    parser.add_argument("--work", type=pathlib.Path, default="runs/lite0")
    parser.add_argument("--output", type=pathlib.Path, default=RESULT)
    options = parser.parse_args()
    logging.set_verbosity(logging.INFO)
    options.work.mkdir(parents=True, exist_ok=True)
    model = lite0.build_lite0()
    if options.times:
        add_times(model, options)
        return
    images, labels = lite0.load_images("train", max(options.images, 512))
    options.test = lite0.load_images("validation")
    for macs in options.macs:
        for criterion in options.criteria:
            key = [
                str(x)
                for x in (criterion, macs, options.images, options.importance_images)
            ]
            table = rows.read_rows(options.output) if options.output.exists() else []
            if any([row[c] for c in KEY] == key for row in table):
                continue
            row = measure(model, images, labels, criterion, macs, options)
            rows.replace_row(row, options.output, KEY)
            logging.info("%s", row)


if __name__ == "__main__":
    main()
