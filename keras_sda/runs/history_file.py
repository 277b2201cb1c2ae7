"""A CSV file with one row per epoch that survives a kill."""

import os
import pathlib
import time

import keras

from keras_sda.utils.files.csv_rows import read_numbers, write_rows


class HistoryFile(keras.callbacks.Callback):
    """Writes losses, metrics, learning rate and seconds of every epoch.

    Use it in place of `keras.callbacks.CSVLogger` for runs that may be interrupted:
    the file is replaced as a whole after every epoch, and a resumed run keeps the rows
    of the epochs that it does not repeat. Put it before the backup in the list of
    callbacks, so that no epoch is backed up without its row.

    Args:
        path: The CSV file.
        start_epoch: First epoch of this run, counted from 0; later rows are dropped.

    Example:

    ```python
    model.fit(images, labels, callbacks=[HistoryFile("history.csv")])
    rows = read_history("history.csv")
    ```
    """

    def __init__(self, path: str | os.PathLike, start_epoch: int = 0):
        super().__init__()
        self.path = pathlib.Path(path)
        self.rows = [
            row for row in read_history(self.path) if row["epoch"] <= start_epoch
        ]
        self._began = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, "seconds": time.perf_counter() - self._began}
        row.update({name: float(value) for name, value in (logs or {}).items()})
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        row["learning_rate"] = float(rate)
        self.rows = [old for old in self.rows if old["epoch"] <= epoch] + [row]
        # A column of an earlier version must not end the training here.
        kept = [{k: v for k, v in old.items() if k in row} for old in self.rows]
        write_rows(kept, self.path)


def read_history(path: str | os.PathLike) -> list[dict]:
    """Rows of a file that `HistoryFile` wrote, as numbers; [] when there is none.

    Args:
        path: The CSV file.

    Returns:
        One dictionary per epoch; `"epoch"` is an int counted from 1.

    Raises:
        InvalidInputError: The file is damaged.
    """
    return read_numbers(path)
