"""ResNet20 on CIFAR-10: widths learned by a search, beside other ways to get small.

    python benchmarks/cifar10_channel_search.py --data_dir ../shared/data

One ResNet20 (parameter-free shortcuts) is trained for --weight_epochs. For each of the
--budgets, shares of its multiply-accumulates, the CSV has the rows

* `search`: gates learn on it for --architecture_epochs with `target_macs`, the network
  is derived and fine-tuned for --fine_tune_epochs;
* `magnitude`: it is pruned by the criterion l1 to the MACs of `search` and fine-tuned
  alike (without the epochs that the gates took);
* `scratch`: the derived widths, new weights, trained for all epochs together;

and one row `unpruned`: the whole network trained for all epochs together. Optimizer and
augmentation are those of the recipe `cifar`: rate 0.1 for what starts new,
--fine_tune_rate for what goes on, along a cosine. Everything is kept in --work and goes
on there when the command is given again. Latency is measured last, in alternation at
--latency_batch_size: give the command once more on an idle machine, and only that is
done again.
"""

import argparse
import json
import pathlib
import time

import keras
from rows import command, write_rows

from keras_sda.analysis import compare_latency, profile
from keras_sda.analysis.latency.inference_step import device_name, versions
from keras_sda.applications import CIFARResNet20
from keras_sda.pruning import prune
from keras_sda.runs.best_weights import copy_without_optimizer
from keras_sda.search import ChannelSearch, add_channel_gates
from keras_sda.training import (
    RECIPES,
    TrainOptions,
    build_classifier,
    fine_tune_classifier,
    load_image_dataset,
    measure_accuracy,
    training_stream,
)
from keras_sda.training.strategies.make_deterministic import make_deterministic
from keras_sda.utils import atomic_write, load_model

RESULT = pathlib.Path(__file__).parent / "results" / "cifar10_channel_search.csv"
BATCH_SIZE = 128
IMAGE_SIZE = 32


