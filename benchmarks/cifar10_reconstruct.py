"""SDAResNet20 on CIFAR-10: every criterion, cut and refitted, then fine-tuned.

    python benchmarks/cifar10_reconstruct.py --epochs 0 --seeds 0  # without training
    python benchmarks/cifar10_reconstruct.py        # all: about twelve hours, two cores
    python benchmarks/cifar10_reconstruct.py --criteria taylor l1 --macs 0.5 --seeds 0

The network with the weights of the package is pruned to each of --macs of its
multiply-accumulates by each of --criteria; `none` is the whole one. It is measured as
it was cut and with its kernels refitted (rows of 0 epochs), and each of both is
fine-tuned for --epochs on the first --train_images, from the labels alone and with the
whole network as a teacher that gives the share --distill of the loss. Optimizer and
augmentation are those of the recipe `cifar` at --learning_rate, along a cosine. The
seed is that of the images that criterion and refit see, of their order in training and
of `random`.

A row as soon as it is measured; rows that are there are kept, and a run that was killed
goes on after the last finished epoch. Two processes must not write one --output.
"""

import argparse
import dataclasses
import gc
import json
import pathlib
import shutil
import time

import keras
import numpy as np
import rows
from absl import logging
from refitted import cut_and_refit

from keras_sda.analysis import profile
from keras_sda.applications import SDAResNet20
from keras_sda.objectives import Distillation
from keras_sda.pruning import CRITERIA
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

RESULT = rows.RESULTS / "cifar10_reconstruct.csv"
SIZE, BATCH_SIZE = 32, 128
KEY = (
    "criterion", "scope", "steps", "target_macs", "seed", "start", "epochs", "distill",
    "images", "train_images", "test_images", "dtype",
)  # fmt: skip


def whole_model():
    """The trained network, for pixels from 0 to 255."""
    model = build_classifier(SDAResNet20, SIZE, 3, 10)
    model.set_weights(SDAResNet20(weights="cifar10").get_weights())
    return model


class Networks:
    """The cut and the refitted network of one criterion, share and seed."""

    def __init__(self, case, data, options):
        self.case, self.data, self.options = case, data, options
        name = "_".join(
            str(case[key]) for key in KEY[:5] if case[key] not in ("", "global")
        )
        self.folder = options.work / f"{name}_{options.images}"

    def load(self, start):
        """One of the networks and what is known of both; made where they are not."""
        facts = self.folder / "facts.json"
        if self.case["criterion"] == "none":
            return whole_model(), {"plan_seconds": "", "reconstruct_seconds": ""}
        if not facts.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            found = self.make()
            for name, model in (("cut", found.cut), ("refitted", found.small)):
                with atomic_write(self.folder / f"{name}.keras") as temporary:
                    model.save(temporary)
            with atomic_write(facts) as temporary:
                temporary.write_text(json.dumps(found.seconds()))
        model = load_model(self.folder / f"{start}.keras")
        return model, json.loads(facts.read_text())

    def make(self):
        """Draws images and prunes."""
        seed = self.case["seed"]
        keras.utils.set_random_seed(seed)
        images, labels = self.data.train_split.arrays
        drawn = np.random.default_rng(seed).permutation(len(images))
        drawn = drawn[: self.options.images]
        return cut_and_refit(
            whole_model(),
            self.case["criterion"],
            self.case["target_macs"],
            (images[drawn].astype("float32"), labels[drawn]),
            scope=self.options.scope,
            steps=self.options.steps,
            loss="sparse_categorical_crossentropy",
            seed=seed,
        )


def with_dtype(model, policy):
    """A copy that computes in another precision; its probabilities stay float32."""
    if policy == "float32":
        return model

    def changed(layer):
        config = layer.get_config()
        if layer.name not in model.output_names:
            config["dtype"] = policy
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=changed)
    copy.set_weights(model.get_weights())
    return copy


_STARTS = {}  # accuracies before any training, measured once in a process


