"""The folder of one training run: may it be used, and what does it hold?"""

import dataclasses
import json
import pathlib
import shutil
import uuid

from keras_sda.training.train_options import TrainOptions
from keras_sda.utils import InvalidInputError, atomic_write

# What may differ between a run and its continuation without changing the result.
_FREE = {
    "data_dir",
    "deterministic",
    "download",
    "output",
    "overwrite",
    "resume",
    "strategy",
    "strict",
    "virtual_devices",
}
_OWN = {
    "backup",
    "best.weights.h5",
    "curves.png",
    "history.csv",
    "labels.txt",
    "logs",
    "metrics.json",
    "model.keras",
    "options.json",
}


def check_output(options: TrainOptions) -> pathlib.Path:
    """Checks the output folder before anything expensive happens.

    Args:
        options: `output`, `resume` and `overwrite` decide; the others are compared
            with those of the run in the folder when resuming.

    Returns:
        The folder, which exists and can be written. Nothing in it has changed.

    Raises:
        InvalidInputError: The folder holds files and neither `resume` nor `overwrite`
            is set, or the run in it had other options.
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
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    if names and options.resume:
        stored = folder / "options.json"
        if not stored.is_file():
            raise InvalidInputError(
                f"`resume`: {folder} holds no training run (no options.json). Give "
                "the folder of an interrupted run."
            )
        _compare(stored, options)
    elif names and not options.overwrite:
        raise InvalidInputError(
            f"`output` {folder} is not empty (it holds {', '.join(names[:3])}"
            f"{', ...' if len(names) > 3 else ''}). Add --resume to continue that run, "
            "--overwrite to replace it, or choose another folder."
        )
    _check_writable(folder)
    return folder


def claim_output(folder: pathlib.Path, options: TrainOptions) -> None:
    """Deletes an earlier run with `overwrite`, and stores the options.

    Args:
        folder: What `check_output` returned.
        options: Written to `options.json`. Files that no run has made are kept.
    """
    if options.overwrite:
        for name in _OWN:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    with atomic_write(folder / "options.json") as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(options), indent=2) + "\n")


def _check_writable(folder):
    probe = folder / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise OSError(
            error.errno,
            f"`output` {folder} cannot be written ({error.strerror}). Choose another "
            "folder",
        ) from error


def _compare(stored, options):
    try:
        before = json.loads(stored.read_text())
    except ValueError as error:
        raise InvalidInputError(
            f"`resume`: {stored} is damaged ({error}). Start again with `overwrite`."
        ) from error
    different = [
        f"{name} was {before.get(name)!r}, now {value!r}"
        for name, value in dataclasses.asdict(options).items()
        if name not in _FREE and before.get(name) != value
    ]
    if different:
        raise InvalidInputError(
            f"`resume`: the run in {stored.parent} had other options: "
            f"{'; '.join(different)}. Give the same ones, or start another run."
        )
