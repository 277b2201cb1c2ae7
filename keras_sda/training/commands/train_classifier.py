"""Trains a classifier from options to a folder of results."""

import contextlib
import dataclasses
import json
import platform
import shutil
import sys
from collections.abc import Callable

import keras
from absl import logging

from keras_sda.applications.pixel_scaling import PixelScaling
from keras_sda.data.images.load_image_dataset import load_image_dataset
from keras_sda.data.images.reading_errors import reading_errors
from keras_sda.data.streams.evaluation_stream import evaluation_stream
from keras_sda.data.streams.training_stream import steps_per_epoch, training_stream
from keras_sda.runs.best_weights import BestWeights, copy_without_optimizer
from keras_sda.runs.epoch_backup import EpochBackup
from keras_sda.runs.history_file import HistoryFile
from keras_sda.runs.output_folder import check_output, claim_output, read_run
from keras_sda.runs.part_in_use import PartInUse
from keras_sda.runs.read_metrics import read_metrics
from keras_sda.runs.run_inputs import check_same_inputs, run_inputs
from keras_sda.runs.space_guard import SpaceGuard, check_free_space
from keras_sda.training.commands.build_classifier import build_classifier, name_of
from keras_sda.training.commands.draw_curves import draw_curves
from keras_sda.training.options.train_options import TrainOptions
from keras_sda.training.recipes.coupled_sgd import CoupledSGD
from keras_sda.training.recipes.make_schedule import make_schedule
from keras_sda.training.recipes.recipes import RECIPES, default_recipe
from keras_sda.training.strategies.make_deterministic import make_deterministic
from keras_sda.training.strategies.make_strategy import make_strategy
from keras_sda.utils import (
    InvalidInputError,
    SeedPerEpoch,
    StopOnNaN,
    atomic_write,
    save_model,
)
from keras_sda.utils.draw_in_run import draw_in_run
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
    `labels.txt`, `options.json`, `logs/` for TensorBoard, `curves.png` and, where files
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
    from keras_sda.applications import get_model

    constructor = get_model(options.model)
    folder = check_output(options)
    if options.resume and (folder / "metrics.json").is_file():
        log(f"The run in {folder} is complete; nothing to resume.")
        metrics = read_metrics(folder, options.command)
        shutil.rmtree(folder / "backup", ignore_errors=True)  # a kill may have left it
        return metrics
    inputs = run_inputs(options)  # before the files are read
    make_deterministic(options, log)
    strategy = make_strategy(options.strategy, options.virtual_devices)
    dataset = load_image_dataset(
        options.dataset,
        data_dir=options.data_dir,
        download=options.download,
        strict=options.strict,
        max_train_examples=options.max_train_examples,
        split=options.split,
    )
    inputs |= run_inputs(None, dataset)
    if options.resume:
        before = read_run(folder)
        check_same_inputs(before, inputs, options, folder)
        _check_same_scaling(before, constructor, dataset.channels, folder)
    run = _resolve(options, dataset, strategy)
    with _dtype_policy(options.mixed_precision), strategy.scope():
        keras.utils.set_random_seed(options.seed)
        model = build_classifier(
            constructor,
            run.image_size,
            dataset.channels,
            len(dataset.class_names),
            weights=options.weights,
            depth_attention=options.depth_attention,
            synchronized=strategy.num_devices > 1,
        )
        check_free_space(folder, model)
        steps = steps_per_epoch(dataset, run.batch_size)
        _compile(model, run, steps)
    # Only now, when data, model and weights are known to be good.
    with claim_output(folder, options, inputs):
        _write_skipped(dataset, folder)
        with _dtype_policy(options.mixed_precision), strategy.scope():
            history, best = _fit(model, dataset, run, options, folder, steps, log)
            results = _evaluate(model, dataset, run)
        return _write_results(
            model, dataset, run, options, strategy, folder, history, best, results
        )


def _check_same_scaling(before, constructor, channels, folder):
    """Runs of earlier versions scaled the pixels of all networks as those of ours."""
    now = PixelScaling.of_constructor(name_of(constructor), channels)
    was = "imagenet" if channels == 3 else "tf"
    if "inputs" not in before and now is not None and now.mode != was:
        raise InvalidInputError(
            f"`resume` (--resume): the run in {folder} was begun by an earlier "
            f"version, which gave {name_of(constructor)} pixels that it does not "
            "expect, and would go on with others. Start again with `overwrite` "
            "(--overwrite), or in another folder."
        )


@dataclasses.dataclass(frozen=True)
class _Run:
    """The options with every None replaced."""

    recipe_name: str
    recipe: object
    image_size: int
    batch_size: int
    epochs: int
    augmentation: str
    learning_rate: float
    ema: bool


def _resolve(options, dataset, strategy) -> _Run:
    image_size = options.image_size or dataset.default_size
    name = options.recipe or default_recipe(options.dataset, image_size)
    recipe = RECIPES[name]
    batch_size = options.batch_size or min(recipe.batch_size, dataset.num_train)
    strategy.check(batch_size, dataset)
    return _Run(
        recipe_name=name,
        recipe=recipe,
        image_size=image_size,
        batch_size=batch_size,
        epochs=options.epochs or recipe.epochs,
        augmentation=options.augmentation or "keras",
        learning_rate=options.learning_rate or recipe.learning_rate,
        ema=recipe.ema if options.ema is None else options.ema,
    )


@contextlib.contextmanager
def _dtype_policy(name):
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)


