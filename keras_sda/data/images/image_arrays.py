"""Labelled images as .npz files, for machines without TensorFlow."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.images.image_split import ImageSplit
from keras_sda.data.images.load_image_dataset import check_labels
from keras_sda.utils import InvalidInputError, atomic_write

_KEYS = ("x_train", "y_train", "x_test", "y_test")


def load_image_arrays(
    paths: Sequence[str | os.PathLike],
    name: str,
    max_train_examples: int | None = None,
) -> ImageDataset:
    """Reads a dataset from .npz files, which are joined.

    Args:
        paths: Files that each hold images `x_train`, `x_test` (uint8 `[N, H, W, C]`)
            and class numbers `y_train`, `y_test` (`[N]` or `[N, 1]`).
        name: Name of the dataset.
        max_train_examples: Keep the first N training examples. Defaults to all.

    Raises:
        InvalidInputError: A file does not hold that.

    Example:

    >>> import tempfile
    >>> from keras_sda.training import load_image_dataset
    >>> prefix = tempfile.mkdtemp() + "/digits_"
    >>> paths = save_image_arrays(load_image_dataset("digits"), prefix, num_parts=2)
    >>> load_image_arrays(paths, "digits").num_train
    1437
    """
    parts = []
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as file:
                parts.append([file[key] for key in _KEYS])
        except (KeyError, ValueError, TypeError) as error:
            raise InvalidInputError(
                f"`paths`: {path} does not hold the arrays {', '.join(_KEYS)} "
                f"({error})."
            ) from error
    shapes = {part[number].shape[1:] for part in parts for number in (0, 2)}
    if len(shapes) != 1 or len(max(shapes)) != 3:
        raise InvalidInputError(
            "`paths`: all images must have one shape [height, width, channels]. "
            f"Received: {sorted(shapes)}."
        )
    x_train, y_train, x_test, y_test = map(np.concatenate, zip(*parts, strict=True))
    y_train, y_test = (y.reshape(-1).astype("int64") for y in (y_train, y_test))
    count = int(max(y_train.max(), y_test.max())) + 1
    train = ImageSplit(len(x_train), arrays=(x_train, y_train))
    test = ImageSplit(len(x_test), arrays=(x_test, y_test))
    for split in (train, test):
        check_labels(split, count, name)
    return ImageDataset(
        name=name,
        class_names=tuple(map(str, range(count))),
        channels=x_train.shape[-1],
        image_shape=x_train.shape[1:],
        train_split=train.take(max_train_examples),
        test_split=test,
    )


def save_image_arrays(
    dataset: ImageDataset, prefix: str, num_parts: int = 1
) -> list[str]:
    """Writes a dataset in memory as .npz files for `load_image_arrays`.

    Args:
        dataset: The images.
        prefix: The files are called so, with 1.npz, 2.npz and so on behind.
        num_parts: How many files. Defaults to `1`.

    Returns:
        Their paths.

    Raises:
        InvalidInputError: The dataset is not in memory.
    """
    train, test = dataset.train_split.arrays, dataset.test_split.arrays
    if train is None or test is None:
        raise InvalidInputError(
            f"`dataset` {dataset.name!r} is too large to be held in memory."
        )
    arrays = [*train, *test]
    paths = []
    for number in range(num_parts):
        path = pathlib.Path(f"{prefix}{number + 1}.npz")
        part = {
            key: array[number::num_parts]
            for key, array in zip(_KEYS, arrays, strict=True)
        }
        with atomic_write(path) as temporary:
            np.savez_compressed(temporary, **part)
        paths.append(str(path))
    return paths
