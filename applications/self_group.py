"""The published groupings, beside what they reach here.

    python applications/self_group.py --recipe=densenet121_cifar10 \\
        --data_dir=../shared/data --output=runs/densenet121_cifar10

Trains the network of a recipe once (or reads it from --start), then for every rate of
the recipe (or of --rates) groups its filters, trains it on and packs it. Writes
results.csv with a row per rate beside the row that was published, and for every rate a
folder with model.keras (masked), packed.keras, the reports of groups and packing and
groups.png. An interrupted program goes on when it is started again with the same flags
(seconds are then those since).

Recipes are those of `keras_sda.grouping.GROUPING_RECIPES`. Published, as accuracy in
percent / parameters in millions / MACs in millions:

  lenet_mnist           99.40/0.431/2.294 whole; 95 % 99.17/0.022/0.388,
                        99 % 98.53/0.005/0.307
  densenet121_cifar10   95.23/6.89/888.36 whole; 75 % 95.40/1.71/221.90,
                        95 % 94.32/0.34/45.76
  densenet121_cifar100  78.67/6.99/888.45 whole; 70 % 78.78/2.10/266.60,
                        95 % 74.37/0.36/45.67
  resnet50_imagenet     76.13/25.55/4090 whole; 70/60 % 74.42/9.83/1560
  densenet201_imagenet  76.90/19.82/4290 whole; 70/60 % 76.12/6.00/1340

and so on, see `keras_sda.grouping.PUBLISHED_GROUPINGS`. A minute or two on a CPU, to
see it work:

    python applications/self_group.py --recipe=lenet_mnist --dataset=digits \\
        --rates=0.9,0.95 --train_epochs=5 --fine_tune_epochs=5 --output=runs/try

On a machine with JAX and no TensorFlow, take the images along as arrays x_train,
y_train, x_test, y_test of one or several .npz files, which are joined:

    python applications/self_group.py --recipe=densenet121_cifar10 \\
        --data_dir=../shared/data --write_arrays=runs/cifar10_ --parts=4
    KERAS_BACKEND=jax python applications/self_group.py --recipe=densenet121_cifar10 \\
        --arrays=runs/cifar10_1.npz,runs/cifar10_2.npz,runs/cifar10_3.npz,runs/...

Images in memory are padded by four zeros (digits by three), cropped and mirrored in
numpy on every backend (digits are not mirrored); larger data sets come from
`training_stream`.
"""

import dataclasses
import json
import pathlib
import shutil
import sys
import time

import keras
from absl import flags, logging

from keras_sda.analysis.latency.inference_step import device_name, versions
from keras_sda.applications import get_model
from keras_sda.cli.run_program import run_program
from keras_sda.grouping import (
    GROUPING_RECIPES,
    PUBLISHED_GROUPINGS,
    group_and_fine_tune,
    pack,
    plot_group_sizes,
    published_counts,
)
from keras_sda.grouping.check_rates import check_rates
from keras_sda.runs.best_weights import copy_without_optimizer
from keras_sda.runs.run import Run
from keras_sda.runs.train_stage import train_stage
from keras_sda.search import SearchStage
from keras_sda.tasks import Classification
from keras_sda.training import (
    ImageDataset,
    StageImages,
    build_classifier,
    load_image_arrays,
    load_image_dataset,
    resized_stage,
    save_image_arrays,
    stage_optimizer,
)
from keras_sda.utils import InvalidInputError, atomic_write, load_model
from keras_sda.utils.draw_in_run import draw_in_run
from keras_sda.utils.files.csv_rows import read_rows, write_rows

flags.DEFINE_enum(
    "recipe", "densenet121_cifar10", sorted(GROUPING_RECIPES), "Published grouping."
)
flags.DEFINE_string("output", "runs/self_group", "Folder of the results.")
flags.DEFINE_string("start", None, "Trained network, MODEL.keras, instead of training.")
flags.DEFINE_string("model", None, "Network, instead of that of the recipe.")
flags.DEFINE_string("dataset", None, "Images, instead of those of the recipe.")
flags.DEFINE_string("data_dir", None, "Folder of the prepared TensorFlow Datasets.")
flags.DEFINE_list("arrays", [], "Files of arrays instead of a dataset, see above.")
flags.DEFINE_string("write_arrays", None, "Write the images to such .npz files, end.")
flags.DEFINE_integer("parts", 1, "How many files --write_arrays makes.", lower_bound=1)
flags.DEFINE_list(
    "rates",
    [],
    "Shares to cut, instead of those of the recipe: 0.75 for all layers, 0.7/0.6 for "
    "convolutions and dense layers.",
)
flags.DEFINE_enum(
    "scheme", None, ["global", "local_global", "local"], "Instead of the recipe's."
)
flags.DEFINE_integer("num_groups", None, "Likewise.", lower_bound=1)
flags.DEFINE_enum(
    "balance", None, ["disjoint", "equal"], "Groups of one size, see self_group."
)
flags.DEFINE_enum("regroup", "once", ["once", "every_step"], "See self_group.")
flags.DEFINE_enum("form", "lists", ["auto", "lists", "grouped", "dense"], "See pack.")
flags.DEFINE_integer("train_epochs", None, "Instead of the recipe's.", lower_bound=0)
flags.DEFINE_integer("local_epochs", None, "Likewise.", lower_bound=0)
flags.DEFINE_integer("fine_tune_epochs", None, "Likewise.", lower_bound=0)
flags.DEFINE_integer("batch_size", None, "Likewise.", lower_bound=1)
flags.DEFINE_integer("max_train_examples", None, "Use the first N.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of weights, groups, order and augmentation.")


class SizedImages(ImageDataset):
    """Images that are used at the size of the recipe."""

    @property
    def default_size(self):
        return self.size


def load(options):
    """The dataset of --arrays or of a name."""
    recipe = GROUPING_RECIPES[options.recipe]
    name = options.dataset or recipe.dataset
    count = options.max_train_examples
    if options.arrays:
        found = load_image_arrays(options.arrays, name, count)
    else:
        found = load_image_dataset(
            name, data_dir=options.data_dir, max_train_examples=count
        )
    fields = dataclasses.fields(ImageDataset)
    sized = SizedImages(**{x.name: getattr(found, x.name) for x in fields})
    object.__setattr__(sized, "size", recipe.image_size)
    return sized


def rates_of(options):
    """Pairs of rates, checked."""
    pairs = []
    for text in options.rates:
        try:
            parts = [float(part) for part in text.split("/")]
        except ValueError:
            parts = []
        if len(parts) not in (1, 2):
            raise InvalidInputError(
                "--rates must be shares such as 0.75, or pairs such as 0.7/0.6, with "
                f"commas. Received: {text!r}."
            )
        pairs.append((parts[0], parts[-1]))
    for pair in pairs:
        check_rates(*pair)
    return pairs or list(GROUPING_RECIPES[options.recipe].rates)


