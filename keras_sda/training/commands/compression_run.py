"""What every command that makes a classifier smaller does around its own work."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from absl import logging

from keras_sda.analysis.latency.inference_step import device_name, versions
from keras_sda.data.images.load_image_dataset import load_image_dataset
from keras_sda.graph import Head, find_head
from keras_sda.runs.best_weights import copy_without_optimizer
from keras_sda.runs.history_file import read_history
from keras_sda.runs.output_folder import check_output, claim_output, read_run
from keras_sda.runs.read_metrics import read_metrics
from keras_sda.runs.report import Report
from keras_sda.runs.run_inputs import check_same_inputs, run_inputs
from keras_sda.runs.space_guard import check_free_space
from keras_sda.training.commands.draw_curves import draw_curves
from keras_sda.training.commands.fine_tune_classifier import measure_accuracy
from keras_sda.training.options.run_options import RunOptions
from keras_sda.training.strategies.make_deterministic import make_deterministic
from keras_sda.training.strategies.make_strategy import make_strategy
from keras_sda.utils import atomic_write, save_model
from keras_sda.utils.draw_in_run import draw_in_run
from keras_sda.utils.files.csv_rows import write_rows


class CompressionRun:
    """One run from a classifier to a smaller one, in a folder.

    Use it as the base of a command. A subclass writes `prepare`, which makes
    `self.model` and checks whatever can be checked before anything is written, and
    `carry_out`, which ends with `self.write`. `run` does the rest: folder, repeatable
    results, devices, data.

    Args:
        options: The options of the command.
        log: Called with short messages. Defaults to `absl.logging.info`.

    Attributes:
        folder: `options.output`.
        backup: Folder for what a killed run needs; it goes when the run is complete.
        strategy: Where the model is built and trained.
        dataset: The images, or None where the options name none.
        model: The model before.
        size: Height and width of the images that it takes.
        head: What its outputs mean, and those of all that is made from it; None
            without a dataset.

    Example:

    ```python
    class Halve(CompressionRun):
        def prepare(self):
            self.model = load_model(self.options.model)
            self.size = check_classifier(self.model, self.options.model, self.dataset)

        def carry_out(self):
            before = self.measure(self.model, "before")
            result = prune(self.model, macs=0.5)
            return self.write(result.model, result.report, {"before": before})

    metrics = Halve(options).run()
    ```
    """

    options: Any  # those of the command, a `RunOptions`

    def __init__(self, options: RunOptions, log: Callable[[str], None] = logging.info):
        self.options, self.log = options, log
        self.folder = pathlib.Path(options.output)
        self.backup = self.folder / "backup"
        # What `run` finds; `dataset` and `head` stay None without a dataset.
        self.strategy: Any = None
        self.dataset: Any = None
        self.model: Any = None
        self.size = 0
        self.head: Any = None

    def prepare(self) -> None:
        """Makes `self.model` and `self.size`; writes nothing."""
        raise TypeError(f"{type(self).__name__} must define `prepare`.")

    def check_goal(self) -> None:
        """Raises where the goal cannot be reached; a new run asks before it writes."""

    def carry_out(self) -> dict:
        """Does the work and returns what `self.write` returned."""
        raise TypeError(f"{type(self).__name__} must define `carry_out`.")

    def run(self) -> dict:
        """Everything; returns the contents of metrics.json.

        Raises:
            InvalidInputError: An option, the model, the data or the folder cannot be
                used.
            OSError: The folder cannot be written or the disk is full.
        """
        options, folder = self.options, self.folder
        check_output(options)
        if options.resume and (folder / "metrics.json").is_file():
            self.log(f"The run in {folder} is complete; nothing to resume.")
            metrics = read_metrics(folder, options.command)
            shutil.rmtree(self.backup, ignore_errors=True)  # a kill may have left it
            return metrics
        # Before the files are read.
        inputs = run_inputs(options)
        make_deterministic(options, self.log)
        self.strategy = make_strategy(options.strategy, options.virtual_devices)
        if options.dataset is not None:
            self.dataset = load_image_dataset(
                options.dataset,
                data_dir=options.data_dir,
                download=options.download,
                strict=options.strict,
                max_train_examples=options.max_train_examples,
                split=options.split,
            )
        inputs |= run_inputs(None, self.dataset)
        if options.resume:
            # Before the model is found to be unfit for what it never was meant for.
            check_same_inputs(read_run(folder), inputs, options, folder)
        with self.strategy.scope():
            keras.utils.set_random_seed(options.seed)
            self.prepare()
            if self.dataset is not None:
                self.find_head()
            if not options.resume:
                self.check_goal()
        check_free_space(folder, self.model)
        with claim_output(folder, options, inputs), self.strategy.scope():
            return self.carry_out()

    def find_head(self) -> Head:
        """What the outputs mean, asked before the first compilation or surgery.

        Raises:
            InvalidInputError: It cannot be known.
        """
        if self.head is None:
            given = getattr(self.options, "activation", None)
            self.head = find_head(self.model, given, exclusive=True)
        return self.head

    @property
    def activation(self) -> str:
        """The same for `measure_accuracy` and `fine_tune_classifier`."""
        head = self.find_head()
        return head.kind if head.from_logits else "none"

    def measure(self, model: keras.Model, when: str) -> dict:
        """Accuracy and loss on the test images; `{}` without a dataset.

        Args:
            model: A classifier. It is compiled.
            when: For the log, such as `"before pruning"`.
        """
        if self.dataset is None:
            return {}
        result = measure_accuracy(
            model, self.dataset, self.size, activation=self.activation
        )
        self.log(f"Test accuracy {when}: {result['accuracy']:.2%}.")
        return result

    def write(
        self,
        model: keras.Model,
        report: Report,
        metrics: Mapping,
        rows: Sequence[Mapping] = (),
        marks: Mapping[int, str] | None = None,
    ) -> dict:
        """Writes the results and removes the backup.

        Args:
            model: The small model.
            report: Layers, parameters and multiply-accumulates before and after.
            metrics: What the command itself has measured.
            rows: Rows of history.csv, `epoch` counted through. Defaults to none.
            marks: For curves.png, see `draw_curves`. Defaults to none.

        Returns:
            The contents of metrics.json.
        """
        options = self.options
        metrics = {"model": options.model, "dataset": options.dataset, **metrics}
        if self.dataset is not None:
            metrics["num_test"] = self.dataset.num_test
            metrics["num_train"] = self.dataset.num_train
        metrics |= {
            "params_before": report.params_before,
            "params": report.params_after,
            "macs_before": report.macs_before,
            "macs": report.macs_after,
            "latency": report.latency,
            "device": device_name(),
            "versions": versions(),
            "options": dataclasses.asdict(options),
        }
        if rows:
            write_rows(rows, self.folder / "history.csv")
            title = f"{options.command} on {options.dataset}"
            if "accuracy" in metrics:
                title += f": {metrics['accuracy']:.2%}"
            history = read_history(self.folder / "history.csv")
            path = self.folder / "curves.png"
            draw_in_run(draw_curves, history, path, title, marks)
        report.save(self.folder)
        self._write_labels()
        save_model(copy_without_optimizer(model), self.folder / "model.keras")
        with atomic_write(self.folder / "metrics.json") as temporary:
            temporary.write_text(json.dumps(metrics, indent=2) + "\n")
        shutil.rmtree(self.backup, ignore_errors=True)
        return metrics

    def _write_labels(self):
        """Those beside the model, else those of the dataset."""
        labels = pathlib.Path(self.options.model).with_name("labels.txt")
        path = self.folder / "labels.txt"
        if pathlib.Path(self.options.model).is_file() and labels.is_file():
            with atomic_write(path) as temporary:
                shutil.copyfile(labels, temporary)
        elif self.dataset is not None:
            with atomic_write(path) as temporary:
                temporary.write_text("\n".join(self.dataset.class_names) + "\n")
