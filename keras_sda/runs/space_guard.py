"""Notices a full disk before a weight file is begun."""

import errno
import os
import pathlib
import shutil
import uuid

import keras

from keras_sda.runs.output_folder import existing_part

# Per parameter: best weights, the new backup, the copy of the one before.
_BYTES_PER_PARAMETER = 40
_BYTES_PER_VARIABLE = 16384  # HDF5 keeps some kilobytes for each


class SpaceGuard(keras.callbacks.Callback):
    """Checks before every round of saving that the files of the run will fit.

    Use it as the first callback. HDF5 cannot recover from a write that fails halfway:
    it floods the terminal and may crash the interpreter at exit. The backup of the
    epoch before stays readable when this stops the run.

    Args:
        folder: Where the run writes.

    Raises:
        OSError: There is not enough space, with the number of megabytes.

    Example:

    ```python
    model.fit(data, validation_data=test, callbacks=[SpaceGuard("runs/a"), backup])
    ```
    """

    def __init__(self, folder: str | os.PathLike):
        super().__init__()
        self.folder = pathlib.Path(folder)

    def on_test_begin(self, logs=None):
        check_free_space(self.folder, self.model)


def check_free_space(folder: str | os.PathLike, model: keras.Model) -> None:
    """Raises `OSError` when the files of one epoch do not fit into a folder.

    Args:
        folder: A folder. Where it is absent, the one above it counts.
        model: The model that is trained; its size decides.
    """
    folder = existing_part(pathlib.Path(folder))
    needed = _BYTES_PER_PARAMETER * model.count_params()
    needed += _BYTES_PER_VARIABLE * len(model.weights)
    free = shutil.disk_usage(folder).free
    reason = "" if free >= needed else f"{free / 1e6:.0f} MB are free"
    reason = reason or _cannot_reserve(folder, needed)
    if reason:
        raise OSError(
            f"`output` {folder}: {reason}, about {needed / 1e6:.0f} MB are needed for "
            "weights and backups. Free some space, then start again (with `resume`, "
            "--resume, where a run was interrupted), or choose another folder."
        )


def _cannot_reserve(folder, needed) -> str:
    """Why so many bytes cannot be had (quota, file size limit), or an empty text."""
    if not hasattr(os, "posix_fallocate"):
        return ""
    probe = folder / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        with probe.open("wb") as file:
            probe.unlink()  # so that a kill leaves nothing; the file stays open
            os.posix_fallocate(file.fileno(), 0, needed)
    except OSError as error:
        unsupported = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
        return "" if error.errno in unsupported else str(error.strerror).lower()
    finally:
        probe.unlink(missing_ok=True)
    return ""
