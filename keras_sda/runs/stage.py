"""One stage of a run: a training with backups, the models that it ends in."""

import pathlib
from typing import Any

import keras

from keras_sda.runs.best_weights import copy_without_optimizer
from keras_sda.runs.epoch_backup import EpochBackup
from keras_sda.runs.manifest import StageEntry
from keras_sda.utils import InvalidInputError, WeightsFile, load_model, save_model
from keras_sda.utils.files.atomic_write import is_temporary
from keras_sda.utils.files.read_json import checked

_FINAL = "final.weights.h5"


class Stage:
    """What a stage needs to go on after a kill; made by `Run.stage`.

    After every epoch there is a backup, at its end the weights or the model; whatever
    is finished is noted in the manifest of the run. In a run without a folder nothing
    is kept.

    Args:
        run: The `Run`, opened.
        name: Name of the stage.
        folder: Where its files are; `None` keeps nothing.

    Attributes:
        name: The name.
        folder: The folder, made when the first file is written.

    Example:

    ```python
    run = Run("runs/search", "ChannelSearch")
    with run.open_stage("weights", {"epochs": 30}) as stage:
        start = stage.restore(model)
        model.fit(data, initial_epoch=start, epochs=30, callbacks=stage.callbacks())
        stage.finish(model)
    ```
    """

    def __init__(self, run, name: str, folder: pathlib.Path | None):
        self._run, self.name = run, name
        self.folder: Any = folder  # a path, or None where nothing is kept
        if folder is not None:
            for path in folder.glob(".*"):
                if is_temporary(path):
                    path.unlink()  # left by a kill
            self.backup = EpochBackup(folder, self._note_epoch)

    @property
    def is_finished(self) -> bool:
        """Whether the stage has been run to its end."""
        return self._entry.finished and all(map(self._is_kept, self._entry.models))

    @property
    def has_begun(self) -> bool:
        """Whether a part of it is finished."""
        return self.folder is not None and self._entry.has_begun

    def restore(self, model: keras.Model) -> int:
        """Loads the last backup, if there is one; returns the number of epochs done."""
        return 0 if self.folder is None else self.backup.restore(model)

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """What writes backups, as the last of the callbacks."""
        return [] if self.folder is None else [self.backup]

    def finish(self, model: keras.Model) -> None:
        """Keeps the weights and the optimizer of `model` and ends the stage."""
        if self.folder is not None:
            WeightsFile(self.folder / _FINAL).write(model)
            self._finish([_FINAL])

    def load(self, model: keras.Model) -> None:
        """Loads what `finish` has kept."""
        WeightsFile(self.folder / _FINAL).read(model)

    def finish_with(self, model: keras.Model) -> None:
        """Keeps `model` itself and ends the stage.

        Use it where a repeated call could not make the model that `finish` needs.

        Args:
            model: The model; its optimizer is left out.
        """
        if self.folder is not None:
            self.keep(model, "model")
            self._finish(["model.keras"])

    def keep(self, model: keras.Model, name: str) -> None:
        """Keeps a model of this stage.

        Args:
            model: The model; its optimizer is left out.
            name: Name of its file, without the ending.
        """
        if self.folder is None:
            return
        save_model(copy_without_optimizer(model), self.folder / f"{name}.keras")
        if f"{name}.keras" not in self._entry.models:
            self._entry.models.append(f"{name}.keras")
        self._run.save()

    def keeps(self, name: str) -> bool:
        """Whether a model of that name is kept."""
        file = f"{name}.keras"
        return file in self._entry.models and self._is_kept(file)

    def model(self, name: str = "model") -> keras.Model:
        """A model that was kept.

        Args:
            name: Its name. Defaults to that of `finish_with`.
        """
        return load_model(self.folder / f"{name}.keras")

    def note(self, **facts: Any) -> None:
        """Keeps what was measured, as JSON can hold it."""
        self._entry.facts.update(facts)
        self._run.save()

    def fact(self, name: str, kind: Any) -> Any:
        """What was noted, or None.

        Args:
            name: Its name.
            kind: Its type, see `read_json.checked`.

        Raises:
            InvalidInputError: It is of another type.
        """
        if name not in self._entry.facts:
            return None
        try:
            return checked(self._entry.facts[name], kind, name)
        except ValueError as error:
            raise InvalidInputError(
                f"`folder` {self.folder}: what is noted of this stage is damaged "
                f"({error}). Start again in another folder."
            ) from error

    @property
    def _entry(self) -> StageEntry:
        return self._run.manifest.stages.setdefault(self.name, StageEntry())

    def _is_kept(self, file):
        return self.folder is not None and (self.folder / file).is_file()

    def _note_epoch(self, epoch):
        self._entry.epochs = epoch
        self._run.save()

    def _finish(self, files):
        entry = self._entry
        gone = [name for name in entry.models if name not in files]
        entry.models, entry.finished = files, True
        self._run.save()
        self.backup.remove()
        for name in gone:
            (self.folder / name).unlink(missing_ok=True)
