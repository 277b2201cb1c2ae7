"""The backup of a training after every epoch."""

import os
import pathlib

import keras

from keras_sda.runs.repair_backup import LATEST, PREVIOUS, repair_backup
from keras_sda.utils import WeightsFile


class EpochBackup(keras.callbacks.Callback):
    """Keeps weights, optimizer and the number of the epoch of the last two epochs.

    Use it in place of `keras.callbacks.BackupAndRestore`, which writes in place: an
    interruption leaves a file that opens and lacks some variables. Here each epoch is
    one file, made in memory and renamed into its place. It has to be the last
    callback, so that an epoch counts as done when everything else is written.

    Args:
        folder: Folder of the backup. It may be absent.
        steps_per_epoch: Optimizer steps in one epoch, for backups of earlier versions.

    Raises:
        OSError: The disk is full. The backups of before stay.

    Example:

    ```python
    backup = EpochBackup("runs/a/backup", steps_per_epoch=100)
    start = backup.restore(model)
    model.fit(data, epochs=10, initial_epoch=start, callbacks=[backup])
    ```
    """

    def __init__(self, folder: str | os.PathLike, steps_per_epoch: int):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.steps_per_epoch = steps_per_epoch

    def restore(self, model: keras.Model) -> int:
        """Loads the newest complete backup; returns the number of finished epochs.

        Args:
            model: The compiled model, with its optimizer built. Untouched where there
                is no backup.

        Raises:
            InvalidInputError: The backup is of another model, or none can be used.
        """
        start = repair_backup(self.folder, self.steps_per_epoch, model)
        if start:
            WeightsFile(self.folder / LATEST).read(model, check=False)
        return start

    def on_epoch_end(self, epoch, logs=None):
        WeightsFile(self.folder / LATEST).write(
            self.model, epoch + 1, previous=self.folder / PREVIOUS
        )
