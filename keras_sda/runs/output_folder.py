"""The output folder of a command: may it be used, and by whom?"""

import contextlib
import dataclasses
import pathlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from keras_sda.runs.manifest import MANIFEST, Manifest
from keras_sda.runs.run import Run
from keras_sda.runs.run_inputs import check_inputs_outside, check_same_inputs
from keras_sda.utils import InvalidInputError, folder_lock
from keras_sda.utils.files.atomic_write import is_temporary
from keras_sda.utils.files.folder_lock import LOCK_NAME, check_not_locked

# May differ between a run and its continuation: the data may have moved (it is up to
# the user that it is the same), and `strict` can only stop a run, not change it.
_FREE = {"data_dir", "download", "output", "overwrite", "resume", "strict"}
_PREFIX = "keras-sda "


def command_run(options: Any) -> Run:
    """The run of a command in its output folder, not opened yet.

    Args:
        options: `output` and `command` count.

    Example:

    >>> from keras_sda.training import TrainOptions
    >>> command_run(TrainOptions(output="runs/a")).command
    'keras-sda train'
    """
    name = f"{_PREFIX}{options.command}"
    return Run(options.output, name, work="backup", argument="output")


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
    before = Manifest.read(folder, "output")
    names = _entries(folder, before)
    if options.resume:
        _compare(folder, read_run(folder, options.command).options, options)
    elif names:
        listed = f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        if not (before and before.options):
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
    run: Run, options: Any, inputs: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Locks the folder, deletes an earlier run with `overwrite`, opens the run.

    Use it around everything that writes, when all checks have passed. When that fails
    before anything is finished that `resume` could go on from, a folder that held no
    run before is left as it was, so that the corrected command can use it. What is
    finished, a backup or a step, stays whatever the error is, and an interruption
    leaves everything.

    Args:
        run: What `command_run` returned.
        options: Written to the manifest, with the names of the files that the command
            writes; others are never deleted.
        inputs: What `run_inputs` returned, written as well, or compared where a run
            goes on. Defaults to none.

    Raises:
        InvalidInputError: An input is not what it was, or another process works in the
            folder or has done so meanwhile.
        OSError: The folder cannot be written.
    """
    folder = run.folder
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with folder_lock(folder, "output", shared=False):
            # Another process may have been here since.
            check_output(options)
            before = Manifest.read(folder, "output")
            manifest = Manifest(
                run.command,
                inputs=dict(inputs or {}),
                files=["backup", *options.files],
            )
            if options.resume and before is not None:
                if before.finished:
                    raise InvalidInputError(
                        f"`resume` (--resume): another process has completed the run "
                        f"in {folder} meanwhile."
                    )
                check_same_inputs(before.inputs, inputs or {}, options, folder)
                manifest = before
            elif before is not None:
                # A kill from here on leaves a run of which nothing is finished.
                before.finished, before.stages = False, {}
                before.write(folder)
                _delete_run(folder, before)
            manifest.options = dataclasses.asdict(options)
            _delete_temporaries(folder, manifest)
            try:
                manifest.write(folder)
                with run.opened():
                    yield
            except Exception:
                if before is None and not run.has_begun:
                    _delete_run(folder, manifest)
                raise
    except Exception:
        with contextlib.suppress(OSError):  # not empty, or not made either
            for path in made:
                path.rmdir()
        raise


def read_run(folder: pathlib.Path, command: str | None = None) -> Manifest:
    """The manifest of the run of a command, for `resume`.

    Args:
        folder: The output folder of the run.
        command: The command that is to go on with it, such as `"train"`. Defaults to
            `None`, any.

    Raises:
        InvalidInputError: There is no run, it is one of another command, or its
            manifest cannot be read.
    """
    found = Manifest.read(folder, "resume")
    if found is None or not found.options:
        raise InvalidInputError(
            f"`resume` (--resume): there is no training run in `output` {folder} (no "
            f"{MANIFEST} of a command). Leave `resume` out to start one, or correct "
            "`output` (--output)."
        )
    if command is not None and found.command != f"{_PREFIX}{command}":
        raise InvalidInputError(
            f"`resume` (--resume): the run in `output` {folder} is one of "
            f"`{found.command}`, not of `{_PREFIX}{command}`. Name another folder."
        )
    return found


def existing_part(folder: pathlib.Path) -> pathlib.Path:
    """The folder itself, or the nearest one above that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _entries(folder, manifest) -> list[str]:
    """What is in a folder, without what a killed run leaves before its first file."""
    if not folder.is_dir():
        return []
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.name != LOCK_NAME and not _is_own_temporary(path, manifest)
    )


def _is_own_temporary(path, manifest) -> bool:
    # Such as .run-0a1b2c3d.json
    stem, _, rest = path.name[1:].rpartition("-")
    own = (MANIFEST, *(manifest.files if manifest else ()))
    return is_temporary(path) and f"{stem}{rest[8:]}" in own


def _delete_temporaries(folder, manifest):
    for path in folder.iterdir():
        if _is_own_temporary(path, manifest):
            path.unlink()


def _delete_run(folder, manifest):
    # The manifest last: what a kill leaves can be overwritten.
    for name in (*manifest.files, MANIFEST):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    _delete_temporaries(folder, manifest)


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
