"""The folder of one training run: may it be used, and what does it hold?"""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import uuid
from collections.abc import Iterator

from keras_sda.training.run_options import RunOptions
from keras_sda.utils import InvalidInputError, atomic_write

# May differ between a run and its continuation: the data may have moved (it is up to
# the user that it is the same), and `strict` can only stop a run, not change it.
_FREE = {"data_dir", "download", "output", "overwrite", "resume", "strict"}
_OWN = {
    "backup",
    "best.weights.h5",
    "curves.png",
    "gated.keras",
    "gates.csv",
    "groups.png",
    "history.csv",
    "labels.txt",
    "logs",
    "metrics.json",
    "model.keras",
    "options.json",
    "packed.keras",
    "packing.csv",
    "packing.json",
    "packing.md",
    "plan.json",
    "report.csv",
    "report.json",
    "report.md",
    "report.png",
    "search.csv",
    "search.png",
    "skipped_files.txt",
}


def check_output(options: RunOptions) -> pathlib.Path:
    """Checks the output folder before anything expensive happens.

    Args:
        options: `output`, `resume` and `overwrite` decide; the others are compared
            with those of the run in the folder when resuming.

    Returns:
        The folder. It may not exist yet; nothing on the disk has changed.

    Raises:
        InvalidInputError: The folder holds a run and neither `resume` nor `overwrite`
            is set, it holds other files, it holds no run to resume, or the run in it
            had other options.
        OSError: The folder cannot be written.

    Example:

    >>> import tempfile
    >>> from keras_sda.training import TrainOptions
    >>> check_output(TrainOptions(output=tempfile.mkdtemp())).is_dir()
    True
    """
    folder = pathlib.Path(options.output)
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(
            f"`output` must be a folder. Received a file: {options.output!r}."
        )
    if options.resume:
        _compare(folder, read_run(folder, options.command), options)
    elif folder.is_dir() and any(folder.iterdir()):
        names = sorted(path.name for path in folder.iterdir())
        listed = f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        if not _holds_run(folder):
            raise InvalidInputError(
                f"`output` {folder} holds other files ({listed}) and no training run; "
                "name a new folder."
            )
        if not options.overwrite:
            raise InvalidInputError(
                f"`output` {folder} is not empty: it holds a run ({listed}). Add "
                "`resume` (--resume) to continue that run, `overwrite` (--overwrite) "
                "to replace it, or name another folder."
            )
    _check_writable(folder)
    return folder


@contextlib.contextmanager
def claim_output(folder: pathlib.Path, options: RunOptions) -> Iterator[None]:
    """Makes the folder, deletes an earlier run with `overwrite`, stores the options.

    Use it around everything that writes. When that fails before the first backup is
    written, a folder that held no run before is left as it was, so that the corrected
    command can use it. An interruption leaves everything for `resume`.

    Args:
        folder: What `check_output` returned.
        options: Written to `options.json`. Files that no run has made are kept.
    """
    held_run = _holds_run(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    if options.overwrite:
        _delete_run(folder)
    try:
        with atomic_write(folder / "options.json") as temporary:
            stored = {"command": options.command, **dataclasses.asdict(options)}
            stored = json.dumps(stored, indent=2)
            temporary.write_text(f"{stored}\n")
        yield
    except Exception:
        if not held_run and not any((folder / "backup").rglob("*.weights.h5*")):
            _delete_run(folder)
            with contextlib.suppress(OSError):  # not empty, or not made either
                for path in made:
                    path.rmdir()
        raise


def read_run(folder: pathlib.Path, command: str | None = None) -> dict:
    """The options of the run in a folder, for `resume`.

    Args:
        folder: The output folder of the run.
        command: The command that is to go on with it, such as `"train"`. Defaults to
            `None`, any.

    Returns:
        The contents of `options.json`.

    Raises:
        InvalidInputError: There is no run, it is one of another command, or its
            options cannot be read.
    """
    stored = folder / "options.json"
    if not stored.is_file():
        raise InvalidInputError(
            f"`resume` (--resume): there is no training run in `output` {folder} (no "
            "options.json). Leave `resume` out to start one, or correct `output` "
            "(--output)."
        )
    try:
        run = json.loads(stored.read_text())
        if not isinstance(run, dict) or not {"model", "dataset"} <= set(run):
            raise ValueError("not the options of a run")
    except ValueError as error:
        raise InvalidInputError(
            f"`resume` (--resume): {stored} is damaged ({error}). Start again in "
            "another folder."
        ) from error
    # Runs of earlier versions do not say what they are.
    made_by = run.get("command") or ("prune" if "importance" in run else "train")
    if command is not None and made_by != command:
        raise InvalidInputError(
            f"`resume` (--resume): the run in `output` {folder} is one of `keras-sda "
            f"{made_by}`, not of `keras-sda {command}`. Name another folder."
        )
    return run


def existing_part(folder: pathlib.Path) -> pathlib.Path:
    """The folder itself, or the nearest one above that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _holds_run(folder) -> bool:
    try:
        return bool(read_run(folder))
    except InvalidInputError:
        return False


def _delete_run(folder):
    for name in _OWN:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _check_writable(folder):
    probe = existing_part(folder) / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise OSError(
            error.errno,
            f"`output` {folder} cannot be written ({error.strerror}). Choose another "
            "folder",
        ) from error


def _compare(folder, before, options):
    different = [
        f"{name} was {before.get(name)!r}, now {value!r}"
        for name, value in dataclasses.asdict(options).items()
        if name not in {*_FREE, *options.changeable} and before.get(name) != value
    ]
    if different:
        raise InvalidInputError(
            f"`resume` (--resume): the run in {folder} had other options: "
            f"{'; '.join(different)}. Give the same ones, or start another run."
        )