class Experiment:
    """One trained network, and what becomes of it at several rates."""

    def __init__(self, options, dataset):
        self.options, self.dataset = options, dataset
        self.recipe = GROUPING_RECIPES[options.recipe]
        self.name = options.model or self.recipe.network
        self.scheme = options.scheme or self.recipe.scheme
        if options.balance and self.scheme != "global":
            raise InvalidInputError(
                "--balance chooses the number of groups by the rate: use "
                "--scheme=global."
            )
        self.images = StageImages(dataset, options.batch_size or self.recipe.batch_size)
        self.output = pathlib.Path(options.output)
        self.stages = {
            name: resized_stage(SearchStage(**dataclasses.asdict(stage)), epochs)
            for name, stage, epochs in (
                ("train", self.recipe.train, options.train_epochs),
                ("local", self.recipe.local, options.local_epochs),
                ("global", self.recipe.fine_tune, options.fine_tune_epochs),
            )
        }
        self.whole = None
        self.accuracy_whole = 0.0

    def train(self, model, stage, folder, number):
        """One training, resumable."""
        if not stage.epochs:
            return
        settings = {**dataclasses.asdict(stage), "batch_size": self.images.batch_size,
                    "seed": self.options.seed}  # fmt: skip
        task, one_hot = Classification.of(model), not self.images.in_memory
        data, more = self.images.stage(stage.epochs, self.options.seed + number, task)
        run = Run(folder, "self_group.py")
        with run.open_stage("training", settings) as kept:
            train_stage(
                kept,
                model,
                data,
                stage.epochs,
                stage_optimizer(
                    stage, self.images.steps, nesterov=self.recipe.nesterov
                ),
                task.loss(one_hot),
                task.metrics(one_hot=one_hot),
                self.options.seed + number,
                verbose=1 if sys.stdout.isatty() else 2,
                **more,
            )

    def open_whole(self):
        """The trained network: a file, the result of a run before, or trained now."""
        start, seed = self.options.start, self.options.seed
        saved = self.output / f"whole_seed{seed}.keras"
        note, settings = saved.with_suffix(".json"), self.settings()
        if start is not None:
            self.whole = load_model(start)
            Classification.check_model(self.whole, start, self.dataset)
        elif saved.is_file():
            if json.loads(note.read_text()) != settings:
                raise InvalidInputError(
                    f"--output={self.output} holds a network of other flags: "
                    f"{note.read_text().strip()}. Name another folder."
                )
            self.whole = load_model(saved)
        else:
            keras.utils.set_random_seed(seed)
            model = build_classifier(
                get_model(self.name),
                self.images.size,
                self.dataset.channels,
                len(self.dataset.class_names),
            )
            folder = self.output / f"training_seed{seed}"
            self.train(model, self.stages["train"], folder, 0)
            self.whole = copy_without_optimizer(model)
            with atomic_write(note) as temporary:
                temporary.write_text(json.dumps(settings) + "\n")
            save(self.whole, saved)
            shutil.rmtree(folder, ignore_errors=True)
        self.accuracy_whole = self.images.accuracy(self.whole)
        print(f"accuracy of the whole network {self.accuracy_whole:.2%}", flush=True)

    def settings(self):
        """What the trained network depends on."""
        return {
            "model": self.name,
            "dataset": self.dataset.name,
            "train_epochs": self.stages["train"].epochs,
            "train_images": self.dataset.num_train,
            "batch_size": self.images.batch_size,
        }

    def folder(self, rates):
        parts = [f"{rates[0]:g}_{rates[1]:g}", self.scheme, self.options.balance]
        if self.options.regroup != "once":
            parts.append(self.options.regroup)
        if self.options.seed:
            parts.append(f"seed{self.options.seed}")
        return self.output / "_".join(filter(None, parts))

    def group(self, rates):
        """Groups, fine-tuning, packing; returns the row."""
        if self.whole is None:
            self.open_whole()
        options, folder, began = self.options, self.folder(rates), time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        grouped = {}

        def fine_tune(model, epochs, name):
            kind = "global" if name == "global" else "local"
            number = 1 if kind == "global" else 1 + int(float(name.split("_")[1]))
            self.train(
                model, self.stages[kind], folder / "training" / name, number
            )  # fmt: skip

        def measure(model, step):
            grouped["accuracy"] = self.images.accuracy(model)
            print(f"{step.name}: {grouped['accuracy']:.2%} grouped", flush=True)

        result = group_and_fine_tune(
            self.whole,
            fine_tune,
            *rates,
            scheme=self.scheme,
            local_epochs=self.stages["local"].epochs,
            global_epochs=self.stages["global"].epochs,
            num_groups=options.num_groups or self.recipe.num_groups,
            regroup=options.regroup,
            balance=options.balance,
            seed=options.seed,
            folder=folder / "steps",
            after_grouping=measure,
        )
        masked = copy_without_optimizer(result.model)
        accuracy = self.images.accuracy(masked)
        packing = pack(masked, options.form)
        packed = self.images.accuracy(packing.model)
        result.report.save(folder)
        packing.report.save(folder)
        draw_in_run(plot_group_sizes, result.report, folder / "groups.png")
        save(masked, folder / "model.keras")
        save(copy_without_optimizer(packing.model), folder / "packed.keras")
        counts, report = published_counts(self.whole), result.report
        published = self.published(rates)
        return {
            **self.identity(rates),
            "accuracy_whole": round(self.accuracy_whole, 4),
            "accuracy_grouped": round(grouped["accuracy"], 4) if grouped else "",
            "accuracy": round(accuracy, 4),
            "accuracy_packed": round(packed, 4),
            "published_accuracy_whole": published["whole"],
            "published_accuracy": published["accuracy"],
            "params_whole_as_published": counts.params,
            "params_as_published": report.published_params,
            "published_params_millions": published["params_millions"],
            "macs_whole_as_published": counts.macs,
            "macs_as_published": report.published_macs,
            "published_macs_millions": published["macs_millions"],
            "params_whole": report.params_before,
            "params": report.params_after,
            "params_packed": packing.report.params_after,
            "macs_whole": report.macs_before,
            "macs": report.macs_after,
            "macs_packed": packing.report.macs_after,
            "form": options.form,
            "test_images": self.dataset.num_test,
            "seconds": round(time.perf_counter() - began, 1),
            "dtype": keras.config.dtype_policy().name,
            "device": device_name(),
            "versions": " ".join(f"{k} {v}" for k, v in versions().items()),
        }

    def identity(self, rates):
        """What a row is for."""
        return {
            "recipe": self.options.recipe,
            "model": self.options.start or self.name,
            "dataset": self.dataset.name,
            "scheme": self.scheme,
            "conv_rate": rates[0],
            "dense_rate": rates[1],
            "num_groups": self.options.num_groups or self.recipe.num_groups,
            "balance": self.options.balance or "",
            "regroup": self.options.regroup,
            "train_epochs": self.stages["train"].epochs,
            "local_epochs": self.stages["local"].epochs
            if self.scheme != "global"
            else 0,
            "fine_tune_epochs": self.stages["global"].epochs
            if self.scheme != "local"
            else 0,
            "train_images": self.dataset.num_train,
            "batch_size": self.images.batch_size,
            "seed": self.options.seed,
        }

    def published(self, rates):
        """The row of the table, for its own network and images."""
        names = "whole", "accuracy", "params_millions", "macs_millions"
        rows = PUBLISHED_GROUPINGS[self.options.recipe]
        found = [
            row for row in rows
            if (row["scheme"], row["conv_rate"], row["dense_rate"])
            == (self.scheme, *rates)
        ]  # fmt: skip
        same = self.name == self.recipe.network
        if not found or not same or self.dataset.name != self.recipe.dataset:
            return dict.fromkeys(names, "")
        row = found[0]
        return {
            "whole": round(rows[0]["top1"] / 100, 5),
            "accuracy": round(row["top1"] / 100, 5),
            "params_millions": row["params_millions"],
            "macs_millions": row["macs_millions"],
        }

    def tidy(self, rates):
        """Removes what an interrupted run would have needed."""
        for name in ("steps", "training"):
            shutil.rmtree(self.folder(rates) / name, ignore_errors=True)


