"""Trains a classifier on, with backups after every epoch."""

import contextlib
import dataclasses
import os
import pathlib

import keras

from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.images.reading_errors import reading_errors
from keras_sda.data.streams.training_stream import steps_per_epoch
from keras_sda.objectives import Distillation
from keras_sda.runs.history_file import HistoryFile
from keras_sda.runs.part_in_use import PartInUse
from keras_sda.runs.run import Run
from keras_sda.runs.space_guard import SpaceGuard
from keras_sda.runs.stage import Stage
from keras_sda.tasks import Classification, Task
from keras_sda.training.recipes.fine_tuning_optimizer import (
    fine_tuning_optimizer,
    fine_tuning_rate,
)
from keras_sda.training.recipes.recipe import Recipe
from keras_sda.utils import InvalidInputError, SeedPerEpoch, StopOnNaN, model_digest


def fine_tune_classifier(
    model: keras.Model,
    dataset: ImageDataset,
    image_size: int,
    recipe: Recipe,
    epochs: int,
    folder: Stage | str | os.PathLike,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    activation: str | None = None,
    task: Task | None = None,
    optimizer: str = "sgd",
    distill: Distillation | None = None,
) -> list[dict]:
    """Trains a classifier in place with the augmentation of a recipe.

    Use it after pruning. The learning rate falls along a cosine, without warm-up. A
    call that was killed is repeated with the same arguments and goes on after the last
    finished epoch; it ends in the same weights.

    Args:
        model: A classifier that takes pixels from 0 to 255. It is compiled.
        dataset: The images.
        image_size: Height and width in pixels.
        recipe: Augmentation, label smoothing, weight decay and momentum.
        epochs: Passes over the training images.
        folder: Gets history.csv and the backups of the last epochs. They stay; delete
            the folder when the weights are saved. Or the `Stage` of a `Run` that this
            is a part of.
        batch_size: Images per step. Defaults to that of the recipe, or all images.
        learning_rate: Highest rate. Defaults to a tenth of that of the recipe, for
            AdamW to 1e-3.
        seed: Seed of the order of the images and of augmentation. Defaults to 0.
        activation: What the outputs are, where the model does not show it; see
            `graph.find_head`. Defaults to None.
        task: Loss, metrics and streams. Defaults to None: the `Classification` that
            the model shows.
        optimizer: `"sgd"`, that of the recipe, or `"adamw"`. Defaults to `"sgd"`.
        distill: A larger network that gives a part of the loss, such as the one that
            the model was made of. Defaults to None: the labels alone.

    Returns:
        A dictionary per epoch, as in `history.csv`.

    Raises:
        InvalidInputError: The data cannot be read, what the outputs of the model mean
            cannot be known, the folder holds the training of another model or with
            other arguments, the teacher does not fit, or the training diverged.

    Example:

    ```python
    data = load_image_dataset("digits")
    fine_tune_classifier(small, data, 32, RECIPES["digits"], 3, "runs/small/backup")
    ```
    """
    recipe = dataclasses.replace(recipe, schedule="cosine", warmup_epochs=0.0)
    batch_size = batch_size or min(recipe.batch_size, dataset.num_train)
    rate = learning_rate or fine_tuning_rate(optimizer, recipe)
    steps = steps_per_epoch(dataset, batch_size)
    chosen = fine_tuning_optimizer(optimizer, recipe, rate, steps, epochs)
    task = task or Classification.of(model, activation)
    trained = model if distill is None else _distilled(model, task, distill)
    test = task.evaluation_stream(dataset, image_size, batch_size)
    settings = {
        "recipe": dataclasses.asdict(recipe), "epochs": epochs, "learning_rate": rate,
        "batch_size": batch_size, "image_size": image_size, "seed": seed,
    }  # fmt: skip
    if optimizer != "sgd":
        settings["optimizer"] = optimizer
    if distill is not None:
        settings["distill"] = distill.settings()
    with _stage(folder, settings, model) as stage:
        task.compile(trained, chosen)
        trained.optimizer.build(trained.trainable_variables)
        start = stage.restore(trained)
        history = HistoryFile(stage.folder / "history.csv", start)
        part = PartInUse()
        hint = (
            f"Try a lower `learning_rate` (it was {rate:g}) in another folder, or with "
            "`overwrite` (--overwrite)."
        )
        callbacks = [
            part,
            SpaceGuard(stage.folder),
            StopOnNaN(lambda: hint),
            SeedPerEpoch(seed),
            history,
            *stage.callbacks(),  # last: an epoch counts as done when its row is written
        ]
        stream = task.training_stream(
            dataset,
            recipe,
            image_size,
            batch_size,
            epochs,
            seed=seed,
            start_epoch=start,
        )
        with reading_errors(dataset.name, lambda: part.name, dataset.folder):
            trained.fit(
                stream,
                epochs=epochs,
                initial_epoch=start,
                steps_per_epoch=steps,
                shuffle=False,
                validation_data=test,
                callbacks=callbacks,
            )
    if distill is not None:
        task.compile(model, trained.optimizer)
    return history.rows


def _distilled(model, task, distill):
    if not isinstance(task, Classification):
        raise InvalidInputError(
            f"`distill` compares the outputs of classifiers. Received: task="
            f"{task.name!r}. Leave `distill` out."
        )
    head = distill.head or task.head
    return dataclasses.replace(distill, head=head).wrap(model)


@contextlib.contextmanager
def _stage(folder, settings, model):
    """The stage that was given, or the only one of a run in a folder."""
    if isinstance(folder, Stage):
        yield folder
        return
    settings["model"] = model_digest(model)
    run = Run(folder, "fine_tune_classifier")
    with run.open_stage("training", settings, pathlib.Path(folder)) as stage:
        yield stage


def measure_accuracy(
    model: keras.Model,
    dataset: ImageDataset,
    image_size: int,
    batch_size: int = 128,
    activation: str | None = None,
    task: Task | None = None,
) -> dict[str, float]:
    """Accuracy and loss of a classifier on the test images; it is compiled.

    Args:
        model: A classifier that takes pixels from 0 to 255.
        dataset: The images.
        image_size: Height and width in pixels.
        batch_size: Images per step. Defaults to 128.
        activation: As in `fine_tune_classifier`. Defaults to None.
        task: As in `fine_tune_classifier`. Defaults to None.
    """
    task = task or Classification.of(model, activation)
    return task.evaluate(model, dataset, image_size, batch_size)
