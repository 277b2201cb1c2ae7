"""Makes the backup of a killed run consistent before it is restored."""

import json
import os
import pathlib
import shutil

import numpy as np

from keras_sda.utils import InvalidInputError, atomic_write

_WEIGHTS = "latest.weights.h5"
_METADATA = "training_metadata.json"


def repair_backup(backup_dir: str | os.PathLike, steps_per_epoch: int) -> int:
    """Repairs a folder of `keras.callbacks.BackupAndRestore` after a kill.

    Use it before `fit` with `BackupAndRestore(save_freq="epoch",
    double_checkpoint=True)`. That callback writes the weights and then the number of
    the epoch, neither atomically: a kill in between leaves a truncated file, or
    weights that are one epoch ahead of the number. Here the newest readable weight
    file wins, and the number of finished epochs is taken from the optimizer's step
    counter inside it.

    Args:
        backup_dir: Folder of the backup. It may be absent or empty.
        steps_per_epoch: Optimizer steps in one epoch.

    Returns:
        Number of finished epochs: where the data stream has to start.

    Raises:
        InvalidInputError: There are weight files, and none can be read.

    Example:

    >>> import tempfile
    >>> repair_backup(tempfile.mkdtemp(), steps_per_epoch=10)
    0
    """
    folder = pathlib.Path(backup_dir)
    latest, previous = folder / _WEIGHTS, folder / f"{_WEIGHTS}.bkp"
    if not latest.exists() and not previous.exists():
        (folder / _METADATA).unlink(missing_ok=True)
        return 0
    steps = _read_steps(latest)
    if steps is None:
        steps = _read_steps(previous)
        if steps is None:
            raise InvalidInputError(
                f"The backup in {folder} cannot be read: {latest.name} and its copy "
                "are damaged. Start again with `overwrite` (--overwrite)."
            )
        with atomic_write(latest) as temporary:
            shutil.copyfile(previous, temporary)
    # float16 training skips the steps whose gradients overflow, hence upwards.
    epoch = -(-steps // steps_per_epoch)
    with atomic_write(folder / _METADATA) as temporary:
        temporary.write_text(json.dumps({"epoch": epoch, "batch": 0}))
    return epoch


def _read_steps(path) -> int | None:
    """Step counter in a weight file, None when the file is absent or damaged."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            # Reads everything: a file cut in the middle may well open.
            file.visititems(
                lambda _, item: (
                    np.asarray(item) if isinstance(item, h5py.Dataset) else 0
                )
            )
            optimizer = file["optimizer"]
            if "inner_optimizer" in optimizer:
                optimizer = optimizer["inner_optimizer"]
            return int(np.asarray(optimizer["vars"]["0"]))
    except (OSError, KeyError, RuntimeError, ValueError, TypeError):
        return None
