"""Searches the widths of a classifier and writes everything to a folder."""

import dataclasses
import pathlib
import shutil
from collections.abc import Callable

from absl import logging

from keras_sda.data.images.reading_errors import reading_errors
from keras_sda.data.streams.training_stream import steps_per_epoch
from keras_sda.runs.best_weights import copy_without_optimizer
from keras_sda.runs.history_file import HistoryFile, read_history
from keras_sda.runs.part_in_use import PartInUse
from keras_sda.runs.space_guard import SpaceGuard
from keras_sda.search import ChannelSearch, add_channel_gates
from keras_sda.search.search_options import check_budget
from keras_sda.training.commands.classifier_run import ClassifierRun
from keras_sda.training.commands.open_classifier import open_classifier
from keras_sda.training.options.search_plan import make_search_plan
from keras_sda.training.options.search_run_options import SearchOptions
from keras_sda.utils import save_model
from keras_sda.utils.draw_in_run import draw_in_run
from keras_sda.utils.files.csv_rows import write_rows
from keras_sda.utils.files.load_model import is_model_file

_TITLES = {
    "weights": "weights",
    "architecture": "architecture",
    "fine_tune": "fine-tuning",
}


def search_classifier(
    options: SearchOptions, log: Callable[[str], None] = logging.info
) -> dict:
    """Learns the widths of a classifier, derives the small one and fine-tunes it.

    Use it through `keras-sda search` or directly. A run that was killed, in any stage,
    continues with `resume=True` after the last finished epoch and keeps the same
    channels as if it had not been.

    The folder `options.output` then holds `model.keras` (the derived network, no
    optimizer), `gated.keras` (the network with its trained gates, for `search.derive`
    with another threshold), `report.json`, `report.csv`, `report.md`, `report.png`
    (layers before and after), `search.csv` and `gates.csv` (the course of the
    architecture stage), `search.png`, `metrics.json`, `history.csv` and `curves.png`
    (all stages), `run.json`, `labels.txt` and `logs/` for TensorBoard.

    Args:
        options: What to search, how far and where to.
        log: Called with short messages on the course of the run.

    Returns:
        The contents of `metrics.json`: test accuracy of the whole network before the
        gates learn (`accuracy_before`), of the derived one before
        (`accuracy_derived`) and after fine-tuning (`accuracy`), with `reconstruct`
        also before its kernels were fitted (`accuracy_cut`); parameters and MACs before
        and after, seconds per stage.

    Raises:
        InvalidInputError: An option, the model, the data or the folder cannot be used,
            the budget is out of reach, the training diverged or the network would be a
            constant.
        OSError: The folder cannot be written or the disk is full.

    Example:

    ```python
    from keras_sda.training import SearchOptions, search_classifier

    options = SearchOptions(model="runs/digits/model.keras", dataset="digits",
                            target_macs=0.5, output="runs/digits_search")
    print(search_classifier(options)["accuracy"])
    ```

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022).
    """
    return _SearchRun(options, log).run()


