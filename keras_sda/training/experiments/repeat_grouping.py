"""The published groupings, beside what they reach here."""

import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from typing import Any

import keras
from absl import logging

from keras_sda.grouping import (
    PUBLISHED_GROUPINGS,
    group_and_fine_tune,
    pack,
    plot_group_sizes,
    published_counts,
)
from keras_sda.runs.best_weights import copy_without_optimizer
from keras_sda.runs.run import Run
from keras_sda.runs.train_stage import train_stage
from keras_sda.search import SearchStage
from keras_sda.tasks import Classification
from keras_sda.training.experiments.repeated_runs import RepeatedRuns
from keras_sda.training.options.repeat_grouping_options import RepeatGroupingOptions
from keras_sda.training.recipes.stage_optimizer import resized_stage, stage_optimizer
from keras_sda.utils import InvalidInputError, atomic_write, load_model, save_model
from keras_sda.utils.draw_in_run import draw_in_run


def repeat_grouping(
    options: RepeatGroupingOptions, log: Callable[[str], Any] = logging.info
) -> list[dict[str, str]]:
    """Repeats the groupings of a published table, or some of them.

    Use it through `applications/self_group.py` or directly. The network is trained
    once (or read from `options.start`); for every pair of rates its filters are grouped
    and it is trained on and packed. Called again with the same options, an interrupted
    one goes on. Images in memory need no TensorFlow.

    The folder `options.output` then holds results.csv and, for every pair, a folder
    with model.keras (masked), packed.keras, the reports of groups and packing and
    groups.png.

    Args:
        options: Recipe, rates, images and folder.
        log: Called with short messages on the course of the runs.

    Returns:
        The rows of results.csv: accuracies, parameters and multiply-accumulates as the
        paper counts them and as they are, beside those that were published.

    Raises:
        InvalidInputError: An option, the images or the network cannot be used; or some
            rates have failed, such as one that leaves a layer without connections. The
            others are done.

    Example:

    ```python
    rows = repeat_grouping(RepeatGroupingOptions(recipe="lenet_mnist"), print)
    ```

    Source: arXiv 2009.13803 (Neural Networks 132, 2020).
    """
    return _Groupings(options, log).run(options.pairs)


