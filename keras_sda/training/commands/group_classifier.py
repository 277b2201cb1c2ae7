"""Self-groups a classifier, trains it on, packs it and writes everything."""

import dataclasses
import zlib
from collections.abc import Callable

import keras
import numpy as np
from absl import logging

from keras_sda.analysis import compare_latency
from keras_sda.grouping import (
    GroupingStep,
    find_groupable_layers,
    group_and_fine_tune,
    pack,
    plot_group_sizes,
    published_counts,
    self_group,
)
from keras_sda.runs.best_weights import copy_without_optimizer
from keras_sda.runs.history_file import read_history
from keras_sda.training.commands.classifier_run import ClassifierRun
from keras_sda.training.commands.fine_tune_classifier import fine_tune_classifier
from keras_sda.training.commands.open_classifier import open_classifier
from keras_sda.training.options.group_options import GroupOptions
from keras_sda.training.recipes.recipes import RECIPES, default_recipe
from keras_sda.utils import save_model
from keras_sda.utils.draw_in_run import draw_in_run
from keras_sda.utils.files.load_model import is_model_file

_WEIGHTS = "weights"
# As published: twenty local epochs where the last training has ninety.
_LOCAL_SHARE = 20 / 90


def group_classifier(
    options: GroupOptions, log: Callable[[str], None] = logging.info
) -> dict:
    """Groups the filters of a classifier, fine-tunes it and packs it.

    Use it through `keras-sda group` or directly. A run that was killed continues with
    `resume=True` after the last finished epoch, with the masks that were chosen.

    The folder `options.output` then holds `model.keras` (the masked model, to train
    on), `packed.keras` (the same function, to deploy), `report.json`, `report.csv`,
    `report.md` (groups and counts), `packing.json`, `packing.csv`, `packing.md` (what
    each layer became), `groups.png`, `metrics.json`, `history.csv` and `curves.png`
    (all trainings), `run.json` and `labels.txt`.

    Args:
        options: What to group, how far and where to.
        log: Called with short messages on the course of the run.

    Returns:
        The contents of `metrics.json`: test accuracy of the whole network
        (`accuracy_before`), with the last groups before training on
        (`accuracy_grouped`; with `reconstruct` also before the filters were fitted,
        `accuracy_cut`), of the masked model (`accuracy`) and of the packed one
        (`accuracy_packed`); parameters and MACs before, as the masks leave them, as
        the paper counts them and as the packed model has them; latency of the packed
        model beside the one before.

    Raises:
        InvalidInputError: An option, the model, the data or the folder cannot be used,
            a rate leaves a layer without connections, or the training diverged.
        OSError: The folder cannot be written or the disk is full.

    Example:

    ```python
    from keras_sda.training import GroupOptions, group_classifier

    options = GroupOptions(model="runs/digits/model.keras", dataset="digits",
                           fine_tune_epochs=3, output="runs/digits_groups")
    print(group_classifier(options)["accuracy"])
    ```

    Source: arXiv 2009.13803 (Neural Networks 132, 2020).
    """
    return _GroupRun(options, log).run()


