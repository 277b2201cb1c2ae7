"""ResNet20 and SDAResNet20 on CIFAR-10, self-grouped: diverse and balanced groups.

    python benchmarks/cifar10_grouping.py
    python benchmarks/cifar10_grouping.py --start plain/model.keras sda/model.keras

The trained networks are grouped, fine-tuned and packed. Without --start they are
SDAResNet20 with the weights of the package, and its plain trunk, which starts from the
same weights and is trained on all images for --start_epochs. A row per case:

* ResNet20 at 50 and 70 % of the convolutions, groups of any size as published
  (`diverse`) and groups of one size without common channels (`disjoint`), in one shot
  and fine-tuned as a whole (scheme `global`);
* ResNet20 at 70 %, diverse, in steps of ten points with --local_epochs each and then as
  a whole (`local_global`), and groups of one size that may share channels (`equal`);
* SDAResNet20 at 70 %, diverse and disjoint;
* `none`: the whole networks, fine-tuned as long.

Disjoint groups cut 1 - 1/k of the connections, so 70 % becomes 75 %: the row of
`diverse` at 75 % has equal multiply-accumulates. Optimizer and augmentation are those
of the recipe `cifar` at --learning_rate, along a cosine. Latency is that of the packed
model over the dense one and the masked one, in alternation, batch normalization
folded, at --latency_batch_size. Rows that are there are kept; networks stay in --work,
and --latency_only measures all latencies again, for an idle machine.
"""

import argparse
import json
import pathlib

import keras
import numpy as np
from rows import command, read_rows, replace_row

from keras_sda.analysis import compare_latency, profile
from keras_sda.analysis.latency.inference_step import device_name, versions
from keras_sda.applications import SDAResNet20
from keras_sda.export import fold_batch_normalization
from keras_sda.grouping import GroupingReport, pack, self_group
from keras_sda.runs.best_weights import copy_without_optimizer
from keras_sda.training import (
    RECIPES,
    TrainOptions,
    build_classifier,
    fine_tune_classifier,
    load_image_dataset,
    measure_accuracy,
)
from keras_sda.training.strategies.make_deterministic import make_deterministic
from keras_sda.utils import atomic_write, load_model

RESULT = pathlib.Path(__file__).parent / "results" / "cifar10_grouping.csv"
SIZE, BATCH_SIZE = 32, 128
KEY = ("network", "groups", "rate", "scheme", "epochs", "train_images")
# Network, kind of groups, rate, scheme.
CASES = (
    ("ResNet20", "none", 0.0, "global"),
    ("ResNet20", "diverse", 0.5, "global"),
    ("ResNet20", "disjoint", 0.5, "global"),
    ("ResNet20", "diverse", 0.7, "global"),
    ("ResNet20", "diverse", 0.7, "local_global"),
    ("ResNet20", "diverse", 0.75, "global"),
    ("ResNet20", "disjoint", 0.7, "global"),
    ("ResNet20", "equal", 0.7, "global"),
    ("SDAResNet20", "none", 0.0, "global"),
    ("SDAResNet20", "diverse", 0.7, "global"),
    ("SDAResNet20", "disjoint", 0.7, "global"),
)


def start_models(options):
    """Paths of the trained networks; makes those that are not there."""
    if options.start:
        return dict(zip(("ResNet20", "SDAResNet20"), options.start, strict=True))
    paths = {
        "ResNet20": options.work / "plain.keras",
        "SDAResNet20": options.work / "sda.keras",
    }
    whole = build_classifier(SDAResNet20, SIZE, 3, 10)
    whole.set_weights(SDAResNet20(weights="cifar10").get_weights())
    save(whole, paths["SDAResNet20"])
    if not paths["ResNet20"].exists():
        model = build_classifier(SDAResNet20, SIZE, 3, 10, depth_attention=False)
        for layer in filter(lambda layer: layer.weights, model.layers):
            layer.set_weights(whole.get_layer(layer.name).get_weights())
        data = load_image_dataset("cifar10", options.data_dir)
        folder = options.work / "plain"
        folder.mkdir(exist_ok=True)
        fine_tune_classifier(
            model, data, SIZE, RECIPES["cifar"], options.start_epochs, folder,
            batch_size=BATCH_SIZE, learning_rate=0.05, seed=0,
        )  # fmt: skip
        save(copy_without_optimizer(model), paths["ResNet20"])
    return paths


def save(model, path):
    with atomic_write(path) as temporary:
        model.save(temporary)