class _Groupings(RepeatedRuns):
    """One trained network, and what becomes of it at several rates."""

    order = "params", "macs"

    def __init__(self, options, log):
        self.recipe = recipe = options.settings
        network = options.model or recipe.network
        size = recipe.image_size
        super().__init__(options, network, recipe.batch_size, log, size)
        self.kind = self.scheme = options.scheme or recipe.scheme
        self.num_groups = options.num_groups or recipe.num_groups
        self.stages = {
            name: resized_stage(SearchStage(**dataclasses.asdict(stage)), epochs)
            for name, stage, epochs in (
                ("train", recipe.train, options.train_epochs),
                ("local", recipe.local, options.local_epochs),
                ("global", recipe.fine_tune, options.fine_tune_epochs),
            )
        }

    def title(self, case):
        return f"convolutions {case[0]:g}, dense layers {case[1]:g}"

    def train(self, model, stage, folder, number):
        """One training, resumable."""
        if not stage.epochs:
            return
        seed, images = self.options.seed, self.images
        settings = {**dataclasses.asdict(stage), "batch_size": images.batch_size,
                    "seed": seed}  # fmt: skip
        task, one_hot = Classification.of(model), not images.in_memory
        data, more = images.stage(stage.epochs, seed + number, task)
        nesterov = self.recipe.nesterov
        with Run(folder, "self_group.py").open_stage("training", settings) as kept:
            train_stage(
                kept,
                model,
                data,
                stage.epochs,
                stage_optimizer(stage, images.steps, nesterov=nesterov),
                task.loss(one_hot),
                task.metrics(one_hot=one_hot),
                seed + number,
                verbose=self.verbose,
                **more,
            )

    def train_whole(self):
        """From a file, the result of a run before, or trained now."""
        start, seed = self.options.start, self.options.seed
        if start is not None:
            whole = load_model(start)
            Classification.check_model(whole, start, self.dataset)
            return whole
        saved = self.output / f"whole_seed{seed}.keras"
        note, settings = saved.with_suffix(".json"), self.settings()
        if saved.is_file():
            if json.loads(note.read_text()) != settings:
                raise InvalidInputError(
                    f"--output={self.output} holds a network of other flags: "
                    f"{note.read_text().strip()}. Name another folder."
                )
            return load_model(saved)
        model, folder = self.build(), self.output / f"training_seed{seed}"
        self.train(model, self.stages["train"], folder, 0)
        whole = copy_without_optimizer(model)
        with atomic_write(note) as temporary:
            temporary.write_text(json.dumps(settings) + "\n")
        save_model(whole, saved)
        shutil.rmtree(folder, ignore_errors=True)
        return whole

    def settings(self):
        """What the trained network depends on."""
        return {
            "model": self.network,
            "dataset": self.dataset.name,
            "train_epochs": self.stages["train"].epochs,
            "train_images": self.dataset.num_train,
            "batch_size": self.images.batch_size,
        }

    def folder(self, case):
        parts = [f"{case[0]:g}_{case[1]:g}", self.scheme, self.options.balance]
        if self.options.regroup != "once":
            parts.append(self.options.regroup)
        if self.options.seed:
            parts.append(f"seed{self.options.seed}")
        return self.output / "_".join(filter(None, parts))

    def carry_out(self, case):
        """Groups, fine-tuning, packing."""
        options, folder, began = self.options, self.folder(case), time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        grouped = {}

        def fine_tune(model, epochs, name):
            last = name == "global"
            number = 1 if last else 1 + int(float(name.split("_")[1]))
            stage = self.stages["global" if last else "local"]
            self.train(model, stage, folder / "training" / name, number)

        def measure(model, step):
            grouped["accuracy"] = self.images.accuracy(model)
            self.log(f"{step.name}: {grouped['accuracy']:.2%} grouped")

        result = group_and_fine_tune(
            self.whole,
            fine_tune,
            *case,
            scheme=self.scheme,
            local_epochs=self.stages["local"].epochs,
            global_epochs=self.stages["global"].epochs,
            num_groups=self.num_groups,
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
        save_model(masked, folder / "model.keras")
        save_model(copy_without_optimizer(packing.model), folder / "packed.keras")
        counts, report = published_counts(self.whole), result.report
        published = self.published(case)
        return {
            **self.identity(case),
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
            **self.place(),
        }

    def identity(self, case):
        local, last = self.stages["local"].epochs, self.stages["global"].epochs
        return {
            "recipe": self.options.recipe,
            "model": self.options.start or self.network,
            "dataset": self.dataset.name,
            "scheme": self.scheme,
            "conv_rate": case[0],
            "dense_rate": case[1],
            "num_groups": self.num_groups,
            "balance": self.options.balance or "",
            "regroup": self.options.regroup,
            "train_epochs": self.stages["train"].epochs,
            "local_epochs": local if self.scheme != "global" else 0,
            "fine_tune_epochs": last if self.scheme != "local" else 0,
            "train_images": self.dataset.num_train,
            "batch_size": self.images.batch_size,
            "seed": self.options.seed,
        }

    def published(self, case):
        """The row of the table, for its own network and images."""
        whole, *rows = PUBLISHED_GROUPINGS[self.options.recipe]
        wanted = {"scheme": self.scheme, "conv_rate": case[0], "dense_rate": case[1]}
        found = [row for row in rows if wanted.items() <= row.items()]
        own = self.network, self.dataset.name
        if not found or own != (self.recipe.network, self.recipe.dataset):
            names = "whole", "accuracy", "params_millions", "macs_millions"
            return dict.fromkeys(names, "")
        return {
            **found[0],
            "whole": round(whole["top1"] / 100, 5),
            "accuracy": round(found[0]["top1"] / 100, 5),
        }

    def tidy(self, case):
        """Removes what an interrupted run would have needed."""
        for name in ("steps", "training"):
            shutil.rmtree(self.folder(case) / name, ignore_errors=True)

    def words(self, row):
        return (
            f"{row['conv_rate']}/{row['dense_rate']} {row['scheme']}: accuracy "
            f"{float(row['accuracy']):.2%} of {float(row['accuracy_whole']):.2%}, as "
            f"published {int(row['params_as_published']):,} parameters, "
            f"{int(row['macs_as_published']):,} MACs"
        )
