"""One stage of a search on `model.fit`, resumable."""

from typing import Any

import keras

from keras_sda.data.fit.epoch_batches import EpochBatches
from keras_sda.data.fit.fit_data import FitData, is_stream_function
from keras_sda.data.fit.fit_streams import without_none
from keras_sda.runs.stage import Stage
from keras_sda.utils import InvalidInputError, SeedPerEpoch, StopOnNaN

_HINT = (
    "Lower the learning rate or `lambda_arch`, or use float32. What was saved after "
    "the epoch before is good."
)


def train_stage(
    stage: Stage, model, data, epochs, optimizer, loss, metrics, seed=0,
    more_callbacks=None, *, validation_data=None, batch_size=32, steps_per_epoch=None,
    callbacks=(), verbose="auto", class_weight=None, validation_steps=None,
) -> list[dict]:  # fmt: skip
    """Trains a model, or goes on where a backup was made.

    Args:
        stage: Where backups are, a stage of a `Run`.
        model: The model; it is compiled.
        data: See `ChannelSearch`.
        epochs: See `ChannelSearch`.
        optimizer: Likewise.
        loss: Likewise.
        metrics: Likewise.
        seed: Seed of arrays and dropout. Defaults to `0`.
        more_callbacks: Function of the first epoch and of what clears the optimizer,
            pairs of variable and value, that returns callbacks. Defaults to `None`.
        validation_data: See `ChannelSearch`.
        batch_size: Likewise.
        steps_per_epoch: Likewise.
        callbacks: Likewise.
        verbose: Likewise.
        class_weight: Likewise.
        validation_steps: Likewise.

    Returns:
        A dictionary of losses and metrics per epoch that was run.

    Raises:
        InvalidInputError: `epochs` or the data cannot be used.

    Example:

    ```python
    with Run("runs/mine", "training").open_stage("first", {"epochs": 3}) as stage:
        train_stage(stage, model, (x, y), 3, "sgd", "mse", [])
    ```
    """
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise InvalidInputError(
            f"`epochs` must be a positive integer. Received: epochs={epochs!r}."
        )
    if data is None:
        raise InvalidInputError("`data` is missing: give (inputs, targets) arrays.")
    # Also where the stage is finished: its weights come with this optimizer, and the
    # model may have been compiled with another one meanwhile, such as to measure it.
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    model.optimizer.build(model.trainable_variables)
    if stage.is_finished:
        stage.load(model)
        if more_callbacks is not None:
            more_callbacks(epochs, ())
        return []
    fresh = _state(model.optimizer)
    start = stage.restore(model)
    own = more_callbacks(start, fresh) if more_callbacks is not None else []
    if is_stream_function(data):
        data = data(start)
    if not isinstance(data, FitData):
        data = FitData(data, model)
    if data.arrays is not None:
        inputs, targets, weights = data.weigh(class_weight)(*data.arrays)
        stream = EpochBatches(inputs, targets, batch_size, seed, start, weights)
        own = [_EpochOrder(stream), *own]
    else:
        stream, steps_per_epoch = data.for_fit(
            epochs - start, steps_per_epoch, class_weight
        )
    if validation_data is not None:
        found = FitData(validation_data, model, "validation_data")
        validation_data = found.arrays and without_none(found.arrays)
        if found.arrays is None:
            validation_data, validation_steps = found.for_fit(
                epochs - start, validation_steps
            )
    guards = [StopOnNaN(lambda: _HINT, every=20), SeedPerEpoch(seed)]
    history = model.fit(
        stream,
        epochs=epochs,
        initial_epoch=start,
        steps_per_epoch=steps_per_epoch,
        validation_data=validation_data,
        validation_steps=validation_steps,
        callbacks=[*guards, *own, *callbacks, *stage.callbacks()],
        verbose=verbose,
        shuffle=False,  # the order is that of the data, for the sake of resumption
    )
    stage.finish(model)
    rows = zip(*history.history.values(), strict=True)
    return [
        {"epoch": start + number + 1, **dict(zip(history.history, row, strict=True))}
        for number, row in enumerate(rows)
    ]


class _EpochOrder(keras.callbacks.Callback):
    """Keeps the order of arrays in step where a callback resumes a later epoch."""

    def __init__(self, batches):
        super().__init__()
        self._batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self._batches.set_epoch(epoch)


def _state(optimizer: Any) -> list[tuple]:
    """What an optimizer remembers of the steps before, with its start values."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    kept = {id(optimizer.iterations), id(optimizer.learning_rate)}
    return [
        (variable, keras.ops.convert_to_numpy(variable).copy())
        for variable in optimizer.variables
        if id(variable) not in kept
    ]
