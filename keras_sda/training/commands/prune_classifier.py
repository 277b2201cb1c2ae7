"""Prunes a saved classifier, trains it on and writes everything to a folder."""

import json
from collections.abc import Callable

import keras
from absl import logging

from keras_sda.data.streams.training_stream import training_stream
from keras_sda.graph import ChannelGraph, expand_known_blocks
from keras_sda.pruning import PruningPlan, make_plan, prune
from keras_sda.pruning.check_reachable import check_reachable
from keras_sda.runs.best_weights import copy_without_optimizer
from keras_sda.training.commands.compression_run import CompressionRun
from keras_sda.training.commands.evaluate_classifier import check_classifier
from keras_sda.training.commands.fine_tune_classifier import fine_tune_classifier
from keras_sda.training.options.prune_options import PruneOptions
from keras_sda.training.recipes.recipes import RECIPES, default_recipe
from keras_sda.utils import InvalidInputError, atomic_write, load_model, save_model
from keras_sda.utils.files.read_json import read_json

# What is known of a step, where there is a dataset and where it was trained.
_STEP = {
    "params": int,
    "accuracy": float,
    "accuracy_pruned": float,
    "loss": float,
    "history": list[dict[str, float]],
}
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
    `curves.png`. `labels.txt` is that beside the model, or of the dataset.

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
    return _PruneRun(options, log).run()


class _PruneRun(CompressionRun):
    """One run: the model, its data and what is known so far."""

    def prepare(self):
        options = self.options
        self.step = 0
        self.steps: list[dict] = []
        self.model = load_model(options.model)
        self.plan = PruningPlan.load(options.plan) if options.plan else None
        if self.dataset is None:
            return
        self.size = check_classifier(self.model, options.model, self.dataset)
        self.recipe_name = options.recipe or default_recipe(options.dataset, self.size)
        self.recipe = RECIPES[self.recipe_name]

    def check_goal(self) -> None:
        options = self.options
        if self.plan is not None:
            self.plan.classes(ChannelGraph(expand_known_blocks(self.model)))
            return
        latency = options.latency
        if options.steps == 1 and not options.overwrite:
            # It takes a minute to look, and nothing is lost where it fails.
            latency = None
        targets = {"macs": options.macs, "params": options.params, "latency": latency}
        if any(value is not None for value in targets.values()):
            check_reachable(
                self.model,
                importance=options.importance,
                batch_size=options.latency_batch_size,
                **targets,
                **self.constraints(),
            )

    def constraints(self) -> dict:
        options = self.options
        return {
            "scope": options.scope,
            "round_to": options.round_to,
            "min_channels": options.min_channels,
            "exclude": [name.strip() for name in options.exclude.split(",") if name],
            "seed": options.seed,
        }

    def carry_out(self) -> dict:
        options = self.options
        before = self.measure(self.model, "before pruning")
        data, loss = None, None
        if options.needs_data:
            data = self.importance_data()
            loss = self.head.loss()
        result = prune(
            self.model,
            macs=options.macs,
            params=options.params,
            latency=options.latency,
            importance=options.importance,
            **self.constraints(),
            data=data,
            loss=loss,
            batch_size=options.latency_batch_size,
            steps=options.steps,
            fine_tune=self.finish_step,
            fine_tune_last=True,
            report_latency=options.report_latency,
            planner=self.make_plan,
        )
        return self.write_result(result, before)

    def make_plan(self, model, **arguments) -> PruningPlan:
        """Makes the plan of the next step, or reads the one of an interrupted run."""
        self.step += 1
        path = self.backup / f"plan{self.step}.json"
        if path.is_file():
            return PruningPlan.load(path)
        # What is left of the training after the step before belongs to that.
        self.forget_training()
        plan = self.plan or make_plan(model, **arguments)
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
            again = "Start the run again, with `overwrite` (--overwrite)."
            row = read_json(done, dict, again, "output", _STEP)
            if row.get("step") != self.step or "history" not in row:
                raise InvalidInputError(f"File {done} is damaged. {again}")
            self.steps.append(row)
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
                activation=self.activation,
            )
            last = row["history"][-1]
            row |= {"accuracy": last["val_accuracy"], "loss": last["val_loss"]}
            self.log(
                f"Test accuracy after fine-tuning, step {self.step}: "
                f"{row['accuracy']:.2%}."
            )
        model = copy_without_optimizer(model)
        save_model(model, saved)
        with atomic_write(done) as temporary:
            temporary.write_text(json.dumps(row))
        self.steps.append(row)
        return model

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

    def write_result(self, result, before) -> dict:
        last, metrics = self.steps[-1], {}
        if before:
            metrics["accuracy_before"] = before["accuracy"]
            metrics["accuracy_pruned"] = last["accuracy_pruned"]
            metrics["accuracy"] = last["accuracy"]
            metrics["loss"] = last["loss"]
            metrics["recipe"] = self.recipe_name
        metrics["fine_tune_epochs"] = self.options.fine_tune_epochs
        metrics["steps"] = [
            {key: value for key, value in row.items() if key != "history"}
            for row in self.steps
        ]
        rows = [
            {"step": step["step"], **row} for step in self.steps
            for row in step["history"]
        ]  # fmt: skip
        rows = [{**row, "epoch": n} for n, row in enumerate(rows, 1)]
        result.plan.save(self.folder / "plan.json")
        return self.write(result.model, result.report, metrics, rows)
