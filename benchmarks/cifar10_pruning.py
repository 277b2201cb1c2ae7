"""ResNet20 and SDAResNet20 on CIFAR-10, pruned to half by every criterion.

    python benchmarks/cifar10_pruning.py --data_dir ../shared/data
    python benchmarks/cifar10_pruning.py --start plain/model.keras sda/model.keras

The two trained networks (SDAResNet20 with depth attention, and its plain trunk) are
pruned to --macs of their multiply-accumulates by each criterion and fine-tuned alike
(optimizer and augmentation of the recipe `cifar`, a tenth of its rate, cosine). First
every criterion with the first seed, then the two with the best mean accuracy after
fine-tuning with all seeds. The seed is that of the order of the images, augmentation
and `random`; the trained networks are the same. `none` is the whole network, fine-tuned
as long. Latency is the ratio to the whole network, in alternation, at --batch_size 8.

Without --start the networks are trained first, as benchmarks/cifar10_resnet20.py does.
Writes a row per run to benchmarks/results/cifar10_pruning.csv and keeps those that are
there, so an interrupted benchmark goes on when it is started again (rows of other
--epochs, --train_images or --macs are runs of their own).

    python benchmarks/cifar10_pruning.py --latency_only --start plain.keras sda.keras

does nothing but time the rows that are there once more, on a machine that is idle by
now: it prunes the trained networks again as each row says, without fine-tuning, which
changes no width, and writes the new latencies into the row. A row of another device or
of other versions, or whose network comes out different, stops it.
"""

import argparse
import pathlib
import shutil
import time

import keras
import numpy as np
import rows

from keras_sda.analysis import compare_latency, profile
from keras_sda.analysis.latency.inference_step import device_name, versions
from keras_sda.pruning import CRITERIA, prune
from keras_sda.training import (
    RECIPES,
    TrainOptions,
    fine_tune_classifier,
    load_image_dataset,
    measure_accuracy,
    train_classifier,
    training_stream,
)
from keras_sda.training.strategies.make_deterministic import make_deterministic
from keras_sda.utils import load_model

RESULT = rows.RESULTS / "cifar10_pruning.csv"
NETWORKS = {"ResNet20": False, "SDAResNet20": True}
BATCH_SIZE = 128
LATENCY_BATCH_SIZE = 8
KEY = ("network", "criterion", "seed", "target_macs", "epochs", "train_images",
       "test_images")  # fmt: skip


def start_models(options):
    """Paths of the trained networks; trains those that are not there."""
    if options.start:
        return dict(zip(NETWORKS, options.start, strict=True))
    paths = {}
    for name, depth_attention in NETWORKS.items():
        folder = options.work / f"{'sda' if depth_attention else 'plain'}_seed0"
        train_classifier(
            TrainOptions(
                model="SDAResNet20",
                dataset="cifar10",
                data_dir=options.data_dir,
                recipe="cifar",
                seed=0,
                depth_attention=depth_attention,
                resume=(folder / "run.json").exists(),
                output=str(folder),
            ),
            log=print,
        )
        paths[name] = folder / "model.keras"
    return paths


def run(name, path, criterion, seed, data, options):
    """Prunes, fine-tunes and measures once; returns the row."""
    keras.utils.set_random_seed(seed)
    model = load_model(path)
    before = whole_accuracy(path, data)
    began = time.perf_counter()
    small = pruned_model(
        path, model, criterion, seed, data, options.macs, options.importance_images
    )
    pruning_seconds = time.perf_counter() - began
    pruned = before
    if criterion != "none":
        pruned = measure_accuracy(small, data, 32)["accuracy"]
    folder = options.work / "backups" / f"{name}_{criterion}_seed{seed}_{tag(options)}"
    folder.mkdir(parents=True, exist_ok=True)
    history = fine_tune_classifier(
        small,
        data,
        32,
        RECIPES["cifar"],
        options.epochs,
        folder,
        batch_size=min(BATCH_SIZE, data.num_train),
        learning_rate=options.learning_rate,
        seed=seed,
    )
    after = history[-1]["val_accuracy"]
    whole, left = profile(model), profile(small)
    latency = latency_columns(model, small, options.runs)
    shutil.rmtree(folder)
    return {
        "network": name,
        "criterion": criterion,
        "seed": seed,
        "target_macs": options.macs if criterion != "none" else 1.0,
        "epochs": options.epochs,
        "train_images": data.num_train,
        "test_images": data.num_test,
        "accuracy_whole": round(before, 4),
        "accuracy_pruned": round(pruned, 4),
        "accuracy": round(after, 4),
        "macs_before": whole.macs,
        "macs": left.macs,
        "params_before": whole.params,
        "params": left.params,
        **latency,
        "batch_size": BATCH_SIZE,
        "learning_rate": options.learning_rate,
        "importance_images": options.importance_images,
        "pruning_seconds": round(pruning_seconds, 1),
        "dtype": "float32",
        **circumstances(),
    }


