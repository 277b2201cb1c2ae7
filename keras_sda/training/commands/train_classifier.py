"""Trains a classifier from options to a folder of results."""

import contextlib
import dataclasses
from collections.abc import Callable

import keras
from absl import logging

from keras_sda.data.images.reading_errors import reading_errors
from keras_sda.data.streams.training_stream import steps_per_epoch
from keras_sda.runs.best_weights import BestWeights
from keras_sda.runs.history_file import HistoryFile
from keras_sda.runs.part_in_use import PartInUse
from keras_sda.runs.space_guard import SpaceGuard
from keras_sda.training.commands.build_classifier import build_classifier
from keras_sda.training.commands.classifier_run import ClassifierRun
from keras_sda.training.options.train_options import TrainOptions
from keras_sda.training.recipes.coupled_sgd import CoupledSGD
from keras_sda.training.recipes.make_schedule import make_schedule
from keras_sda.training.recipes.recipe import Recipe
from keras_sda.training.recipes.recipes import RECIPES, default_recipe
from keras_sda.utils import SeedPerEpoch, StopOnNaN, atomic_write
from keras_sda.utils.optional_import import has_optional


def train_classifier(
    options: TrainOptions, log: Callable[[str], None] = logging.info
) -> dict:
    """Trains a network on images and writes everything about the run to a folder.

    Use it through `keras-sda train`, `applications/train_classifier.py` or directly.
    A run that was killed continues with `resume=True` and ends in the same weights
    as if it had not been; on one device they are equal in every bit.

    The folder `options.output` then holds `model.keras` (final weights, no
    optimizer, takes pixels from 0 to 255), `best.weights.h5` (epoch of the best test
    accuracy, so that number is optimistic), `history.csv`, `metrics.json`,
    `labels.txt`, `run.json`, `logs/` for TensorBoard, `curves.png` and, where files
    could not be decoded, their names in `skipped_files.txt`. A run that fails before
    its first backup leaves nothing behind.

    Args:
        options: What to train, on what, how and where to.
        log: Called with short messages on the course of the run.

    Returns:
        The contents of `metrics.json`: `accuracy`, `best_accuracy` and `loss` on the
        test images, `params`, `macs`, `seconds`, versions, device, seed and options.

    Raises:
        InvalidInputError: An option, the data or the folder cannot be used, or the
            training diverged. The last backup is kept then.
        OSError: The folder cannot be written or the disk is full.

    Example:

    ```python
    from keras_sda.training import TrainOptions, train_classifier

    metrics = train_classifier(TrainOptions(dataset="digits", output="runs/digits"))
    print(metrics["accuracy"])
    ```

    Source: the recipe `sda_imagenet` follows arXiv 2209.10327 and its training code.
    """
    return _TrainRun(options, log).run()


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The options with every None replaced."""

    recipe_name: str
    recipe: Recipe
    image_size: int
    batch_size: int
    epochs: int
    augmentation: str
    learning_rate: float
    ema: bool


class _TrainRun(ClassifierRun):
    """One training from a name, or from weights."""

    def __init__(self, options, log):
        from keras_sda.applications import get_model

        super().__init__(options, log)
        self.constructor = get_model(options.model)

    @contextlib.contextmanager
    def scope(self):
        previous = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.options.mixed_precision)
        try:
            with super().scope():
                yield
        finally:
            keras.config.set_dtype_policy(previous)

    def prepare(self):
        options, dataset = self.options, self.dataset
        self.plan = self.make_plan()
        self.model = build_classifier(
            self.constructor,
            self.plan.image_size,
            dataset.channels,
            len(dataset.class_names),
            weights=options.weights,
            depth_attention=options.depth_attention,
            synchronized=self.strategy.num_devices > 1,
        )
        self.size = self.plan.image_size
        self.steps = steps_per_epoch(dataset, self.plan.batch_size)
        self.compile()

    def make_plan(self) -> _Plan:
        options, dataset = self.options, self.dataset
        image_size = options.image_size or dataset.default_size
        name = options.recipe or default_recipe(options.dataset, image_size)
        recipe = RECIPES[name]
        batch_size = options.batch_size or min(recipe.batch_size, dataset.num_train)
        self.strategy.check(batch_size, dataset)
        return _Plan(
            recipe_name=name,
            recipe=recipe,
            image_size=image_size,
            batch_size=batch_size,
            epochs=options.epochs or recipe.epochs,
            augmentation=options.augmentation or "keras",
            learning_rate=options.learning_rate or recipe.learning_rate,
            ema=recipe.ema if options.ema is None else options.ema,
        )

    def compile(self):
        plan, recipe = self.plan, self.plan.recipe
        optimizer = CoupledSGD(
            make_schedule(recipe, plan.learning_rate, self.steps, plan.epochs),
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            decay_exclude=recipe.decay_exclude,
            use_ema=plan.ema,
            ema_momentum=recipe.ema_momentum,
        )
        self.find_task().compile(self.model, optimizer)
        self.model.optimizer.build(self.model.trainable_variables)

    def carry_out(self) -> dict:
        self.write_skipped()
        history, best = self.fit()
        results = self.evaluate()
        return self.write_result(history, best, results)

    def fit(self) -> tuple[HistoryFile, BestWeights]:
        """Trains, or goes on where a backup was made."""
        options, plan, dataset = self.options, self.plan, self.dataset
        stage = self.kept.stage("training")
        start = stage.restore(self.model)
        if options.resume:
            self.log(f"Resuming after {start} of {plan.epochs} epochs.")
        history = HistoryFile(self.folder / "history.csv", start)
        best = BestWeights(self.folder / "best.weights.h5", history)
        part = PartInUse()
        callbacks = [
            part,
            SpaceGuard(self.folder),
            StopOnNaN(lambda: self.advice(stage.backup.newest)),
            SeedPerEpoch(options.seed),
            best,
        ]
        if plan.ema:
            # After `best`, which at the end of a test still sees the averaged weights.
            callbacks.append(keras.callbacks.SwapEMAWeights())
        callbacks.append(history)
        callbacks.extend(_tensorboard(self.folder / "logs"))
        # Last: an epoch counts as done when its row and best weights are written.
        callbacks.extend(stage.callbacks())
        stream = self.find_task().training_stream(
            dataset,
            plan.recipe,
            plan.image_size,
            plan.batch_size,
            plan.epochs,
            seed=options.seed,
            start_epoch=start,
            augmentation=plan.augmentation,
        )
        with reading_errors(dataset.name, lambda: part.name, dataset.folder):
            self.model.fit(
                stream,
                epochs=plan.epochs,
                initial_epoch=start,
                steps_per_epoch=self.steps,
                shuffle=False,  # the stream is shuffled; Keras warns otherwise
                validation_data=self.test_images(),
                callbacks=callbacks,
            )
        return history, best

    def test_images(self):
        plan = self.plan
        return self.find_task().evaluation_stream(
            self.dataset, plan.image_size, plan.batch_size
        )

    def advice(self, weights) -> str:
        """What to do after a divergence, with the backup only where there is one."""
        lower = self.plan.learning_rate / 10
        text = (
            f"Try a lower `learning_rate` (it was {self.plan.learning_rate:g}), a "
            "smaller `batch_size` (--batch_size), or float32 instead of mixed "
            "precision."
        )
        if weights is None:
            return f"{text} There is no backup yet, so start again."
        return (
            f"{text} To go on from the last good epoch, train with --weights {weights} "
            f"--learning_rate {lower:g} --output NEW (a new folder)."
        )

    def evaluate(self) -> dict[str, float]:
        dataset = self.dataset
        with reading_errors(dataset.name, "test", dataset.folder):
            results = self.model.evaluate(
                self.test_images(), verbose=0, return_dict=True
            )
        return {name: float(value) for name, value in results.items()}

    def write_skipped(self):
        if self.dataset.skipped_files:
            with atomic_write(self.folder / "skipped_files.txt") as temporary:
                temporary.write_text("\n".join(self.dataset.skipped_files) + "\n")

    def write_result(self, history, best, results) -> dict:
        from keras_sda.analysis import profile

        plan, dataset, summary = self.plan, self.dataset, profile(self.model)
        metrics = {
            "accuracy": results["accuracy"],
            "best_accuracy": max(best.best, results["accuracy"]),
            "loss": results["loss"],
            "params": summary.params,
            "macs": summary.macs,
            "epochs": plan.epochs,
            "seconds": round(sum(row["seconds"] for row in history.rows), 1),
            "classes": len(dataset.class_names),
            "skipped_files": len(dataset.skipped_files),
            "image_size": plan.image_size,
            "batch_size": plan.batch_size,
            "recipe": plan.recipe_name,
            "augmentation": plan.augmentation,
            "learning_rate": plan.learning_rate,
            "ema": plan.ema,
        }
        title = f"{self.options.model} on {self.options.dataset}"
        return self.write(self.model, metrics, title)


def _tensorboard(log_dir):
    if not has_optional("tensorboard", "What logs/ would hold for TensorBoard"):
        return []
    return [keras.callbacks.TensorBoard(str(log_dir), write_graph=False)]