class Case:
    """One row: its networks and what is known of them."""

    def __init__(self, case, path, data, options):
        self.network, self.groups, self.rate, self.scheme = case
        self.path, self.data, self.options = path, data, options
        name = f"{'_'.join(map(str, case))}_{options.epochs}_{data.num_train}"
        self.masked = options.work / f"{name}.keras"
        self.facts = options.work / f"{name}.json"
        self.backup = options.work / name

    def train(self, model, epochs, name):
        folder = self.backup / name
        folder.mkdir(parents=True, exist_ok=True)
        fine_tune_classifier(
            model, self.data, SIZE, RECIPES["cifar"], epochs, folder,
            batch_size=BATCH_SIZE, learning_rate=self.options.learning_rate,
            seed=self.options.seed,
        )  # fmt: skip

    def accuracy(self, model):
        return round(measure_accuracy(model, self.data, SIZE)["accuracy"], 4)

    def group(self, model, rate):
        return self_group(
            model,
            conv_rate=rate,
            dense_rate=0.0,
            balance=None if self.groups == "diverse" else self.groups,
            seed=self.options.seed,
        ).model

    def trained(self):
        """The masked network after fine-tuning, from the folder if it is there."""
        if not self.facts.exists():
            keras.utils.set_random_seed(self.options.seed)
            model = load_model(self.path)
            facts = {"accuracy_whole": self.accuracy(model)}
            if self.scheme == "local_global":
                for tenth in range(1, round(10 * self.rate)):
                    model = self.group(model, tenth / 10)
                    self.train(model, self.options.local_epochs, f"step{tenth}")
            if self.groups != "none":
                model = self.group(model, self.rate)
            facts["accuracy_grouped"] = self.accuracy(model)
            self.train(model, self.options.epochs, "whole")
            facts["accuracy"] = self.accuracy(model)
            save(copy_without_optimizer(model), self.masked)
            with atomic_write(self.facts) as temporary:
                temporary.write_text(json.dumps(facts))
        return load_model(self.masked), json.loads(self.facts.read_text())

    def row(self):
        options = self.options
        masked, facts = self.trained()
        whole = load_model(self.path)
        packed, forms, kept = masked, "", profile(whole).macs
        if self.groups != "none":
            size = options.latency_batch_size
            result = pack(masked, batch_size=size)
            packed = result.model
            names = sorted({row.form for row in result.report.layers})
            forms = " ".join(names)
            kept = GroupingReport.of(masked).macs_after
        images = np.random.default_rng(0).uniform(0, 255, (64, SIZE, SIZE, 3))
        both = [model.predict(images, verbose=0) for model in (masked, packed)]
        if np.abs(both[0] - both[1]).max() > 1e-3:
            raise ValueError(f"{self.masked}: the packed network is another one")
        latency = compare_latency(
            {
                name: fold_batch_normalization(model)
                for name, model in
                {"dense": whole, "masked": masked, "packed": packed}.items()
            },
            batch_size=options.latency_batch_size,
            num_runs=options.runs,
        )  # fmt: skip
        low, high = latency.ratio_iqrs["packed"]
        return {
            "network": self.network,
            "groups": self.groups,
            "rate": self.rate,
            "scheme": self.scheme,
            "seed": options.seed,
            **facts,
            "params_dense": profile(whole).params,
            "params_packed": profile(packed).params,
            "macs_dense": profile(whole).macs,
            "macs_masked": kept,
            "macs_packed": profile(packed).macs,
            "forms": forms,
            "latency_ms_dense": round(latency.results["dense"].median_ms, 3),
            "latency_ratio_masked": round(latency.ratios["masked"], 4),
            "latency_ratio_packed": round(latency.ratios["packed"], 4),
            "latency_ratio_packed_low": round(low, 4),
            "latency_ratio_packed_high": round(high, 4),
            "latency_batch_size": options.latency_batch_size,
            "epochs": options.epochs,
            "local_epochs": options.local_epochs
            if self.scheme == "local_global"
            else 0,
            "learning_rate": options.learning_rate,
            "train_images": self.data.num_train,
            "test_images": self.data.num_test,
            "batch_size": BATCH_SIZE,
            "dtype": "float32",
            "device": device_name(),
            "versions": " ".join(f"{k} {v}" for k, v in versions().items()),
            "command": command(),
        }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", default="../shared/data")
    parser.add_argument(
        "--start", nargs=2, metavar=("PLAIN", "SDA"), help="trained .keras files"
    )
    parser.add_argument(
        "--networks", nargs="+", default=["ResNet20", "SDAResNet20"], metavar="NAME"
    )
    parser.add_argument("--start_epochs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="of the whole network")
    parser.add_argument("--local_epochs", type=int, default=1)
    parser.add_argument("--train_images", type=int, default=10000, help="the first N")
    parser.add_argument("--learning_rate", type=float, default=0.02)
    parser.add_argument("--latency_batch_size", type=int, default=8)
    parser.add_argument("--latency_only", action="store_true")
    parser.add_argument("--runs", type=int, default=30, help="timed rounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=pathlib.Path, default="runs/cifar10_grouping")
    parser.add_argument("--output", type=pathlib.Path, default=RESULT)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    make_deterministic(TrainOptions(), print)
    paths = start_models(options)
    data = load_image_dataset(
        "cifar10", options.data_dir, max_train_examples=options.train_images
    )
    for network, *rest in CASES:
        if network not in options.networks:
            continue
        case = Case((network, *rest), paths[network], data, options)
        mine = [network, *map(str, rest), str(options.epochs), str(data.num_train)]
        done = [[row[c] for c in KEY] for row in read_rows(options.output)]
        if mine in done and not options.latency_only:
            continue
        row = case.row()
        replace_row(row, options.output, KEY)
        print(
            f"{network} {' '.join(map(str, rest))}: {row['accuracy_whole']:.4f} -> "
            f"{row['accuracy_grouped']:.4f} -> {row['accuracy']:.4f}, MACs "
            f"{row['macs_dense']:,} -> {row['macs_masked']:,}, packed "
            f"{row['latency_ratio_packed']:.3f} ({row['forms']})",
            flush=True,
        )
        keras.backend.clear_session()


if __name__ == "__main__":
    main()
