"""What a folder says of the run in it: `run.json`."""

import dataclasses
import json
import os
import pathlib
from typing import Any

from keras_sda.utils import InvalidInputError, atomic_write
from keras_sda.utils.files.read_json import parse_json, read_json

MANIFEST = "run.json"
LAYOUT = 1
_AGAIN = "Start again in another folder."


@dataclasses.dataclass
class StageEntry:
    """One stage in a manifest.

    Attributes:
        epochs: Finished epochs, of which there is a backup.
        models: What is kept of it: names of files in its folder.
        finished: Whether it has been run to its end.
        facts: What was measured meanwhile.
    """

    epochs: int = 0
    models: list[str] = dataclasses.field(default_factory=list)
    finished: bool = False
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def has_begun(self) -> bool:
        """Whether something of it is finished that a run can go on from."""
        return bool(self.epochs or self.models or self.finished)


@dataclasses.dataclass
class Manifest:
    """The contents of `run.json`: what a run is, what of it is done, what it owns.

    Use it to ask whether a folder holds a run, and what may be done with it. Whoever
    works in the folder asks a `Run`.

    Attributes:
        command: Who made it, such as `"keras-sda prune"` or `"ChannelSearch"`.
        options: The options of a command; empty for calls from Python.
        inputs: Fingerprints of the files and data that it was made from.
        files: What of the folder is its own, and goes when it is overwritten.
        settings: What calls and stages were given, by name.
        stages: Its stages, in the order in which they began.
        finished: Whether all is done and its results are complete.
        layout: Number of this layout.

    Example:

    >>> import pathlib, tempfile
    >>> from keras_sda.runs.manifest import Manifest
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> Manifest("keras-sda train", {"seed": 1}).write(folder)
    >>> Manifest.read(folder).options, Manifest.read(folder).finished
    ({'seed': 1}, False)
    """

    command: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)
    files: list[str] = dataclasses.field(default_factory=list)
    settings: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    stages: dict[str, StageEntry] = dataclasses.field(default_factory=dict)
    finished: bool = False
    layout: int = LAYOUT

    def __post_init__(self):
        models = [name for stage in self.stages.values() for name in stage.models]
        for name in (*self.files, *self.stages, *models):
            # They are deleted or written to.
            if name in ("", ".", "..") or pathlib.PurePath(name).name != name:
                raise ValueError(f"{name!r:.60} is no name of a file")

    @classmethod
    def read(
        cls, folder: str | os.PathLike, argument: str = "folder"
    ) -> "Manifest | None":
        """The manifest of a folder, or None where there is no run.

        Args:
            folder: A folder, which may be absent.
            argument: What named it, for the message. Defaults to `"folder"`.

        Raises:
            InvalidInputError: The manifest is damaged, or the folder holds a run of
                another layout, which is left as it is.
        """
        folder = pathlib.Path(folder)
        path = folder / MANIFEST
        if not path.is_file():
            _refuse_older(folder, argument)
            return None
        content = read_json(path, dict, _AGAIN, argument, {"layout": int})
        layout = content.get("layout", LAYOUT)
        if layout != LAYOUT:
            raise InvalidInputError(
                f"`{argument}` {folder} holds a run of layout {layout}; this version "
                f"of keras_sda knows layout {LAYOUT} alone, and leaves it as it is. "
                "Use the version that made it, or name another folder."
            )
        return read_json(path, cls, _AGAIN, argument)

    def write(self, folder: str | os.PathLike) -> None:
        """Writes it whole or not at all.

        Args:
            folder: The folder of the run.

        Raises:
            OSError: The disk is full or cannot be written.
        """
        text = json.dumps(dataclasses.asdict(self), indent=1)
        with atomic_write(pathlib.Path(folder) / MANIFEST) as temporary:
            temporary.write_text(f"{text}\n")


def refuse_older(folder: pathlib.Path, files: list[str], argument: str) -> None:
    """Raises where files of a run of an earlier layout were found.

    Args:
        folder: The folder, which stays as it is.
        files: What was found. May be empty.
        argument: What named the folder.
    """
    if files:
        raise InvalidInputError(
            f"`{argument}` {folder} holds a run of an earlier version of keras_sda "
            f"({', '.join(files)}; no {MANIFEST}). This version neither continues, "
            "replaces nor deletes it. Its results can be used as they are; to finish "
            "it, use the version that began it. To start anew, name another folder or "
            "move this one away."
        )


def _refuse_older(folder, argument):
    found = [folder / "options.json"] if _is_older_command(folder) else []
    found += [folder / name for name in ("steps.json", "stage.json")]
    found += sorted(folder.glob("*/stage.json"))
    if (folder / "history.csv").is_file():  # as `fine_tune_classifier` had it
        found.append(folder / "latest.weights.h5")
    names = [str(path.relative_to(folder)) for path in found if path.is_file()]
    refuse_older(folder, names, argument)


def _is_older_command(folder) -> bool:
    try:
        options = parse_json((folder / "options.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(options, dict) and {"model", "dataset"} <= set(options)
