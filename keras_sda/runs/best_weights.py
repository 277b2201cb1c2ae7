"""Keeps the weights of the best epoch."""

import os
import pathlib

import keras

from keras_sda.utils import WeightsFile


class BestWeights(keras.callbacks.Callback):
    """Saves the weights whenever the validation accuracy is the highest so far.

    Use it with validation data. The weights are taken at the end of the validation,
    so with `keras.callbacks.SwapEMAWeights` after it in the list they are the averaged
    ones that were measured. Only weights are written, atomically.

    Args:
        path: File that ends in `.weights.h5`.
        history: `HistoryFile` of the run: its rows from before a resume give the best
            accuracy so far.

    Example:

    ```python
    history = HistoryFile("history.csv")
    best = BestWeights("best.weights.h5", history)
    model.fit(data, validation_data=test, callbacks=[best, history])
    ```
    """

    def __init__(self, path: str | os.PathLike, history):
        super().__init__()
        self.path = pathlib.Path(path)
        self.best = max((r["val_accuracy"] for r in history.rows), default=-1.0)
        if not self.path.is_file():
            self.best = -1.0

    def on_test_end(self, logs=None):
        accuracy = float((logs or {}).get("accuracy", -1.0))
        if accuracy > self.best:
            self.best = accuracy
            WeightsFile(self.path).write(copy_without_optimizer(self.model))


def copy_without_optimizer(model: keras.Model) -> keras.Model:
    """An uncompiled copy: files of a compiled model would hold the momentum too."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy
