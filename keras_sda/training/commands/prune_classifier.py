"""Prunes a saved classifier, trains it on and writes everything to a folder."""

from collections.abc import Callable

from absl import logging

from keras_sda.analysis import LatencyTable
from keras_sda.pruning import PruningPlan, make_plan, prune, shrink
from keras_sda.pruning.blocks.choose_blocks import decided_by_loss
from keras_sda.pruning.check_reachable import check_reachable
from keras_sda.pruning.default_importance import WITHOUT_DATA
from keras_sda.runs.history_file import read_history
from keras_sda.tasks import Classification
from keras_sda.training.commands.classifier_run import ClassifierRun
from keras_sda.training.commands.fine_tune_classifier import fine_tune_classifier
from keras_sda.training.options.prune_options import PruneOptions
from keras_sda.training.recipes.recipes import RECIPES, default_recipe
from keras_sda.utils import load_model

# What is known of a step, where there is a dataset and where it was trained.
_FACTS = {
    "params": int,
    "accuracy": float,
    "accuracy_cut": float,
    "accuracy_pruned": float,
    "loss": float,
}


def prune_classifier(
    options: PruneOptions, log: Callable[[str], None] = logging.info
) -> dict:
    """Prunes a classifier, fine-tunes it and writes the results to a folder.

    Use it through `keras-sda prune` or directly. A run that was killed continues with
    `resume=True`: plans that were made are replayed, and fine-tuning goes on after its
    last finished epoch.

    The folder `options.output` then holds `model.keras` (the small model, no
    optimizer), `plan.json`, `report.json`, `report.csv`, `report.md`, `report.png`,
    `metrics.json`, `run.json`, and after fine-tuning `history.csv` and
    `curves.png`. `labels.txt` is that beside the model, or of the dataset.

    Args:
        options: What to prune, how far and where to.
        log: Called with short messages on the course of the run.

    Returns:
        The contents of `metrics.json`: parameters and MACs before and after and, where
        a dataset is given, the test accuracy before, after the last pruning step
        (`accuracy_pruned`) and at the end; with `reconstruct` also before the kernels
        of that step were fitted (`accuracy_cut`).

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


class _PruneRun(ClassifierRun):
    """One run: the model, its data and what is known so far."""

    def prepare(self):
        options = self.options
        self.model = load_model(options.model)
        self.plan = PruningPlan.load(options.plan) if options.plan else None
        path = options.latency_table
        self.latency_table = LatencyTable.load(path) if path else None
        if self.dataset is None:
            return
        self.size = Classification.check_model(self.model, options.model, self.dataset)
        self.recipe_name = options.recipe or default_recipe(options.dataset, self.size)
        self.recipe = RECIPES[self.recipe_name]
        self.find_task()

    def check_goal(self) -> None:
        options = self.options
        if self.plan is not None:
            self.plan.applied(self.model)
            return
        latency, blocks = options.latency, options.chosen_blocks
        is_quick = options.steps == 1 and not options.overwrite
        if self.latency_table is None and (is_quick or decided_by_loss(blocks)):
            # It takes a minute to look, and nothing is lost where it fails; and what
            # is left without blocks that the loss has not chosen yet, nobody knows.
            latency = None
        targets = {"macs": options.macs, "params": options.params, "latency": latency}
        if any(value is not None for value in targets.values()) or blocks:
            check_reachable(
                self.model,
                blocks=blocks,
                importance=options.importance,
                batch_size=options.latency_batch_size,
                latency_table=self.latency_table,
                **targets,
                **self.constraints(),
            )

    def constraints(self) -> dict:
        options = self.options
        return {
            "scope": options.scope,
            "floor": options.floor,
            "max_evaluations": options.max_evaluations,
            "round_to": options.round_to,
            "min_channels": options.min_channels,
            "exclude": options.listed("exclude"),
            "seed": options.seed,
        }

    def carry_out(self) -> dict:
        options = self.options
        before = self.measure(self.model, "before pruning")
        data, loss = None, None
        by_default = options.importance is None and self.plan is None
        if self.dataset is None and by_default:
            self.log(f"{WITHOUT_DATA} Name a dataset (--dataset).")
        if options.needs_data or options.fits_kernels:
            data = self.plain_images(self.recipe, options.importance_examples)
        if options.needs_data:
            loss = self.find_task().loss()
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
            blocks=options.chosen_blocks,
            planner=self.make_plan,
            folder=self.kept,
            latency_table=self.latency_table,
            reconstruct=options.fits_kernels,
        )
        return self.write_result(result, before)

    def make_plan(self, model, **arguments) -> PruningPlan:
        """Makes the plan of the next step."""
        plan = self.plan or make_plan(model, **arguments)
        expected = plan.expected
        stages = self.kept.manifest.stages.values()
        number = 1 + sum(stage.finished for stage in stages)
        if expected:
            self.log(
                f"Step {number} of {self.options.steps}: MACs "
                f"{expected['macs_before']:,} -> "
                f"{expected['macs']:,}, parameters {expected['params_before']:,} -> "
                f"{expected['params']:,}."
            )
        if self.options.fits_kernels:
            cut = self.measure(shrink(model, plan), f"cut only, step {number}")
            self.kept.stage(f"step{number}").note(accuracy_cut=cut["accuracy"])
        return plan

    def finish_step(self, model, name) -> None:
        """Measures the model of a step and trains it on."""
        stage, number = self.kept.stage(name), name.removeprefix("step")
        facts = {"params": model.count_params()}
        measured = self.measure(model, f"after pruning, step {number}")
        if measured:
            facts["accuracy_pruned"] = facts["accuracy"] = measured["accuracy"]
            facts["loss"] = measured["loss"]
        if self.options.fine_tune_epochs:
            history = fine_tune_classifier(
                model,
                self.dataset,
                self.size,
                self.recipe,
                self.options.fine_tune_epochs,
                stage,
                batch_size=self.options.batch_size,
                learning_rate=self.options.learning_rate,
                seed=self.options.seed,
                task=self.find_task(),
                optimizer=self.options.optimizer,
                distill=self.distillation(self.model, self.recipe),
            )
            last = history[-1]
            facts |= {"accuracy": last["val_accuracy"], "loss": last["val_loss"]}
            self.log(
                f"Test accuracy after fine-tuning, step {number}: "
                f"{facts['accuracy']:.2%}."
            )
        stage.note(**facts)

    def step_row(self, number) -> dict:
        """What is known of a step."""
        stage = self.kept.stage(f"step{number}")
        found = {name: stage.fact(name, kind) for name, kind in _FACTS.items()}
        known = {name: value for name, value in found.items() if value is not None}
        return {"step": number, **known}

    def write_result(self, result, before) -> dict:
        steps = [self.step_row(n) for n in range(1, self.options.steps + 1)]
        metrics = {"fine_tune_epochs": self.options.fine_tune_epochs, "steps": steps}
        if before:
            metrics["accuracy_before"] = before["accuracy"]
            for name in ("accuracy_pruned", "accuracy", "loss"):
                metrics[name] = steps[-1].get(name)
            if "accuracy_cut" in steps[-1]:
                metrics["accuracy_cut"] = steps[-1]["accuracy_cut"]
            metrics["recipe"] = self.recipe_name
        rows = [
            {"step": row["step"], **epoch}
            for row in steps
            for epoch in read_history(
                self.kept.work / f"step{row['step']}" / "history.csv"
            )
        ]
        rows = [{**row, "epoch": n} for n, row in enumerate(rows, 1)]
        result.plan.save(self.folder / "plan.json")
        return self.write_smaller(result.model, result.report, metrics, rows)
