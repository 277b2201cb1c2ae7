"""Prunes a saved classifier, trains it on and writes everything to a folder."""

import contextlib
import csv
import dataclasses
import functools
import json
import pathlib
import shutil
from collections.abc import Callable

import keras
from absl import logging

from keras_sda.analysis.inference_step import device_name, versions
from keras_sda.pruning import PruningPlan, make_plan, prune
from keras_sda.training.best_weights import copy_without_optimizer
from keras_sda.training.draw_curves import draw_curves
from keras_sda.training.evaluate_classifier import check_classifier
from keras_sda.training.fine_tune_classifier import (
    classification_loss,
    fine_tune_classifier,
    measure_accuracy,
)
from keras_sda.training.history_file import read_history
from keras_sda.training.image_dataset import ImageDataset
from keras_sda.training.load_image_dataset import load_image_dataset
from keras_sda.training.make_deterministic import make_deterministic
from keras_sda.training.output_folder import check_output, claim_output
from keras_sda.training.prune_options import PruneOptions, read_prune_run
from keras_sda.training.recipes import RECIPES, default_recipe
from keras_sda.training.space_guard import check_free_space
from keras_sda.training.train_options import TrainOptions
from keras_sda.training.training_stream import training_stream
from keras_sda.utils import InvalidInputError, atomic_write, load_model

# What this run writes beside the files that a training run may have.
_OWN = ("plan.json", "report.json", "report.csv", "report.md", "report.png")
_BACKUP = ("latest.weights.h5", "latest.weights.h5.bkp", "training_metadata.json")


def prune_classifier(
    options: PruneOptions, log: Callable[[str], None] = logging.info
) -> dict:
    """Prunes a classifier, fine-tunes it and writes the results to a folder.

    Use it through `keras-sda prune` or directly. A run that was killed continues with
    `resume=True`: plans that were made are replayed, and fine-tuning goes on after its
    last finished epoch.

    The folder `options.output` then holds `model.keras` (the small model, no
    optimizer), `plan.json`, `report.json`, `report.csv`, `report.md`, `report.png`,
    `metrics.json`, `options.json`, and after fine-tuning `history.csv` and
    `curves.png`. Where the model has a `labels.txt` beside it, that is copied.

    Args:
        options: What to prune, how far and where to.
        log: Called with short messages on the course of the run.

    Returns:
        The contents of `metrics.json`: parameters and MACs before and after and, where
        a dataset is given, the test accuracy before, after the last pruning step
        (`accuracy_pruned`) and at the end.

    Raises:
        InvalidInputError: An option, the model, the plan, the data or the folder
            cannot be used, or a target cannot be reached.
        OSError: The folder cannot be written or the disk is full.

    Example:

    ```python
    from keras_sda.training import PruneOptions, prune_classifier

    options = PruneOptions(model="runs/digits/model.keras", macs=0.5, dataset="digits",
                           fine_tune_epochs=3, output="runs/digits_small")
    print(prune_classifier(options)["accuracy"])
    ```
    """
    folder = _check_folder(options)
    if options.resume and (folder / "metrics.json").is_file():
        log(f"The run in {folder} is complete; nothing to resume.")
        return json.loads((folder / "metrics.json").read_text())
    make_deterministic(TrainOptions(), log)
    keras.utils.set_random_seed(options.seed)
    model = load_model(options.model)
    plan = PruningPlan.load(options.plan) if options.plan else None
    run = _Run(options, model, folder, log)
    check_free_space(folder, model)
    with _claimed(folder, options):
        return run.carry_out(plan)


