"""A run in a folder that is interrupted and goes on."""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Set
from typing import Any

from keras_sda.runs.epoch_backup import EpochBackup
from keras_sda.runs.manifest import Manifest, StageEntry
from keras_sda.runs.run_inputs import data_digest
from keras_sda.runs.stage import Stage
from keras_sda.utils import InvalidInputError, folder_lock


class Run:
    """One resumable run: its folder, its lock, its manifest and its stages.

    Use it for everything that is repeated after a kill and then goes on: commands and
    calls with `folder=`. What is finished is in the manifest, `run.json`; nobody has to
    guess from the files what they are. Only one process at a time may work in it.

    Args:
        folder: The folder, or `None` to keep nothing.
        command: Who works in it, such as `"keras-sda prune"` or `"ChannelSearch"`.
        work: Sub-folder of the stages, which goes when all is done. Defaults to `""`:
            they are beside the manifest and stay.
        argument: What named the folder, for messages. Defaults to `"folder"`.

    Attributes:
        folder: The folder or None.
        work: Folder of the stages or None.
        manifest: The `Manifest`, while it is open.

    Example:

    >>> import tempfile
    >>> from keras_sda.runs.run import Run
    >>> with Run(tempfile.mkdtemp(), "my_training").opened() as run:
    ...     stage = run.stage("first", {"epochs": 3})
    ...     stage.is_finished, run.has_begun
    (False, False)
    """

    def __init__(
        self,
        folder: str | os.PathLike | None,
        command: str,
        work: str = "",
        argument: str = "folder",
    ):
        # Paths, or None where nothing is kept.
        path = None if folder is None else pathlib.Path(folder)
        self.folder: Any = path
        self.work: Any = path and path / work
        self.command, self.argument = command, argument
        self.manifest = Manifest(command)
        self._depth = 0
        self._folders: dict[str, pathlib.Path] = {}

    @classmethod
    def of(cls, folder: "Run | str | os.PathLike | None", command: str) -> "Run":
        """The run of a call with `folder=`, which may be a part of another run.

        Args:
            folder: A folder, `None`, or the `Run` that the call is a part of.
            command: Who works in it, if it is a run of its own.
        """
        return folder if isinstance(folder, Run) else cls(folder, command)

    @contextlib.contextmanager
    def opened(self) -> Iterator["Run"]:
        """Locks the folder and reads the manifest, until the block ends.

        Raises:
            InvalidInputError: Another process works in the folder, or it holds a run of
                another command or layout.
            OSError: The folder cannot be written.
        """
        if self.folder is None:
            yield self
            return
        with folder_lock(self.folder, self.argument):
            if not self._depth:
                found = Manifest.read(self.folder, self.argument)
                self.check_command(found)
                self.manifest = found or Manifest(self.command)
            self._depth += 1
            try:
                yield self
            finally:
                self._depth -= 1

    def check_command(self, manifest: Manifest | None) -> None:
        """Raises where a manifest is that of another command.

        Args:
            manifest: What the folder holds, or None.

        Raises:
            InvalidInputError: It is another one.
        """
        if manifest is not None and manifest.command != self.command:
            raise InvalidInputError(
                f"`{self.argument}` {self.folder} holds a run of `{manifest.command}`, "
                f"not of `{self.command}`. Name another folder."
            )

    @property
    def has_begun(self) -> bool:
        """Whether anything is finished, a backup, a stage or a step: it must stay."""
        return self.manifest.finished or any(
            map(self._stage_has_begun, self.manifest.stages)
        )

    def save(self) -> None:
        """Writes the manifest."""
        if self.folder is not None:
            self.manifest.write(self.folder)

    def settle(
        self, name: str, settings: Mapping[str, Any], stage: bool = False
    ) -> None:
        """Compares settings with those that what is finished was made with.

        As long as nothing is finished, they may change.

        Args:
            name: Name of the call or the stage.
            settings: What the result depends on, as JSON can hold it; `"model"` is a
                digest of the model that was given, `"data"` the data themselves.
            stage: Whether they are those of the stage of that name alone. Defaults to
                `False`: what any stage has finished depends on them.

        Raises:
            InvalidInputError: They are others.
        """
        if self.folder is None:
            return
        if "data" in settings:
            settings = {**settings, "data": data_digest(settings["data"])}
        settings = json.loads(json.dumps(settings, default=_describe))
        stored = self.manifest.settings.get(name)
        if stored == settings:
            return
        if stored is not None:
            if self._stage_has_begun(name) if stage else self.has_begun:
                self._refuse(name, stored, settings)
            # What was noted of stages that have not begun is of the settings before.
            for other in [name] if stage else [*self.manifest.stages]:
                self.manifest.stages.pop(other, None)
        self.manifest.settings[name] = settings
        self.save()

    def stage(
        self,
        name: str,
        settings: Mapping[str, Any] | None = None,
        folder: pathlib.Path | None = None,
    ) -> Stage:
        """A stage of the run, to be begun or gone on with.

        Args:
            name: Its name, which is that of a folder.
            settings: How it is run, see `settle`. Defaults to `None`: as the run.
            folder: Where its files are. Defaults to a folder of its name.

        Raises:
            InvalidInputError: What is finished of it has other settings.
        """
        if self.work is not None:
            self._folders[name] = folder or self.work / name
        if settings is not None:
            self.settle(name, settings, stage=True)
        if name not in self.manifest.stages:
            # Before its first file.
            self.manifest.stages[name] = StageEntry()
            self.save()
        return Stage(self, name, self._folders.get(name))

    @contextlib.contextmanager
    def open_stage(
        self,
        name: str,
        settings: Mapping[str, Any] | None = None,
        folder: pathlib.Path | None = None,
    ) -> Iterator[Stage]:
        """`opened` for one `stage` alone.

        Args:
            name: See `stage`.
            settings: See `stage`.
            folder: See `stage`.
        """
        with self.opened():
            yield self.stage(name, settings, folder)

    def finish(self) -> None:
        """Notes that everything is done, and deletes the sub-folder of the stages."""
        self.manifest.finished = True
        self.save()
        if self.work != self.folder:
            shutil.rmtree(self.work, ignore_errors=True)

    def _stage_has_begun(self, name):
        entry = self.manifest.stages.get(name)
        if self.work is None or entry is None:
            return False
        # A kill comes between a backup and its note.
        folder = self._folders.get(name, self.work / name)
        return entry.has_begun or EpochBackup(folder).newest is not None

    def _refuse(self, name, stored, settings):
        where = f"`{self.argument}` {self.folder} holds `{name}`"
        names = sorted({*stored, *settings})
        changed = [x for x in names if stored.get(x) != settings.get(x)]
        for what, text in (
            (
                "model",
                "of another starting model: it was another model, whose weights were "
                "not those that are given now. Give the model as it was then",
            ),
            ("data", "of other data. Give the data as they were then"),
        ):
            if what in changed:
                raise InvalidInputError(f"{where} {text}, or choose another folder.")
        listed = ", ".join(
            f"{x} was {stored.get(x)!r}, now {settings.get(x)!r}" for x in changed
        )
        raise InvalidInputError(
            f"{where} with other settings: {listed}. Repeat the call as it was, or "
            "choose another folder."
        )


def _describe(value: Any) -> Any:
    """What is no JSON, in words that are the same in every process."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "get_config"):
        return {type(value).__qualname__: value.get_config()}
    if isinstance(value, os.PathLike):
        return str(value)
    if isinstance(value, Set):
        return sorted(value)
    # Of a function its own name, else that of the class; never an address in memory.
    kind = value if hasattr(value, "__qualname__") else type(value)
    name = getattr(value, "name", "")
    return f"{kind.__module__}.{kind.__qualname__} {name}".strip()
