"""Makes the backup of a killed run consistent before it is restored."""

import json
import os
import pathlib
import shutil

import keras
from absl import logging

from keras_sda.utils import InvalidInputError, WeightsFile, atomic_write
from keras_sda.utils.files.atomic_write import is_temporary

LATEST = "latest.weights.h5"
PREVIOUS = f"{LATEST}.bkp"
_METADATA = "training_metadata.json"
# The step counter of an optimizer, and of one inside a loss-scaling one.
_COUNTERS = "optimizer/inner_optimizer/vars/0", "optimizer/vars/0"


def repair_backup(
    backup_dir: str | os.PathLike,
    steps_per_epoch: int,
    model: keras.Model | None = None,
) -> int:
    """Chooses the newest complete backup in a folder after a kill.

    Use it before `fit`, also on folders of `keras.callbacks.BackupAndRestore(
    save_freq="epoch", double_checkpoint=True)`, which earlier versions used. That
    writes the weights and then the number of the epoch, neither atomically: a kill in
    between leaves a truncated or incomplete file, or weights that are one epoch ahead
    of the number. Here the newest complete weight file wins. The number of finished
    epochs is the one that `EpochBackup` wrote into it, or follows from the optimizer's
    step counter.

    Args:
        backup_dir: Folder of the backup. It may be absent or empty.
        steps_per_epoch: Optimizer steps in one epoch.
        model: The compiled model with its optimizer built, all of whose variables have
            to be there. Defaults to `None`: a file is complete if it can be read and
            counts steps.

    Returns:
        Number of finished epochs: where the data stream has to start. 0 where the first
        backup was not finished.

    Raises:
        InvalidInputError: There are two backups and neither can be used, or they are of
            another model.

    Example:

    >>> import tempfile
    >>> repair_backup(tempfile.mkdtemp(), steps_per_epoch=10)
    0
    """
    folder = pathlib.Path(backup_dir)
    for path in folder.glob(".*") if folder.is_dir() else ():
        if is_temporary(path):
            path.unlink()
    latest, previous = folder / LATEST, folder / PREVIOUS
    problems = {}
    for path in (latest, previous):
        if not path.exists():
            continue
        file = WeightsFile(path)
        problem = file.problem(model)
        steps = None if problem else file.variable(*_COUNTERS)
        if problem or steps is None:
            problems[path.name] = problem or "it holds no step counter"
            continue
        # float16 training skips the steps whose gradients overflow, hence upwards.
        epoch = file.epoch or -(-int(steps) // steps_per_epoch)
        if path == previous:
            logging.warning("The backup of epoch %d is used: %s", epoch, problems)
            with atomic_write(latest) as temporary:
                shutil.copyfile(previous, temporary)
        with atomic_write(folder / _METADATA) as temporary:
            temporary.write_text(json.dumps({"epoch": epoch, "batch": 0}))
        return epoch
    if len(problems) > 1:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in problems.items())
        raise InvalidInputError(
            f"The backups in {folder} cannot be used ({reasons}). Start again with "
            "`overwrite` (--overwrite)."
        )
    # The first backup was interrupted: nothing has been finished yet.
    for path in (latest, previous, folder / _METADATA):
        path.unlink(missing_ok=True)
    return 0