class _Run:
    """One run: the model, its data and what is known so far."""

    def __init__(self, options, model, folder, log):
        self.options, self.model, self.folder, self.log = options, model, folder, log
        self.backup = folder / "backup"
        self.dataset: ImageDataset | None = None
        self.step = 0
        self.steps: list[dict] = []
        if options.dataset is None:
            return
        self.dataset = load_image_dataset(
            options.dataset,
            data_dir=options.data_dir,
            download=options.download,
            strict=options.strict,
            max_train_examples=options.max_train_examples,
        )
        self.size = check_classifier(model, options.model, self.dataset)
        self.recipe_name = options.recipe or default_recipe(options.dataset, self.size)
        self.recipe = RECIPES[self.recipe_name]

    def carry_out(self, plan) -> dict:
        options = self.options
        before = self.measure(self.model, "before pruning")
        data, loss = None, None
        if options.needs_data:
            data = self.importance_data()
            loss = classification_loss(self.model, self.dataset, self.size)
        result = prune(
            self.model,
            macs=options.macs,
            params=options.params,
            latency=options.latency,
            importance=options.importance,
            scope=options.scope,
            round_to=options.round_to,
            min_channels=options.min_channels,
            exclude=[name.strip() for name in options.exclude.split(",") if name],
            data=data,
            loss=loss,
            seed=options.seed,
            batch_size=options.latency_batch_size,
            steps=options.steps,
            fine_tune=self.finish_step,
            fine_tune_last=True,
            report_latency=options.report_latency,
            planner=functools.partial(self.make_plan, plan),
        )
        return self.write(result, before)

    def make_plan(self, plan, model, **arguments) -> PruningPlan:
        """Makes the plan of the next step, or reads the one of an interrupted run."""
        self.step += 1
        path = self.backup / f"plan{self.step}.json"
        if path.is_file():
            return PruningPlan.load(path)
        # What is left of the training after the step before belongs to that.
        self.forget_training()
        plan = plan or make_plan(model, **arguments)
        plan.save(path)
        expected = plan.expected
        if expected:
            self.log(
                f"Step {self.step} of {self.options.steps}: MACs "
                f"{expected['macs_before']:,} -> {expected['macs']:,}, parameters "
                f"{expected['params_before']:,} -> {expected['params']:,}."
            )
        return plan

    def finish_step(self, model) -> keras.Model:
        """Trains the model of this step, or loads it where that is done."""
        done = self.backup / f"step{self.step}.json"
        saved = self.backup / f"step{self.step}.keras"
        if done.is_file() and saved.is_file():
            self.steps.append(json.loads(done.read_text()))
            return load_model(saved)
        row = {"step": self.step, "params": model.count_params()}
        measured = self.measure(model, f"after pruning, step {self.step}")
        if measured:
            row["accuracy_pruned"] = row["accuracy"] = measured["accuracy"]
            row["loss"] = measured["loss"]
        row["history"] = []
        if self.options.fine_tune_epochs:
            row["history"] = fine_tune_classifier(
                model,
                self.dataset,
                self.size,
                self.recipe,
                self.options.fine_tune_epochs,
                self.backup,
                batch_size=self.options.batch_size,
                learning_rate=self.options.learning_rate,
                seed=self.options.seed,
            )
            last = row["history"][-1]
            row |= {"accuracy": last["val_accuracy"], "loss": last["val_loss"]}
            self.log(
                f"Test accuracy after fine-tuning, step {self.step}: "
                f"{row['accuracy']:.2%}."
            )
        model = copy_without_optimizer(model)
        with atomic_write(saved) as temporary:
            model.save(temporary)
        with atomic_write(done) as temporary:
            temporary.write_text(json.dumps(row))
        self.steps.append(row)
        return model

    def measure(self, model, when) -> dict:
        if self.dataset is None:
            return {}
        result = measure_accuracy(model, self.dataset, self.size)
        self.log(f"Test accuracy {when}: {result['accuracy']:.2%}.")
        return result

    def importance_data(self):
        count = min(self.options.importance_examples, self.dataset.num_train)
        batch_size = min(32, count)
        stream = training_stream(
            self.dataset,
            self.recipe,
            self.size,
            batch_size,
            epochs=1,
            seed=self.options.seed,
            augmentation="none",
        )
        return stream.take(-(-count // batch_size))

    def forget_training(self):
        for name in (*_BACKUP, "history.csv"):
            (self.backup / name).unlink(missing_ok=True)

    def write(self, result, before) -> dict:
        options, report = self.options, result.report
        last = self.steps[-1]
        metrics = {"model": options.model, "dataset": options.dataset}
        if before:
            metrics["accuracy_before"] = before["accuracy"]
            metrics["accuracy_pruned"] = last["accuracy_pruned"]
            metrics["accuracy"] = last["accuracy"]
            metrics["loss"] = last["loss"]
            metrics["num_test"] = self.dataset.num_test
            metrics["num_train"] = self.dataset.num_train
            metrics["recipe"] = self.recipe_name
        metrics |= {
            "params_before": report.params_before,
            "params": report.params_after,
            "macs_before": report.macs_before,
            "macs": report.macs_after,
            "latency": report.latency,
            "fine_tune_epochs": options.fine_tune_epochs,
            "steps": [
                {key: value for key, value in row.items() if key != "history"}
                for row in self.steps
            ],
            "device": device_name(),
            "versions": versions(),
            "options": dataclasses.asdict(options),
        }
        rows, epochs = [], 0
        for step in self.steps:
            for row in step["history"]:
                shifted = {"epoch": row["epoch"] + epochs}
                rows.append({"step": step["step"], **row, **shifted})
            epochs += len(step["history"])
        if rows:
            _write_rows(self.folder / "history.csv", rows)
            title = f"fine-tuning on {options.dataset}: {metrics['accuracy']:.2%}"
            draw_curves(
                read_history(self.folder / "history.csv"),
                self.folder / "curves.png",
                title,
            )
        result.plan.save(self.folder / "plan.json")
        report.save(self.folder)
        labels = pathlib.Path(options.model).with_name("labels.txt")
        if labels.is_file():
            with atomic_write(self.folder / "labels.txt") as temporary:
                shutil.copyfile(labels, temporary)
        with atomic_write(self.folder / "model.keras") as temporary:
            result.model.save(temporary)
        with atomic_write(self.folder / "metrics.json") as temporary:
            temporary.write_text(json.dumps(metrics, indent=2) + "\n")
        shutil.rmtree(self.backup, ignore_errors=True)
        return metrics


def _check_folder(options) -> pathlib.Path:
    folder = pathlib.Path(options.output)
    if options.resume:
        read_prune_run(folder)
    model = pathlib.Path(options.model)
    if model.is_file() and folder.resolve() in model.resolve().parents:
        raise InvalidInputError(
            f"`output` {folder} holds the model to prune, {model}. Name another folder."
        )
    return check_output(options)


@contextlib.contextmanager
def _claimed(folder, options):
    """`claim_output`, for the files as well that only pruning writes."""
    if options.overwrite:
        _delete(folder)
    with claim_output(folder, options):
        try:
            yield
        except Exception:
            if not any((folder / "backup").glob("*.weights.h5*")):
                _delete(folder)
            raise


def _delete(folder):
    for name in _OWN:
        (folder / name).unlink(missing_ok=True)


def _write_rows(path, rows):
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
