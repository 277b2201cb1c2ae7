"""What EfficientNet-Lite0 keeps of its accuracy without any training.

    python benchmarks/lite0_reconstruct.py
    python benchmarks/lite0_reconstruct.py --steps 3 --criteria taylor --macs 0.75
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

import keras
import lite0
import numpy as np
import rows
from absl import logging
from refitted import cut_and_refit

from keras_sda.analysis import profile

RESULT = rows.RESULTS / "lite0_reconstruct.csv"
KEY = ("criterion", "scope", "steps", "target_macs", "images", "importance_images")


def measure(model, images, labels, case, options):
    """One row; the small model is kept in the folder of work."""
    images = images.astype("float32")
    wanted = np.array(lite0.CLASSES)[labels]
    found = cut_and_refit(
        model,
        case["criterion"],
        case["target_macs"],
        (images[: options.images], wanted[: options.images]),
        tuple(array[: options.importance_images] for array in (images, wanted)),
        scope=options.scope,
        steps=options.steps,
        loss="sparse_categorical_crossentropy",
    )
    found.small.save(small_path(case, options))
    among, top1 = lite0.accuracies(found.cut, *options.test)
    among_refitted, top1_refitted = lite0.accuracies(found.small, *options.test)
    return {
        **case,
        "among_ten_cut": round(among, 2),
        "top1_cut": round(top1, 2),
        "among_ten": round(among_refitted, 2),
        "top1": round(top1_refitted, 2),
        **rows.sizes(profile(model), profile(found.small)),
        **found.seconds(),
        "latency_ratio": "",
        "latency_ratio_low": "",
        "latency_ratio_high": "",
        **rows.machine(),
    }


def small_path(row, options):
    """Where the small model of a row is kept."""
    return options.work / f"{'_'.join(str(row[column]) for column in KEY)}.keras"


def add_times(model, options):
    """Ratios small / whole of the rows that are there."""
    for row in rows.read_rows(options.output):
        path = small_path(row, options)
        if not path.exists():
            logging.warning("%s is not there; its row keeps its times.", path)
            continue
        small = keras.saving.load_model(path)
        row |= rows.latency_ratio(model, small, options.runs)
        rows.replace_row(row, options.output, KEY)
        logging.info("%s: %s", path.stem, row["latency_ratio"])


def main():
    """Measures what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--criteria", nargs="+", default=["taylor", "activation", "l1"])
    parser.add_argument("--macs", nargs="+", type=float, default=[0.9, 0.75, 0.5])
    parser.add_argument("--scope", default="global", help="see make_plan")
    parser.add_argument("--steps", type=int, default=1, help="refitted after each")
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
            case = {
                "criterion": criterion,
                "scope": options.scope,
                "steps": options.steps,
                "target_macs": macs,
                "images": options.images,
                "importance_images": options.importance_images,
            }
            if rows.has_row(options.output, **case):
                continue
            row = measure(model, images, labels, case, options)
            rows.replace_row(row, options.output, KEY)
            logging.info("%s", row)


if __name__ == "__main__":
    main()