def measure(case, networks, whole, data, options):
    """One row."""
    seed, epochs = case["seed"], case["epochs"]
    model, facts = networks.load(case["start"])
    place = networks.folder, case["start"]
    if place not in _STARTS:
        _STARTS[place] = measure_accuracy(model, data, SIZE)["accuracy"]
    start = _STARTS[place]
    after, seconds = start, ""
    if epochs:
        keras.utils.set_random_seed(seed)
        folder = networks.folder / "_".join(str(case[key]) for key in KEY[5:])
        folder.mkdir(parents=True, exist_ok=True)
        distill = None
        if case["distill"]:
            distill = Distillation(whole, weight=case["distill"])
        began = time.perf_counter()
        history = fine_tune_classifier(
            with_dtype(model, options.dtype),
            data,
            SIZE,
            RECIPES["cifar"],
            epochs,
            folder,
            batch_size=min(BATCH_SIZE, data.num_train),
            learning_rate=options.learning_rate,
            seed=seed,
            distill=distill,
        )
        seconds = round(time.perf_counter() - began, 1)
        after = history[-1]["val_accuracy"]
        shutil.rmtree(folder)
    return {
        **case,
        "accuracy_start": round(start, 4),
        "accuracy": round(after, 4),
        **rows.sizes(profile(whole), profile(model)),
        **facts,
        "fine_tune_seconds": seconds,
        "batch_size": BATCH_SIZE if epochs else "",
        "learning_rate": options.learning_rate if epochs else "",
        **rows.machine(case["dtype"]),
    }


def cases(data, options):
    """The keys of all rows: what needs no training first, and seed by seed."""
    for epochs in options.epochs:
        for seed in options.seeds:
            for macs in options.macs:
                for criterion in options.criteria:
                    yield from variants(criterion, macs, seed, epochs, data, options)


def variants(criterion, macs, seed, epochs, data, options):
    """Cut and refitted, without and with a teacher."""
    is_whole = criterion == "none"
    for start in ("whole",) if is_whole else ("cut", "refitted"):
        for distill in sorted({0.0, options.distill}) if epochs else (0.0,):
            yield {
                "criterion": criterion,
                "scope": "" if is_whole else options.scope,
                "steps": "" if is_whole else options.steps,
                "target_macs": 1.0 if is_whole else macs,
                "seed": seed,
                "start": start,
                "epochs": epochs,
                "distill": distill,
                "images": "" if is_whole else options.images,
                "train_images": data.num_train if epochs else "",
                "test_images": data.num_test,
                "dtype": options.dtype if epochs else "float32",
            }


def main():
    """Measures what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", default="../shared/data")
    parser.add_argument("--criteria", nargs="+", default=["none", *CRITERIA])
    parser.add_argument("--macs", nargs="+", type=float, default=[0.85, 0.7, 0.5])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", nargs="+", type=int, default=[0, 2])
    parser.add_argument("--scope", default="global", help="see make_plan")
    parser.add_argument("--steps", type=int, default=1, help="refitted after each")
    parser.add_argument("--images", type=int, default=512, help="for scores and refit")
    parser.add_argument("--distill", type=float, default=0.5, help="0: never")
    parser.add_argument("--learning_rate", type=float, default=0.01)
    parser.add_argument("--train_images", type=int, default=10000, help="the first N")
    parser.add_argument("--test_images", type=int, help="the first N. Default: all")
    parser.add_argument("--dtype", default="float32", help="of the fine-tuning")
    parser.add_argument("--work", type=pathlib.Path, default="runs/cifar10_reconstruct")
    parser.add_argument("--output", type=pathlib.Path, default=RESULT)
    options = parser.parse_args()
    logging.set_verbosity(logging.INFO)
    options.work.mkdir(parents=True, exist_ok=True)
    make_deterministic(TrainOptions(), print)
    data = load_image_dataset(
        "cifar10", options.data_dir, max_train_examples=options.train_images
    )
    data = dataclasses.replace(
        data, test_split=data.test_split.take(options.test_images)
    )
    whole = whole_model()
    for case in cases(data, options):
        if rows.has_row(options.output, **case):
            continue
        networks = Networks(case, data, options)
        row = measure(case, networks, whole, data, options)
        rows.replace_row(row, options.output, KEY)
        logging.info(
            "%s %s %s seed %d, %d epochs, teacher %s: %.4f -> %.4f",
            *(case[key] for key in ("criterion", "target_macs", "start", "seed")),
            case["epochs"], case["distill"], row["accuracy_start"], row["accuracy"],
        )  # fmt: skip
        keras.backend.clear_session()
        gc.collect()


if __name__ == "__main__":
    main()