class Experiment:
    """The networks of one seed; what is in the folder is not made again."""

    def __init__(self, options):
        self.options = options
        self.folder = options.work / f"seed{options.seed}_{options.train_images}"
        self.data = load_image_dataset(
            "cifar10", options.data_dir, max_train_examples=options.train_images
        )
        self.epochs = (
            options.weight_epochs
            + options.architecture_epochs
            + options.fine_tune_epochs
        )

    def once(self, name, make):
        """The network and the facts that `make` returned, from the folder if there."""
        path, facts = self.folder / f"{name}.keras", self.folder / f"{name}.json"
        if not facts.exists():
            keras.utils.set_random_seed(self.options.seed)
            began = time.perf_counter()
            model, found = make(self.folder / "backups" / name)
            model = copy_without_optimizer(model)
            found["seconds"] = round(time.perf_counter() - began, 1)
            found["accuracy"] = measure_accuracy(model, self.data, IMAGE_SIZE)[
                "accuracy"
            ]
            with atomic_write(path) as temporary:
                model.save(temporary)
            with atomic_write(facts) as temporary:
                temporary.write_text(json.dumps(found))
            print(f"{name}: {found}", flush=True)
            keras.backend.clear_session()
        return load_model(path), json.loads(facts.read_text())

    def train(self, model, epochs, rate, folder):
        folder.mkdir(parents=True, exist_ok=True)
        fine_tune_classifier(
            model,
            self.data,
            IMAGE_SIZE,
            RECIPES["cifar"],
            epochs,
            folder,
            batch_size=BATCH_SIZE,
            learning_rate=rate,
            seed=self.options.seed,
        )
        return model

    def whole(self, epochs):
        def make(folder):
            model = build_classifier(CIFARResNet20, IMAGE_SIZE, 3, 10)
            return self.train(model, epochs, 0.1, folder), {}

        return self.once(f"whole_{epochs}", make)

    def derived(self, budget):
        """What the search derives, before it is fine-tuned."""
        options = self.options

        def make(folder):
            start, _ = self.whole(options.weight_epochs)
            search = ChannelSearch(add_channel_gates(start), folder, seed=options.seed)
            steps = self.data.num_train // BATCH_SIZE

            def stream(first):
                return training_stream(
                    self.data,
                    RECIPES["cifar"],
                    IMAGE_SIZE,
                    BATCH_SIZE,
                    options.architecture_epochs,
                    seed=options.seed,
                    start_epoch=first,
                )

            search.learn_architecture(
                stream,
                options.architecture_epochs,
                target_macs=budget,
                steps_per_epoch=steps,
                verbose=2,
            )
            result = search.derive()
            search.plot(self.folder / f"search_{budget}.png")
            changes = {
                name: result.report.settings[name]
                for name in ("closed_for_budget", "opened_for_budget")
            }
            soft = search.log.rows[-1]
            return result.model, {**changes, "last_epoch": soft}

        return self.once(f"derived_{budget}", make)

    def fine_tuned(self, kind, budget):
        """A smaller network, trained on."""
        options = self.options

        def make(folder):
            derived, facts = self.derived(budget)
            found = {}
            if kind == "search":
                model, epochs = derived, options.fine_tune_epochs
                rate = options.fine_tune_rate
                found["search_seconds"] = facts["seconds"]
                found["accuracy_small"] = facts["accuracy"]
            elif kind == "magnitude":
                start, _ = self.whole(options.weight_epochs)
                began = time.perf_counter()
                model = prune(start, macs=profile(derived).macs, importance="l1").model
                found["search_seconds"] = round(time.perf_counter() - began, 1)
                found["accuracy_small"] = measure_accuracy(
                    model, self.data, IMAGE_SIZE
                )["accuracy"]
                epochs, rate = options.fine_tune_epochs, options.fine_tune_rate
            else:
                model = fresh(derived, options.seed)
                epochs, rate = self.epochs, 0.1
            return self.train(model, epochs, rate, folder), found

        return self.once(f"{kind}_{budget}", make)

    def rows(self):
        options = self.options
        whole, facts = self.whole(options.weight_epochs)
        base = profile(whole)
        trained = {("unpruned", 1.0): self.whole(self.epochs)}
        for budget in options.budgets:
            for kind in ("search", "magnitude", "scratch"):
                trained[kind, budget] = self.fine_tuned(kind, budget)
        latency = compare_latency(
            {"whole": whole, **{f"{k} {b}": m for (k, b), (m, _) in trained.items()}},
            batch_size=options.latency_batch_size,
            num_runs=options.runs,
        )
        for (kind, budget), (model, found) in trained.items():
            cost, name = profile(model), f"{kind} {budget}"
            low, high = latency.ratio_iqrs[name]
            yield {
                "network": "ResNet20",
                "method": kind,
                "budget": budget,
                "seed": options.seed,
                "accuracy": round(found["accuracy"], 4),
                "accuracy_before_fine_tuning": found.get("accuracy_small", ""),
                "accuracy_start": round(facts["accuracy"], 4),
                "params": cost.params,
                "macs": cost.macs,
                "macs_share": round(cost.macs / base.macs, 4),
                "latency_ms": round(latency.results[name].median_ms, 3),
                "latency_ratio": round(latency.ratios[name], 4),
                "latency_ratio_low": round(low, 4),
                "latency_ratio_high": round(high, 4),
                "latency_batch_size": options.latency_batch_size,
                "search_seconds": found.get("search_seconds", 0),
                "training_seconds": found["seconds"],
                "weight_epochs": options.weight_epochs,
                "architecture_epochs": options.architecture_epochs,
                "fine_tune_epochs": options.fine_tune_epochs,
                "fine_tune_rate": options.fine_tune_rate,
                "train_images": self.data.num_train,
                "test_images": self.data.num_test,
                "batch_size": BATCH_SIZE,
                "dtype": "float32",
                "device": device_name(),
                "versions": " ".join(f"{k} {v}" for k, v in versions().items()),
                "command": command(),
            }


def fresh(model, seed):
    """The same network with new weights."""
    keras.utils.set_random_seed(seed)
    return keras.models.clone_model(model)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", default="../shared/data")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.75, 0.5, 0.35])
    parser.add_argument("--weight_epochs", type=int, default=8)
    parser.add_argument("--architecture_epochs", type=int, default=5)
    parser.add_argument("--fine_tune_epochs", type=int, default=5)
    parser.add_argument("--fine_tune_rate", type=float, default=0.05)
    parser.add_argument("--train_images", type=int, default=20000, help="the first N")
    parser.add_argument("--latency_batch_size", type=int, default=8)
    parser.add_argument("--runs", type=int, default=30, help="timed rounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=pathlib.Path, default="runs/cifar10_search")
    parser.add_argument("--output", type=pathlib.Path, default=RESULT)
    options = parser.parse_args()
    make_deterministic(TrainOptions(), print)
    rows = list(Experiment(options).rows())
    write_rows(rows, options.output)
    for row in rows:
        print(
            f"{row['method']:>10} {row['budget']:.2f}: {row['accuracy']:.4f}, "
            f"{row['params']:,} parameters, {row['macs']:,} MACs, latency "
            f"{row['latency_ratio']:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