def pruned_model(path, model, criterion, seed, data, macs, importance_images):
    """A pruned copy of a trained network; `none` is the copy alone."""
    if criterion == "none":
        return load_model(path)
    images = training_stream(
        data, RECIPES["cifar"], 32, 64, epochs=1, seed=seed, augmentation="none"
    ).take(max(importance_images // 64, 1))
    return prune(
        model,
        macs=macs,
        importance=criterion,
        data=images if CRITERIA[criterion].needs else None,
        loss="categorical_crossentropy",
        seed=seed,
        reconstruct=False,  # cifar10_reconstruct.py compares both
    ).model


def latency_columns(model, small, runs):
    result = compare_latency(
        {"whole": model, "small": small}, batch_size=LATENCY_BATCH_SIZE, num_runs=runs
    )
    low, high = result.ratio_iqrs["small"]
    return {
        "latency_ms_before": round(result.results["whole"].median_ms, 3),
        "latency_ms": round(result.results["small"].median_ms, 3),
        "latency_ratio": round(result.ratios["small"], 4),
        "latency_ratio_low": round(low, 4),
        "latency_ratio_high": round(high, 4),
        "latency_batch_size": LATENCY_BATCH_SIZE,
    }


def circumstances():
    return {
        "device": device_name(),
        "versions": " ".join(f"{k} {v}" for k, v in versions().items()),
    }


def time_again(paths, options):
    """Replaces the latencies of all rows, one after the other."""
    table = rows.read_rows(options.output)
    here = circumstances()
    for row in table:
        there = {column: row[column] for column in here}
        if there != here:
            raise SystemExit(
                f"{options.output}: {label(row)} was measured elsewhere, with {there}; "
                f"this is {here}. Its other columns would not fit new latencies."
            )
    datasets = {}
    for row in table:
        count = int(row["train_images"])
        if count not in datasets:
            datasets[count] = load_image_dataset(
                "cifar10", options.data_dir, max_train_examples=count
            )
        path, seed = paths[row["network"]], int(row["seed"])
        keras.utils.set_random_seed(seed)
        model = load_model(path)
        small = pruned_model(
            path,
            model,
            row["criterion"],
            seed,
            datasets[count],
            float(row["target_macs"]),
            int(row["importance_images"]),
        )
        for column, value in (
            ("macs_before", profile(model).macs),
            ("macs", profile(small).macs),
            ("params", profile(small).params),
        ):
            if int(row[column]) != value:
                raise SystemExit(
                    f"{label(row)} has {column}={row[column]}, and {value} now: "
                    "--start must name the trained networks of these rows."
                )
        before = row["latency_ratio"]
        row |= latency_columns(model, small, options.runs)
        rows.write_rows(table, options.output)
        print(f"{label(row)}: latency {before} -> {row['latency_ratio']}", flush=True)
        keras.backend.clear_session()


def label(row):
    return f"{row['network']} {row['criterion']} seed {row['seed']}"


_WHOLE = {}


def whole_accuracy(path, data):
    """Test accuracy of a trained network, measured once."""
    if path not in _WHOLE:
        _WHOLE[path] = measure_accuracy(load_model(path), data, 32)["accuracy"]
    return _WHOLE[path]


def tag(options):
    return f"{options.macs}_{options.epochs}_{options.train_images or 'all'}"


def best_criteria(table, criteria, seed):
    """The two criteria with the best mean accuracy over the networks."""
    means = {}
    for criterion in criteria:
        found = [
            float(row["accuracy"])
            for row in table
            if row["criterion"] == criterion and str(row["seed"]) == str(seed)
        ]
        means[criterion] = float(np.mean(found))
    return sorted(means, key=means.get, reverse=True)[:2]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", default="../shared/data")
    parser.add_argument(
        "--start", nargs=2, metavar=("PLAIN", "SDA"), help="trained .keras files"
    )
    parser.add_argument("--macs", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=2, help="of fine-tuning")
    parser.add_argument("--train_images", type=int, help="the first N. Default: all")
    parser.add_argument("--learning_rate", type=float, default=0.01)
    parser.add_argument("--importance_images", type=int, default=1024)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--criteria", nargs="+", default=list(CRITERIA))
    parser.add_argument("--runs", type=int, default=30, help="timed rounds")
    parser.add_argument(
        "--latency_only", action="store_true", help="time the rows that are there again"
    )
    parser.add_argument("--work", type=pathlib.Path, default="runs/cifar10_pruning")
    parser.add_argument("--output", type=pathlib.Path, default=RESULT)
    options = parser.parse_args()
    make_deterministic(TrainOptions(), print)
    paths = start_models(options)
    if options.latency_only:
        time_again(paths, options)
        return
    data = load_image_dataset(
        "cifar10", options.data_dir, max_train_examples=options.train_images
    )
    settings = [options.epochs, data.num_train, data.num_test]

    def mine():
        """Rows of these settings."""
        return [
            row
            for row in rows.read_rows(options.output)
            if [str(row[c]) for c in KEY[4:]] == [str(s) for s in settings]
            and float(row["target_macs"]) in (options.macs, 1.0)
        ]

    def carry_out(criteria, seeds):
        for seed in seeds:
            for criterion in criteria:
                for name, path in paths.items():
                    if any(
                        (row["network"], row["criterion"], row["seed"])
                        == (name, criterion, str(seed))
                        for row in mine()
                    ):
                        continue
                    row = run(name, path, criterion, seed, data, options)
                    table = rows.read_rows(options.output)
                    rows.write_rows([*table, row], options.output)
                    print(
                        f"{name} {criterion} seed {seed}: {row['accuracy_whole']:.4f} "
                        f"-> {row['accuracy_pruned']:.4f} -> {row['accuracy']:.4f}, "
                        f"latency {row['latency_ratio']:.3f}",
                        flush=True,
                    )
                    keras.backend.clear_session()

    first, *others = options.seeds
    carry_out(["none", *options.criteria], [first])
    best = best_criteria(mine(), options.criteria, first)
    print(f"best criteria: {', '.join(best)}", flush=True)
    carry_out(["none", *best], others)


if __name__ == "__main__":
    main()
