"""The backup of a training after every epoch."""

import os
import pathlib
from collections.abc import Callable

import keras
from absl import logging

from keras_sda.runs.manifest import refuse_older
from keras_sda.utils import InvalidInputError, WeightsFile
from keras_sda.utils.files.atomic_write import is_temporary

_ENDING = ".weights.h5"


class EpochBackup(keras.callbacks.Callback):
    """Keeps weights, optimizer and the number of the epoch of the last two epochs.

    Use it in place of `keras.callbacks.BackupAndRestore`, which writes in place: an
    interruption leaves a file that opens and lacks some variables. Here each epoch is
    one file, made in memory and renamed into its place; its name holds the number of
    the epoch, so the two cannot disagree. It has to be the last callback, so that an
    epoch counts as done when everything else is written.

    Args:
        folder: Folder of the backup. It may be absent.
        saved: Called with the number of finished epochs after each backup. Defaults to
            `None`.

    Raises:
        OSError: The disk is full. The backups of before stay.

    Example:

    ```python
    backup = EpochBackup("runs/a/backup")
    start = backup.restore(model)
    model.fit(data, epochs=10, initial_epoch=start, callbacks=[backup])
    ```
    """

    def __init__(
        self, folder: str | os.PathLike, saved: Callable[[int], None] | None = None
    ):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self._saved = saved

    @property
    def newest(self) -> pathlib.Path | None:
        """The file of the last epoch, or None where there is no backup."""
        files = self._files()
        return files[max(files)] if files else None

    def restore(self, model: keras.Model) -> int:
        """Loads the newest complete backup; returns the number of finished epochs.

        Args:
            model: The compiled model, with its optimizer built. Untouched where there
                is no backup.

        Raises:
            InvalidInputError: The backup is of another model or of an earlier version,
                or there are several and none can be used.
        """
        older = [x.name for x in sorted(self.folder.glob(f"latest{_ENDING}*"))]
        refuse_older(self.folder, older, "folder")
        for path in self.folder.glob(".*"):
            if is_temporary(path):
                path.unlink()  # left by a kill
        problems = {}
        for epoch, path in sorted(self._files().items(), reverse=True):
            file = WeightsFile(path)
            problem = file.problem(model)
            if problem:
                problems[path] = problem
                continue
            if problems:
                reasons = {path.name: reason for path, reason in problems.items()}
                logging.warning("The backup of epoch %d is used: %s", epoch, reasons)
            file.read(model, check=False)
            return epoch
        if len(problems) > 1:
            reasons = "; ".join(f"{p.name}: {reason}" for p, reason in problems.items())
            raise InvalidInputError(
                f"The backups in {self.folder} cannot be used ({reasons}). Delete them "
                "to begin this training again, or start again with `overwrite` "
                "(--overwrite) or in another folder."
            )
        for path in problems:
            path.unlink()  # the first backup: nothing has been finished yet
        return 0

    def save(self, model: keras.Model, epoch: int) -> None:
        """Writes a backup; that of the epoch before stays.

        Args:
            model: The model.
            epoch: Number of finished epochs.
        """
        path = self.folder / f"epoch{epoch:04d}{_ENDING}"
        WeightsFile(path).write(model, epoch)
        if self._saved is not None:
            self._saved(epoch)
        files = self._files()
        kept = {epoch, max((number for number in files if number < epoch), default=0)}
        for number, old in files.items():
            if number not in kept:
                old.unlink()

    def remove(self) -> None:
        """Deletes the backups, when the result is saved."""
        for path in self._files().values():
            path.unlink()

    def on_epoch_end(self, epoch, logs=None):
        self.save(self.model, epoch + 1)

    def _files(self) -> dict[int, pathlib.Path]:
        found = {}
        for path in self.folder.glob(f"epoch*{_ENDING}"):
            number = path.name.removeprefix("epoch").removesuffix(_ENDING)
            if number.isdecimal():
                found[int(number)] = path
        return found