def _compile(model, run, steps):
    recipe = run.recipe
    optimizer = CoupledSGD(
        make_schedule(recipe, run.learning_rate, steps, run.epochs),
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        decay_exclude=recipe.decay_exclude,
        use_ema=run.ema,
        ema_momentum=recipe.ema_momentum,
    )
    model.compile(
        optimizer,
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    model.optimizer.build(model.trainable_variables)


def _fit(model, dataset, run, options, folder, steps, log):
    backup_dir = folder / "backup"
    backup = EpochBackup(backup_dir, steps)
    start = backup.restore(model)
    if options.resume:
        log(f"Resuming after {start} of {run.epochs} epochs.")
    history = HistoryFile(folder / "history.csv", start)
    best = BestWeights(folder / "best.weights.h5", history)
    part = PartInUse()
    callbacks = [
        part,
        SpaceGuard(folder),
        StopOnNaN(lambda: _advice(run, backup_dir)),
        SeedPerEpoch(options.seed),
        best,
    ]
    if run.ema:
        # After `best`, which at the end of a test still sees the averaged weights.
        callbacks.append(keras.callbacks.SwapEMAWeights())
    callbacks.append(history)
    callbacks.extend(_tensorboard(folder / "logs"))
    # Last: an epoch counts as done when its row and best weights are written.
    callbacks.append(backup)
    stream = training_stream(
        dataset,
        run.recipe,
        run.image_size,
        run.batch_size,
        run.epochs,
        seed=options.seed,
        start_epoch=start,
        augmentation=run.augmentation,
    )
    with reading_errors(dataset.name, lambda: part.name, dataset.folder):
        model.fit(
            stream,
            epochs=run.epochs,
            initial_epoch=start,
            steps_per_epoch=steps,
            shuffle=False,  # the stream is shuffled; Keras warns otherwise
            validation_data=evaluation_stream(dataset, run.image_size, run.batch_size),
            callbacks=callbacks,
        )
    return history, best


def _advice(run, backup_dir):
    """What to do after a divergence, with the backup only where there is one."""
    weights, lower = backup_dir / "latest.weights.h5", run.learning_rate / 10
    text = (
        f"Try a lower `learning_rate` (it was {run.learning_rate:g}), a smaller "
        "`batch_size` (--batch_size), or float32 instead of mixed precision."
    )
    if not weights.is_file():
        return f"{text} There is no backup yet, so start again."
    return (
        f"{text} To go on from the last good epoch, train with --weights {weights} "
        f"--learning_rate {lower:g} --output NEW (a new folder)."
    )


def _tensorboard(log_dir):
    if not has_optional("tensorboard", "What logs/ would hold for TensorBoard"):
        return []
    return [keras.callbacks.TensorBoard(str(log_dir), write_graph=False)]


def _evaluate(model, dataset, run):
    data = evaluation_stream(dataset, run.image_size, run.batch_size)
    with reading_errors(dataset.name, "test", dataset.folder):
        results = model.evaluate(data, verbose=0, return_dict=True)
    return {name: float(value) for name, value in results.items()}


def _write_skipped(dataset, folder):
    if dataset.skipped_files:
        with atomic_write(folder / "skipped_files.txt") as temporary:
            temporary.write_text("\n".join(dataset.skipped_files) + "\n")


def _write_results(
    model, dataset, run, options, strategy, folder, history, best, results
):
    from keras_sda.analysis import profile

    summary = profile(model)
    metrics = {
        "model": options.model,
        "dataset": options.dataset,
        "accuracy": results["accuracy"],
        "best_accuracy": max(best.best, results["accuracy"]),
        "loss": results["loss"],
        "params": summary.params,
        "macs": summary.macs,
        "epochs": run.epochs,
        "seconds": round(sum(row["seconds"] for row in history.rows), 1),
        "num_train": dataset.num_train,
        "num_test": dataset.num_test,
        "classes": len(dataset.class_names),
        "skipped_files": len(dataset.skipped_files),
        "image_size": run.image_size,
        "batch_size": run.batch_size,
        "recipe": run.recipe_name,
        "augmentation": run.augmentation,
        "learning_rate": run.learning_rate,
        "ema": run.ema,
        "seed": options.seed,
        "strategy": strategy.description,
        "device": _device(),
        "versions": _versions(),
        "options": dataclasses.asdict(options),
    }
    save_model(copy_without_optimizer(model), folder / "model.keras")
    with atomic_write(folder / "labels.txt") as temporary:
        temporary.write_text("\n".join(dataset.class_names) + "\n")
    title = f"{options.model} on {options.dataset}: {metrics['accuracy']:.2%}"
    draw_in_run(draw_curves, history.rows, folder / "curves.png", title)
    with atomic_write(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=2) + "\n")
    shutil.rmtree(folder / "backup", ignore_errors=True)
    return metrics


def _device() -> str:
    devices = keras.distribution.list_devices()
    kind = devices[0].split(":")[0] if devices else "cpu"
    return f"{len(devices)} x {kind} ({platform.machine()}, {platform.system()})"


def _versions() -> dict:
    from keras_sda.version import __version__

    versions = {
        "keras_sda": __version__,
        "python": platform.python_version(),
        "keras": keras.version(),
        "backend": keras.backend.backend(),
    }
    for name in ("tensorflow", "jax", "numpy"):
        if name in sys.modules:
            versions[name] = sys.modules[name].__version__
    return versions
