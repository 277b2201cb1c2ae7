"""What a run was made from, so that it does not go on with something else."""

import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_sda.data.fit.array_structures import leaves, to_array
from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.utils import InvalidInputError

# Options that may name a file.
_FILES = ("model", "weights", "plan", "latency_table")
_CHUNK = 1 << 20


def run_inputs(options: object, dataset: ImageDataset | None = None) -> dict[str, str]:
    """A fingerprint of every file that the options name, and of the dataset.

    Use it when a run begins and when it goes on. Files are hashed as a whole; of a
    dataset only what is in memory: labels, file names, and images that are arrays.

    Args:
        options: The options of a command.
        dataset: The images. Defaults to `None`, not looked at.

    Returns:
        Fingerprints by the name of the option.

    Example:

    >>> from keras_sda.training import TrainOptions, load_image_dataset
    >>> list(run_inputs(TrainOptions(), load_image_dataset("digits")))
    ['dataset']
    """
    found = {}
    for name in _FILES:
        path = getattr(options, name, None)
        if path and pathlib.Path(path).is_file():
            found[name] = _hash_file(path)
    if dataset is not None:
        found["dataset"] = _hash_dataset(dataset)
    return found


def check_same_inputs(
    before: Mapping[str, str],
    now: Mapping[str, str],
    options: object,
    folder: pathlib.Path,
) -> None:
    """Raises where an input of a run is not what it was when the run began.

    Args:
        before: What `run_inputs` returned when the run began.
        now: What `run_inputs` returns.
        options: The options of the command.
        folder: The folder of the run.

    Raises:
        InvalidInputError: A file or the dataset has changed.

    Example:

    >>> import pathlib
    >>> check_same_inputs({}, {"model": "a"}, None, pathlib.Path("runs/a"))
    """
    for name, value in now.items():
        if before.get(name, value) != value:
            raise InvalidInputError(
                f"`resume` (--resume): `{name}` {getattr(options, name)} is not what "
                f"it was when the run in {folder} began. Put the {name} of then back, "
                "or start another run in another folder."
            )


def check_inputs_outside(options: Any, folder: pathlib.Path) -> None:
    """Raises where an input file lies in the folder that the run writes to.

    Args:
        options: The options of the command.
        folder: Their `output`.

    Raises:
        InvalidInputError: The run could delete or replace the file.

    Example:

    >>> import pathlib
    >>> from keras_sda.training import TrainOptions
    >>> check_inputs_outside(TrainOptions(), pathlib.Path("runs/a"))
    """
    for name in _FILES:
        path = getattr(options, name, None)
        if not path or not pathlib.Path(path).is_file():
            continue
        if folder.resolve() in pathlib.Path(path).resolve().parents:
            what = f"the {name} to {options.command}" if name == "model" else (
                f"`{name}` (--{name})"
            )  # fmt: skip
            raise InvalidInputError(
                f"`output` {folder} holds {what}, {path}. Name another folder."
            )


def data_digest(data: Any) -> str | None:
    """A fingerprint of the data of a call, to see that it is given the same again.

    Arrays count with every number; of a stream, which must not be read, its type, and
    what it says of the shape and number of its batches.

    Args:
        data: What `model.fit` takes, or None.

    Returns:
        64 hexadecimal digits, or None.

    Example:

    >>> import numpy as np
    >>> from keras_sda.runs.run_inputs import data_digest
    >>> data_digest(np.zeros(3)) == data_digest(np.ones(3))
    False
    """
    if data is None:
        return None
    digest = hashlib.sha256()
    if hasattr(data, "element_spec"):
        digest.update(f"{data.element_spec} {int(data.cardinality())}".encode())
    elif isinstance(data, (tuple, list, Mapping)) or hasattr(data, "shape"):
        for leaf in leaves(data):
            try:
                array = to_array(leaf)
            except (TypeError, ValueError):  # whoever reads it says what is wrong
                array = np.frombuffer(type(leaf).__name__.encode(), "uint8")
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array))
    else:
        kind = type(data).__qualname__
        digest.update(f"{kind} {getattr(data, 'num_batches', None)}".encode())
    return digest.hexdigest()


def _hash_file(path: str | os.PathLike) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _hash_dataset(dataset) -> str:
    digest = hashlib.sha256(repr(dataset.class_names).encode())
    for split in (dataset.train_split, dataset.test_split):
        digest.update(f"{split.num_examples}".encode())
        if split.arrays is not None:
            for array in split.arrays:
                digest.update(np.ascontiguousarray(array))
        elif split.files is not None:
            paths, labels = split.files
            # The folder may have moved.
            names = "\n".join(os.path.basename(str(path)) for path in paths)
            digest.update(names.encode() + np.asarray(labels).tobytes())
    return digest.hexdigest()
