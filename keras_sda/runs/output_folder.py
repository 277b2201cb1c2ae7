"""The folder of one training run: may it be used, and what does it hold?"""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from keras_sda.runs.run_inputs import check_inputs_outside, check_same_inputs
from keras_sda.utils import InvalidInputError, atomic_write, folder_lock
from keras_sda.utils.files.atomic_write import is_temporary
from keras_sda.utils.files.folder_lock import LOCK_NAME, check_not_locked
from keras_sda.utils.files.read_json import read_json

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


def check_output(options: Any) -> pathlib.Path:
    """Checks the output folder before anything expensive happens.

    Args:
        options: `output`, `resume` and `overwrite` decide; the others are compared
            with those of the run in the folder when resuming.

    Returns:
        The folder. It may not exist yet; nothing on the disk has changed.

    Raises:
        InvalidInputError: The folder holds a run and neither `resume` nor `overwrite`
            is set, it holds other files or an input of the run, it holds no run to
            resume, the run in it had other options, or another process works in it.
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
    check_inputs_outside(options, folder)
    check_not_locked(folder, "output")
    names = sorted(path.name for path in _entries(folder))
    if options.resume:
        _compare(folder, read_run(folder, options.command), options)
    elif names:
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
def claim_output(
    folder: pathlib.Path, options: Any, inputs: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Locks the folder, deletes an earlier run with `overwrite`, stores the options.

    Use it around everything that writes, when all checks have passed. When that fails
    before anything is finished that `resume` could go on from, a folder that held no
    run before is left as it was, so that the corrected command can use it. What is
    finished, a backup or a step, stays whatever the error is, and an interruption
    leaves everything.

    Args:
        folder: What `check_output` returned.
        options: Written to `options.json`. Files that no run has made are kept.
        inputs: What `run_inputs` returned, written as well, or compared where a run
            goes on. Defaults to none.

    Raises:
        InvalidInputError: An input is not what it was, or another process works in the
            folder or has done so meanwhile.
        OSError: The folder cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with folder_lock(folder, "output", shared=False):
            # Another process may have been here since.
            check_output(options)
            held_run = _holds_run(folder)
            if options.resume:
                before = read_run(folder, options.command)
                if (folder / "metrics.json").is_file():
                    raise InvalidInputError(
                        f"`resume` (--resume): another process has completed the run "
                        f"in {folder} meanwhile."
                    )
                check_same_inputs(before, inputs or {}, options, folder)
                stored = before.get("inputs")
                inputs = stored if isinstance(stored, Mapping) else inputs
            elif options.overwrite:
                _delete_run(folder)
            _delete_temporaries(folder)
            try:
                _write_options(folder, options, inputs)
                yield
            except Exception:
                if not held_run and not _is_worth_keeping(folder):
                    _delete_run(folder)
                    _delete_temporaries(folder)
                raise
    except Exception:
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
    again = "Start again in another folder."
    run = read_json(stored, dict, again, "resume", {"model": str, "command": str})
    if not {"model", "dataset"} <= set(run):
        raise InvalidInputError(
            f"`resume` (--resume): {stored} is damaged (not the options of a run). "
            f"{again}"
        )
    run.setdefault("split", "by_name")  # what runs of earlier versions did
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


def _entries(folder) -> list[pathlib.Path]:
    """What is in a folder, without what a killed run leaves before its first file."""
    if not folder.is_dir():
        return []
    return [
        path
        for path in folder.iterdir()
        if path.name != LOCK_NAME and not _is_own_temporary(path)
    ]


def _is_own_temporary(path) -> bool:
    # Such as .options-0a1b2c3d.json
    stem, _, rest = path.name[1:].rpartition("-")
    return is_temporary(path) and f"{stem}{rest[8:]}" in _OWN


def _delete_temporaries(folder):
    for path in folder.iterdir():
        if _is_own_temporary(path):
            path.unlink()


def _is_worth_keeping(folder) -> bool:
    """Whether a backup, a stage or a step is finished."""
    finished = [
        path
        for pattern in ("*.weights.h5*", "*.keras", "step[0-9]*.json")
        for path in (folder / "backup").rglob(pattern)
        if not is_temporary(path)
    ]
    return bool(finished) or (folder / "model.keras").is_file()


def _write_options(folder, options, inputs):
    stored = {"command": options.command, **dataclasses.asdict(options)}
    if inputs is not None:
        stored["inputs"] = dict(inputs)
    with atomic_write(folder / "options.json") as temporary:
        temporary.write_text(f"{json.dumps(stored, indent=2)}\n")


def _delete_run(folder):
    # The results first, the options last: a kill in between leaves a run that is not
    # complete, and that can be deleted or repeated.
    for name in ("metrics.json", *sorted(_OWN - {"metrics.json", "options.json"}),
                 "options.json"):  # fmt: skip
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _check_writable(folder):
    probe = existing_part(folder) / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        try:
            with probe.open("wb") as file:
                probe.unlink()  # so that a kill leaves nothing; the file stays open
                file.write(b"x")
        finally:
            probe.unlink(missing_ok=True)
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
