"""SDAResNet20 on CIFAR-10 beside its plain trunk: same recipe, same seeds.

    python benchmarks/cifar10_resnet20.py --data_dir ../shared/data --seeds 0

Each run is `keras-sda train --dataset cifar10 --model SDAResNet20 --recipe cifar`, with
and without `--no-depth_attention`; an interrupted benchmark resumes when it is started
again. Writes benchmarks/results/cifar10_resnet20.csv, a row per finished run.
"""

import argparse
import json
import pathlib

from absl import logging

from keras_sda.training import TrainOptions, train_classifier
from keras_sda.utils.files.csv_rows import write_rows

RESULT = pathlib.Path(__file__).parent / "results" / "cifar10_resnet20.csv"


def row_of(metrics):
    options = metrics["options"]
    return {
        "model": options["model"],
        "depth_attention": options["depth_attention"],
        "dataset": options["dataset"],
        "recipe": metrics["recipe"],
        "epochs": metrics["epochs"],
        "batch_size": metrics["batch_size"],
        "seed": metrics["seed"],
        "test_accuracy": round(metrics["accuracy"], 4),
        "best_test_accuracy": round(metrics["best_accuracy"], 4),
        "params": metrics["params"],
        "macs": metrics["macs"],
        "dtype": options["mixed_precision"],
        "device": metrics["device"],
        "versions": " ".join(f"{k} {v}" for k, v in metrics["versions"].items()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="../shared/data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--output", default="runs/cifar10_resnet20")
    options = parser.parse_args()
    logging.set_verbosity(logging.INFO)
    rows = []
    for seed in options.seeds:
        for depth_attention in (True, False):
            name = f"{'sda' if depth_attention else 'plain'}_seed{seed}"
            folder = pathlib.Path(options.output) / name
            metrics = train_classifier(
                TrainOptions(
                    model="SDAResNet20",
                    dataset="cifar10",
                    data_dir=options.data_dir,
                    recipe="cifar",
                    epochs=options.epochs,
                    seed=seed,
                    depth_attention=depth_attention,
                    resume=(folder / "run.json").exists(),
                    output=str(folder),
                ),
                log=print,
            )
            rows.append(row_of(metrics))
            print(json.dumps(rows[-1]), flush=True)
            write_rows(rows, RESULT)


if __name__ == "__main__":
    main()