class _SearchRun(ClassifierRun):
    """One run of all stages."""

    def prepare(self):
        options, dataset = self.options, self.dataset
        self.model, self.size = open_classifier(
            options.model, dataset, self.strategy, options.image_size
        )
        trained = is_model_file(options.model)
        self.plan = make_search_plan(options, dataset, self.size, trained)
        self.strategy.check(self.plan.batch_size, dataset)
        self.steps = steps_per_epoch(dataset, self.plan.batch_size)
        gated = add_channel_gates(
            self.model,
            exclude=options.listed("exclude"),
            residual="joint" if options.residual == "joint" else "exact",
        )
        task = self.find_task()
        self.search = ChannelSearch(
            gated, self.kept, task.loss(), task.metrics(), seed=options.seed
        )
        check_budget(options.target_macs, self.search.cost)

    def carry_out(self) -> dict:
        options, plan, search = self.options, self.plan, self.search
        if plan.stages["weights"].epochs:
            self.train("weights", search.train_weights)
        whole = self.measure(search.gated, "of the whole network")
        teacher = None
        if plan.stages["fine_tune"].epochs and options.distill != 0:
            # The gates are still bypassed; they learn in place.
            whole_network = copy_without_optimizer(search.gated)
            teacher = self.distillation(whole_network, plan.recipe)
        gates = sum(gate.channels for gate in search.gates)
        self.log(f"{gates} channels have a gate, in {len(search.gates)} layers.")
        self.train(
            "architecture",
            search.learn_architecture,
            lambda_arch=options.lambda_arch,
            target_macs=options.target_macs,
            regularizer=options.regularizer,
            final_beta=plan.final_beta,
        )
        how = (
            plan.threshold,
            "official" if options.residual == "official" else "exact",
            options.max_half_open,
        )
        result, cut = search.derive(*how), {}
        if options.reconstruct:
            measured = self.measure(result.model, "of the derived network, cut only")
            cut = {"accuracy_cut": measured["accuracy"]}
            images = self.plain_images(plan.recipe)
            result = search.derive(*how, reconstruct=True, data=images)
        report = result.report
        self.log(
            f"Derived: MACs {report.macs_before:,} -> {report.macs_after:,}, "
            f"parameters {report.params_before:,} -> {report.params_after:,}."
        )
        derived = last = self.measure(result.model, "of the derived network")
        if plan.stages["fine_tune"].epochs:
            self.train("fine_tune", search.fine_tune, distill=teacher)
            last = self.measure(result.model, "after fine-tuning")
        accuracies = {
            "accuracy_before": whole["accuracy"],
            **cut,
            "accuracy_derived": derived["accuracy"],
            "accuracy": last["accuracy"],
            "loss": last["loss"],
        }
        return self.write_result(result, accuracies)

    def train(self, name, train, **arguments):
        """One stage on the images."""
        plan, dataset, number = self.plan, self.dataset, list(_TITLES).index(name)
        epochs = plan.stages[name].epochs
        self.log(f"Stage {number + 1} of 3, {_TITLES[name]}, epochs: {epochs}.")
        # Every stage has an order of its own.
        seed = (self.options.seed + number) % 2**31
        part, task = PartInUse(), self.find_task()

        def stream(start):
            return task.training_stream(
                dataset, plan.recipe, self.size, plan.batch_size, epochs, seed=seed,
                start_epoch=start,
            )  # fmt: skip

        with reading_errors(dataset.name, lambda: part.name, dataset.folder):
            train(
                stream,
                epochs,
                optimizer=plan.optimizer(name, self.steps),
                batch_size=plan.batch_size,
                steps_per_epoch=self.steps,
                validation_data=task.evaluation_stream(
                    dataset, self.size, plan.batch_size
                ),
                callbacks=[
                    part,
                    SpaceGuard(self.folder),
                    # It drops the rows that are repeated by itself.
                    HistoryFile(self.history(name), epochs),
                ],
                **arguments,
            )

    def history(self, name) -> pathlib.Path:
        return self.kept.work / name / "history.csv"

    def write_result(self, result, accuracies) -> dict:
        search, options = self.search, self.options
        rows, marks, seconds = [], {}, {}
        for number, name in enumerate(_TITLES, 1):
            found = read_history(self.history(name))
            seconds[name] = round(sum(row["seconds"] for row in found), 1)
            if found:
                marks[len(rows) + 1] = _TITLES[name]
            for row in found:
                rows.append({"stage": number, **row, "epoch": len(rows) + 1})
        metrics = {
            **accuracies,
            "seconds": seconds,
            "epochs": {name: x.epochs for name, x in self.plan.stages.items()},
            "channels_before": sum(gate.channels for gate in search.gates),
            "channels": sum(map(len, result.kept.values())),
            "constants": list(result.constants),
            "recipe": self.plan.recipe_name,
            "batch_size": self.plan.batch_size,
            "image_size": self.size,
        }
        names = ("lambda_arch", "target_macs", "regularizer", "residual")
        chosen = {name: getattr(options, name) for name in names}
        settings = {
            **result.report.settings,
            **{name: value for name, value in chosen.items() if value is not None},
            "epochs": " + ".join(str(x.epochs) for x in self.plan.stages.values()),
        }
        report = dataclasses.replace(result.report, settings=settings)
        write_rows(search.log.rows, self.folder / "search.csv")
        write_rows(search.log.gate_rows, self.folder / "gates.csv")
        draw_in_run(search.plot, self.folder / "search.png")
        save_model(copy_without_optimizer(search.gated), self.folder / "gated.keras")
        logs = self.kept.work / "architecture" / "logs"
        if logs.is_dir():
            shutil.copytree(logs, self.folder / "logs", dirs_exist_ok=True)
        return self.write_smaller(result.model, report, metrics, rows, marks)