def run(options):
    """All rates; returns the rows."""
    pairs = rates_of(options)
    experiment = Experiment(options, load(options))
    path = experiment.output / "results.csv"
    rows, failures = read_rows(path), []
    for rates in pairs:
        wanted = {key: str(x) for key, x in experiment.identity(rates).items()}
        done = any(wanted.items() <= row.items() for row in rows)
        title = f"convolutions {rates[0]:g}, dense layers {rates[1]:g}"
        print(f"{title}: {'done' if done else experiment.scheme}", flush=True)
        if done:
            continue
        try:
            row = experiment.group(rates)
        except InvalidInputError as error:  # such as a layer without connections
            failures.append(f"{title}: {error}")
            print(failures[-1], flush=True)
            continue
        rows.append({key: str(value) for key, value in row.items()})
        write_rows(rows, path)
        experiment.tidy(rates)
        print(line(rows[-1]), flush=True)
    if failures:
        raise InvalidInputError(" ".join(failures))
    return rows


def line(row):
    """One row for the terminal."""
    text = (
        f"{row['conv_rate']}/{row['dense_rate']} {row['scheme']}: accuracy "
        f"{float(row['accuracy']):.2%} of {float(row['accuracy_whole']):.2%}, as "
        f"published {int(row['params_as_published']):,} parameters, "
        f"{int(row['macs_as_published']):,} MACs"
    )
    if row["published_accuracy"]:
        text += (
            f"; published {float(row['published_accuracy']):.2%}, "
            f"{row['published_params_millions']} M, "
            f"{row['published_macs_millions']} M"
        )
    return text


def save(model, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        model.save(temporary)


def main(options):
    logging.set_verbosity(logging.WARNING)
    if options.write_arrays:
        paths = save_image_arrays(load(options), options.write_arrays, options.parts)
        print(",".join(paths))
        return
    for row in run(options):
        print(line(row))
    print(f"rows in {pathlib.Path(options.output) / 'results.csv'}")


if __name__ == "__main__":
    run_program(main, "It goes on when it is started again with the same flags.")
