"""What every command that makes a classifier does around its own work."""

import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from absl import logging

from keras_sda.analysis.latency.inference_step import device_name, versions
from keras_sda.data.images.load_image_dataset import load_image_dataset
from keras_sda.objectives import Distillation
from keras_sda.runs.best_weights import copy_without_optimizer
from keras_sda.runs.history_file import read_history
from keras_sda.runs.output_folder import (
    check_output,
    claim_output,
    command_run,
    read_run,
)
from keras_sda.runs.read_metrics import read_metrics
from keras_sda.runs.report import Report
from keras_sda.runs.run_inputs import check_same_inputs, run_inputs
from keras_sda.runs.run_metrics import RunMetrics
from keras_sda.runs.space_guard import check_free_space
from keras_sda.tasks import Classification, Task
from keras_sda.training.commands.draw_curves import draw_curves
from keras_sda.training.options.run_options import RunOptions
from keras_sda.training.recipes.recipe import Recipe
from keras_sda.training.strategies.make_deterministic import make_deterministic
from keras_sda.training.strategies.make_strategy import make_strategy
from keras_sda.utils import atomic_write, save_model
from keras_sda.utils.draw_in_run import draw_in_run
from keras_sda.utils.files.csv_rows import write_rows


class ClassifierRun:
    """One run of a command that ends in a classifier, in a folder.

    Use it as the base of a command. A subclass writes `prepare`, which makes
    `self.model` and checks whatever can be checked before anything is written, and
    `carry_out`, which ends with `self.write`. `run` does the rest: folder, repeatable
    results, devices, data.

    Args:
        options: The options of the command.
        log: Called with short messages. Defaults to `absl.logging.info`.

    Attributes:
        folder: `options.output`.
        kept: The `Run` in it, whose stages hold what a killed run needs; they go when
            the run is complete.
        strategy: Where the model is built and trained.
        dataset: The images, or None where the options name none.
        model: The model before.
        size: Height and width of the images that it takes.
        task: What it is trained and measured for, and all that is made from it; None
            until `find_task` is called.
        teaches: Share of the loss of fine-tuning that the whole network gives; None
            until `distillation` is called.

    Example:

    ```python
    class Halve(ClassifierRun):
        def prepare(self):
            self.model = load_model(self.options.model)
            self.size = Classification.check_model(
                self.model, self.options.model, self.dataset
            )

        def carry_out(self):
            before = self.measure(self.model, "before")
            result = prune(self.model, macs=0.5)
            metrics = {"accuracy_before": before["accuracy"]}
            return self.write_smaller(result.model, result.report, metrics)

    metrics = Halve(options).run()
    ```
    """

    options: Any  # those of the command, a `RunOptions`

    def __init__(self, options: RunOptions, log: Callable[[str], None] = logging.info):
        self.options, self.log = options, log
        self.folder = pathlib.Path(options.output)
        self.kept = command_run(options)
        # What `run` finds; `dataset` and `task` stay None without a dataset.
        self.strategy: Any = None
        self.dataset: Any = None
        self.model: Any = None
        self.size = 0
        self.task: Any = None
        self.teaches: float | None = None

    def prepare(self) -> None:
        """Makes `self.model` and `self.size`; writes nothing."""
        raise TypeError(f"{type(self).__name__} must define `prepare`.")

    def check_goal(self) -> None:
        """Raises where the goal cannot be reached; a new run asks before it writes."""

    def carry_out(self) -> dict:
        """Does the work and returns what `self.write` returned."""
        raise TypeError(f"{type(self).__name__} must define `carry_out`.")

    def scope(self) -> Any:
        """Where models are made and trained, as a context."""
        return self.strategy.scope()

    def run(self) -> dict:
        """Everything; returns the contents of metrics.json.

        Raises:
            InvalidInputError: An option, the model, the data or the folder cannot be
                used.
            OSError: The folder cannot be written or the disk is full.
        """
        options, folder = self.options, self.folder
        check_output(options)
        before = read_run(folder, options.command) if options.resume else None
        if before is not None and before.finished:
            self.log(f"The run in {folder} is complete; nothing to resume.")
            metrics = read_metrics(folder, options.command)
            # A kill may have left it.
            shutil.rmtree(self.kept.work, ignore_errors=True)
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
        if before is not None:
            # Before the model is found to be unfit for what it never was meant for.
            check_same_inputs(before.inputs, inputs, options, folder)
        with self.scope():
            keras.utils.set_random_seed(options.seed)
            self.prepare()
            if before is None:
                self.check_goal()
        check_free_space(folder, self.model)
        with claim_output(self.kept, options, inputs), self.scope():
            return self.carry_out()

    def find_task(self) -> Task:
        """What the outputs mean, asked before the first compilation or surgery.

        Raises:
            InvalidInputError: It cannot be known.
        """
        if self.task is None:
            given = getattr(self.options, "activation", None)
            self.task = Classification.of(self.model, given)
        return self.task

    def plain_images(self, recipe: Recipe, count: int = 512) -> Any:
        """Some training images in the order of the seed, as a stream of batches.

        Args:
            recipe: How they are cropped; they are not augmented.
            count: About how many, whole batches of 32. Defaults to `512`.
        """
        count = min(count, self.dataset.num_train)
        batch_size = min(32, count)
        stream = self.find_task().training_stream(
            self.dataset,
            recipe,
            self.size,
            batch_size,
            epochs=1,
            seed=self.options.seed,
            augmentation="none",
        )
        return stream.take(-(-count // batch_size))

    def distillation(self, whole: keras.Model, recipe: Recipe) -> Distillation | None:
        """The whole network as a teacher, where the options or its answers ask for it.

        Args:
            whole: The network before it was made smaller.
            recipe: How the images are cropped.
        """
        options = self.options
        if self.teaches is None:
            self.teaches = options.distill
        if self.teaches is None:
            self.teaches = self._share_of(whole, recipe)
        if not self.teaches:
            return None
        head = self.find_task().head  # type: ignore[attr-defined]
        temperature = options.distill_temperature or 4.0
        return Distillation(whole, self.teaches, temperature, head)

    def _share_of(self, whole, recipe):
        """A network that has learned little from the images has little to teach."""
        loss, chance = self.find_task().loss_and_chance(
            whole, self.plain_images(recipe)
        )
        good = loss < chance / 2
        does, other = ("teaches", 0) if good else ("does not teach", 0.5)
        self.log(
            f"In fine-tuning the whole network {does}: its loss on training images is "
            f"{loss:.3g}, of a guess {chance:.3g}. --distill {other} for the other."
        )
        return 0.5 if good else 0.0

    def measure(self, model: keras.Model, when: str) -> dict:
        """Accuracy and loss on the test images; `{}` without a dataset.

        Args:
            model: A classifier. It is compiled.
            when: For the log, such as `"before pruning"`.
        """
        if self.dataset is None:
            return {}
        result = self.find_task().evaluate(model, self.dataset, self.size)
        self.log(f"Test accuracy {when}: {result['accuracy']:.2%}.")
        return result

    def write_smaller(
        self,
        model: keras.Model,
        report: Report,
        metrics: Mapping,
        rows: Sequence[Mapping] = (),
        marks: Mapping[int, str] | None = None,
    ) -> dict:
        """`write` for a model that was made smaller, with the report.

        Args:
            model: The small model.
            report: Layers, parameters and multiply-accumulates before and after.
            metrics: What the command itself has measured.
            rows: Rows of history.csv, `epoch` counted through. Defaults to none.
            marks: For curves.png, see `draw_curves`. Defaults to none.

        Returns:
            The contents of metrics.json.
        """
        report.save(self.folder)
        if rows:
            write_rows(rows, self.folder / "history.csv")
        counts = {
            "params_before": report.params_before,
            "params": report.params_after,
            "macs_before": report.macs_before,
            "macs": report.macs_after,
            "latency": report.latency,
        }
        taught = {} if self.teaches is None else {"distill": self.teaches}
        title = f"{self.options.command} on {self.options.dataset}"
        return self.write(model, {**metrics, **taught, **counts}, title, marks)

    def write(
        self,
        model: keras.Model,
        metrics: Mapping[str, Any],
        title: str,
        marks: Mapping[int, str] | None = None,
    ) -> dict:
        """Writes the results and ends the run.

        Args:
            model: The resulting model.
            metrics: Entries of `RunMetrics` that the command itself knows.
            title: For curves.png, where there is a history.csv; the accuracy is added.
            marks: For curves.png, see `draw_curves`. Defaults to none.

        Returns:
            The contents of metrics.json.
        """
        options, data = self.options, self.dataset
        found = RunMetrics(
            command=options.command,
            model=options.model,
            dataset=options.dataset,
            num_train=data and data.num_train,
            num_test=data and data.num_test,
            strategy=self.strategy.description,
            device=device_name(),
            versions=versions(),
            seed=options.seed,
            options=dataclasses.asdict(options),
            **metrics,
        )
        history = read_history(self.folder / "history.csv")
        if history:
            if found.accuracy is not None:
                title = f"{title}: {found.accuracy:.2%}"
            path = self.folder / "curves.png"
            draw_in_run(draw_curves, history, path, title, marks)
        self._write_labels()
        save_model(copy_without_optimizer(model), self.folder / "model.keras")
        found.write(self.folder)
        self.kept.finish()
        return found.to_dict()

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