class _GroupRun(ClassifierRun):
    """One run: the model, its data and its trainings."""

    def prepare(self):
        options, dataset = self.options, self.dataset
        self.model, self.size = open_classifier(
            options.model, dataset, self.strategy, options.image_size
        )
        self.layers = options.layers
        if self.layers != "auto":
            self.layers = options.listed("layers")
        # Unknown names are found before anything is trained.
        find_groupable_layers(self.model, self.layers, options.listed("exclude"))
        self.epochs = {"weights": 0, "local": 0, "global": 0}
        if dataset is None:
            return
        self.find_task()
        self.recipe_name = options.recipe or default_recipe(options.dataset, self.size)
        self.recipe = RECIPES[self.recipe_name]
        self.epochs = self.make_epochs()
        self.batch_size = options.batch_size or min(
            self.recipe.batch_size, dataset.num_train
        )
        self.strategy.check(self.batch_size, dataset)

    def make_epochs(self) -> dict[str, int]:
        """Epochs of the three kinds of training."""
        options = self.options
        last = _given(options.fine_tune_epochs, self.recipe.epochs)
        local = round(_LOCAL_SHARE * last) or min(last, 1)
        whole = 0 if is_model_file(options.model) else self.recipe.epochs
        return {
            "weights": _given(options.weight_epochs, whole),
            "local": 0 if options.scheme == "global" else _given(
                options.local_epochs, local
            ),
            "global": 0 if options.scheme == "local" else last,
        }  # fmt: skip

    def carry_out(self) -> dict:
        options = self.options
        self.train_weights()
        before = self.measure(self.model, "of the whole network")
        result = group_and_fine_tune(
            self.model,
            self.fine_tune,
            options.conv_rate,
            options.dense_rate,
            options.scheme,
            self.epochs["local"],
            self.epochs["global"],
            num_groups=options.num_groups,
            regroup=options.regroup,
            balance=options.balance,
            layers=self.layers,
            exclude=options.listed("exclude"),
            seed=options.seed,
            folder=self.kept,
            after_grouping=self.measure_groups,
            reconstruct=options.reconstruct,
            data=self.plain_images(self.recipe) if options.reconstruct else None,
            after_cut=self.measure_cut,
        )
        report = result.report
        for text in report.warnings:
            self.log(f"Warning: {text}.")
        after = self.measure(result.model, "of the masked network")
        metrics = {}
        if before:
            grouped = [x for x in result.steps if x.groups][-1]
            metrics = {
                "accuracy_before": before["accuracy"],
                "accuracy_grouped": self.measured(grouped.name, "accuracy_grouped"),
                "accuracy": after["accuracy"],
                "loss": after["loss"],
                "recipe": self.recipe_name,
                "batch_size": self.batch_size,
                "image_size": self.size,
            }
            if options.reconstruct:
                metrics["accuracy_cut"] = self.measured(grouped.name, "accuracy_cut")
        rows, marks, steps = self.training_rows(result.steps)
        whole = published_counts(self.model)
        metrics |= {
            "published_params_before": whole.params,
            "published_params": report.published_params,
            "published_macs_before": whole.macs,
            "published_macs": report.published_macs,
            "masked_layers": len(report.layers),
            "epochs": self.epochs,
            "steps": steps,
        }
        packing, latency = self.pack(result.model)
        draw_in_run(plot_group_sizes, report, self.folder / "groups.png")
        report = dataclasses.replace(report, latency=latency)
        return self.write_smaller(result.model, report, metrics | packing, rows, marks)

    def check_goal(self) -> None:
        """The last rates, where something would be lost before they are tried."""
        options = self.options
        if not (self.epochs[_WEIGHTS] or options.overwrite):
            return  # `group_and_fine_tune` looks at them first of all
        self_group(
            self.model,
            options.conv_rate,
            options.dense_rate,
            num_groups=options.num_groups,
            regroup=options.regroup,
            balance=options.balance,
            layers=self.layers,
            exclude=options.listed("exclude"),
            seed=options.seed,
        )

    def train_weights(self) -> None:
        """The training of the whole network, or its result."""
        epochs, stage = self.epochs[_WEIGHTS], self.kept.stage(_WEIGHTS)
        if not epochs:
            return
        if not stage.is_finished:
            self.log(f"Training the whole network, epochs: {epochs}.")
            if is_model_file(self.options.model):  # it was trained before
                self.fit(self.model, epochs, _WEIGHTS)
            else:
                rate = self.recipe.learning_rate
                self.fit(self.model, epochs, _WEIGHTS, rate, "sgd")
            stage.finish_with(self.model)
        self.model = stage.model()

    def fine_tune(self, model, epochs, name) -> None:
        """The training of one step."""
        self.log(f"Training on, {name}, epochs: {epochs}.")
        teacher = self.distillation(self.model, self.recipe)
        self.fit(model, epochs, name, distill=teacher)
        last = self.history(name)[-1]
        self.log(f"Test accuracy, {name}: {last['val_accuracy']:.2%}.")

    def fit(self, model, epochs, name, rate=None, optimizer=None, distill=None) -> None:
        """`fine_tune_classifier` in a stage of the run."""
        fine_tune_classifier(
            model,
            self.dataset,
            self.size,
            self.recipe,
            epochs,
            self.kept.stage(name),
            batch_size=self.batch_size,
            learning_rate=rate or self.options.learning_rate,
            # Every training has an order of its own.
            seed=(self.options.seed + zlib.crc32(name.encode())) % 2**31,
            task=self.find_task(),
            optimizer=optimizer or self.options.optimizer,
            distill=distill,
        )

    def measure_groups(self, model: keras.Model, step: GroupingStep) -> None:
        """The accuracy before the training of a step, kept for a resumed run."""
        name = f"{step.name}: convolutions {step.conv_rate:.0%}, dense layers "
        self.log(f"Grouped, {name}{step.dense_rate:.0%}.")
        measured = self.measure(model, "with these groups, not trained on")
        if measured:
            self.kept.stage(step.name).note(accuracy_grouped=measured["accuracy"])

    def measure_cut(self, model: keras.Model, step: GroupingStep) -> None:
        """The accuracy of a step before its filters are fitted, kept likewise."""
        measured = self.measure(model, f"cut only, {step.name}")
        self.kept.stage(step.name).note(accuracy_cut=measured["accuracy"])

    def measured(self, name, what) -> float | None:
        return self.kept.stage(name).fact(what, float)

    def history(self, name) -> list[dict]:
        return read_history(self.kept.work / name / "history.csv")

    def training_rows(self, steps) -> tuple[list[dict], dict[int, str], list[dict]]:
        """Rows of history.csv, marks of curves.png, and a row per step."""
        rows, marks, found = [], {}, []
        trainings = [_WEIGHTS, *(step.name for step in steps)]
        for number, name in enumerate(trainings):
            history = self.history(name)
            if history:
                marks[len(rows) + 1] = name.replace("local_", "")
            for row in history:
                rows.append({"training": number, **row, "epoch": len(rows) + 1})
            if not number:
                continue
            step = dataclasses.asdict(steps[number - 1])
            for what in ("accuracy_cut", "accuracy_grouped"):
                if (measured := self.measured(name, what)) is not None:
                    step[what] = measured
            if history:
                step["accuracy"] = history[-1]["val_accuracy"]
            found.append(step)
        return rows, marks, found

    def pack(self, masked) -> tuple[dict, dict | None]:
        """Writes the packed model; returns its metrics and its latency."""
        options = self.options
        if options.form == "none":
            return {}, None
        self.log(f"Packing, form {options.form}.")
        masked = copy_without_optimizer(masked)
        batch_size = options.latency_batch_size
        result = pack(masked, options.form, batch_size=batch_size, log=self.log)
        comparison = compare_latency(
            {"before": self.model, "packed": result.model}, batch_size=batch_size
        )
        measured = self.measure(result.model, "of the packed network")
        metrics = {
            "params_packed": result.report.params_after,
            "macs_packed": result.report.macs_after,
            "packed_difference": _difference(masked, result.model),
            "forms": _counts(row.form for row in result.report.layers),
        }
        if measured:
            metrics["accuracy_packed"] = measured["accuracy"]
        result.report.save(self.folder)
        save_model(copy_without_optimizer(result.model), self.folder / "packed.keras")
        return metrics, comparison.change()


def _difference(masked, packed) -> float:
    """The largest difference of the outputs for random images."""
    generator = np.random.default_rng(0)
    sides = [side or 64 for side in masked.input_shape[1:]]
    images = generator.uniform(0, 255, (4, *sides)).astype("float32")
    one, two = (np.asarray(m.predict(images, verbose=0)) for m in (masked, packed))
    return float(np.abs(one - two).max())


def _counts(names) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


def _given(value, default):
    return default if value is None else value
