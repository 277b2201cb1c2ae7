"""Backups of one stage of training, and the note that it is finished."""

import json
import os
import pathlib
from typing import Any

import keras
from absl import logging

from keras_sda.utils import InvalidInputError, WeightsFile, atomic_write
from keras_sda.utils.files.atomic_write import is_temporary
from keras_sda.utils.files.read_json import read_json

_FINAL = "final.weights.h5"


class StageFolder:
    """Keeps what a stage needs to go on after a kill.

    After every epoch the weights and the state of the optimizer are written as one
    `WeightsFile`; its name holds the number of the epoch, so the two cannot disagree.
    The newest complete one wins.

    Args:
        folder: The folder of the stage, or `None` to keep nothing.
        settings: How the stage is run. A backup of another setting is an error;
            `"model"`, the digest of the model that the search began with, may be
            missing in folders of earlier versions.

    Example:

    ```python
    stage = StageFolder("runs/search/weights", {"epochs": 30})
    start = stage.restore(model)
    model.fit(data, initial_epoch=start, epochs=30, callbacks=[stage.callback()])
    stage.finish(model)
    ```
    """

    def __init__(self, folder: str | os.PathLike | None, settings: dict):
        self.folder: Any = None if folder is None else pathlib.Path(folder)
        self.settings = json.loads(json.dumps(settings, default=str))
        self._note = None
        if self.folder is not None:
            self._read_note()

    @property
    def is_finished(self) -> bool:
        """Whether the stage has been run to its end."""
        if not (self._note and self._note.get("finished")):
            return False
        return (self.folder / _FINAL).is_file()

    def restore(self, model: keras.Model) -> int:
        """Loads the last backup, if there is one; returns the number of epochs done."""
        if self.folder is None:
            return 0
        if self._note is None:
            self._write_note(False)
        for path in self.folder.glob(".*"):
            if is_temporary(path):
                path.unlink()  # left by a kill
        for epoch, path in sorted(self._backups(), reverse=True):
            file = WeightsFile(path)
            problem = file.problem(model)
            if problem:
                logging.warning("Backup %s is not used: %s.", path, problem)
                continue
            file.read(model, check=False)
            return epoch
        return 0

    def callback(self) -> list[keras.callbacks.Callback]:
        """The callback that writes backups; it has to be the last one."""
        return [] if self.folder is None else [_Backup(self)]

    def finish(self, model: keras.Model) -> None:
        """Writes the final weights of `model` and removes the backups."""
        if self.folder is None:
            return
        WeightsFile(self.folder / _FINAL).write(model)
        self._write_note(True)
        for _, path in self._backups():
            path.unlink()

    def load(self, model: keras.Model) -> None:
        """Loads the final weights."""
        WeightsFile(self.folder / _FINAL).read(model)

    def save(self, model: keras.Model, epoch: int) -> None:
        """Writes the backup of an epoch and removes the one before."""
        old = self._backups()
        path = self.folder / f"epoch{epoch:04d}.weights.h5"
        WeightsFile(path).write(model, epoch)
        for number, path in old:
            if number != epoch:
                path.unlink()

    def _backups(self):
        return [
            (int(path.name[5:].split(".")[0]), path)
            for path in self.folder.glob("epoch*.weights.h5")
        ]

    def _read_note(self):
        path = self.folder / "stage.json"
        if not path.is_file():
            return
        again = "Start in another folder."
        types = {"settings": dict, "finished": bool}
        self._note = read_json(path, dict, again, "folder", types)
        if "settings" not in self._note:
            raise InvalidInputError(f"`folder`: {path} is damaged. {again}")
        settings = self._note["settings"]
        if "model" not in settings:
            settings = {**settings, "model": self.settings.get("model")}
        changed = sorted(
            key
            for key in {*settings, *self.settings}
            if settings.get(key) != self.settings.get(key)
        )
        if "model" in changed:
            raise InvalidInputError(
                f"`folder`: {self.folder} holds this stage of another starting model: "
                "its weights were not those that were given now. Give the model as it "
                "was then, or choose another folder."
            )
        if changed:
            raise InvalidInputError(
                f"`folder`: {self.folder} holds this stage with other settings: "
                + ", ".join(
                    f"{key}={settings.get(key)!r}, now {self.settings.get(key)!r}"
                    for key in changed
                )
                + ". Repeat the call as it was, or choose another folder."
            )

    def _write_note(self, finished):
        self._note = {"settings": self.settings, "finished": finished}
        with atomic_write(self.folder / "stage.json") as temporary:
            temporary.write_text(json.dumps(self._note, indent=1) + "\n")


class _Backup(keras.callbacks.Callback):
    def __init__(self, stage):
        super().__init__()
        self._stage = stage

    def on_epoch_end(self, epoch, logs=None):
        self._stage.save(self.model, epoch + 1)
