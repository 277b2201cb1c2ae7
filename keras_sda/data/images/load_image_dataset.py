"""Finds a dataset by name, wherever it is."""

import dataclasses
import os
import pathlib

import numpy as np

from keras_sda.data.images.check_dataset_name import check_dataset_name
from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.images.image_split import ImageSplit
from keras_sda.data.images.load_image_folder import load_image_folder
from keras_sda.data.images.load_tfds import load_tfds
from keras_sda.utils import InvalidInputError


def load_image_dataset(
    name: str,
    data_dir: str | os.PathLike | None = None,
    download: bool = False,
    strict: bool = False,
    max_train_examples: int | None = None,
    split: str = "per_class",
) -> ImageDataset:
    """Loads a labelled image dataset by name.

    Use it before training or evaluation. Nothing is downloaded unless asked for.

    Args:
        name: `"digits"` (scikit-learn's 1,797 handwritten digits, which need no
            file), the path of a folder with one sub-folder of images per class, the
            name of such a folder inside `data_dir`, or a TensorFlow Datasets name
            such as `"cifar10"`.
        data_dir: Folder of the prepared datasets. Defaults to the environment
            variable TFDS_DATA_DIR, then to `~/tensorflow_datasets`.
        download: Whether TensorFlow Datasets may download what is absent. Defaults
            to False.
        strict: Whether a damaged image file is an error. Defaults to False: it is
            named, counted and left out.
        max_train_examples: Keep the first N training examples. Defaults to all.
        split: How a folder without a test part is divided, see `load_image_folder`.
            Defaults to `"per_class"`.

    Returns:
        An `ImageDataset`.

    Raises:
        InvalidInputError: The dataset is absent, empty, has no classes, no test part
            or labels out of range; the message says what to do.

    Example:

    >>> load_image_dataset("digits", max_train_examples=100).num_train
    100
    """
    check_dataset_name(name)
    name = os.fspath(name)
    if "\0" in name:
        raise InvalidInputError(f"`dataset` holds a zero byte: {name!r}.")
    folder = _as_folder(name, data_dir)
    if name == "digits":
        dataset = _load_digits()
    elif folder is not None:
        dataset = load_image_folder(folder, strict=strict, split=split)
    elif os.sep in name and not _looks_like_tfds(name):
        raise InvalidInputError(
            f"`dataset` names a folder that does not exist: {name!r}. Give a folder "
            "with one sub-folder of images per class, or the name of a dataset."
        )
    else:
        dataset = load_tfds(name, data_dir=data_dir, download=download)
    for part, split in (
        ("training", dataset.train_split),
        ("test", dataset.test_split),
    ):
        check_labels(split, len(dataset.class_names), f"{name} ({part} part)")
    return dataclasses.replace(
        dataset, train_split=dataset.train_split.take(max_train_examples)
    )


def check_labels(split: ImageSplit, num_classes: int, where: str) -> None:
    """Raises `InvalidInputError` when a label in memory is no class number.

    Args:
        split: The images; a stream is not read here, its labels are checked later.
        num_classes: Labels must be from 0 to this number minus 1.
        where: Name of the dataset, for the message.
    """
    if split.num_examples == 0:
        raise InvalidInputError(f"`dataset` {where} holds no images.")
    if split.stream is not None:
        return
    _, labels = split.arrays or split.files or ((), ())
    labels = np.asarray(labels)
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        raise InvalidInputError(
            f"`dataset` {where} has {wrong.size} label(s) out of range: example "
            f"{wrong[0]} has label {labels[wrong[0]]}, expected 0 to "
            f"{num_classes - 1}. Correct the labels or the list of classes."
        )


def _as_folder(name, data_dir):
    """The folder of class folders that `name` means, or None."""
    paths = [pathlib.Path(name).expanduser()]
    if data_dir:
        paths.append(pathlib.Path(data_dir).expanduser() / name)
    for path in paths:
        prepared = [f"{'*/' * depth}dataset_info.json" for depth in range(3)]
        if path.is_dir() and not any(any(path.glob(p)) for p in prepared):
            return path
    return None


def _looks_like_tfds(name):
    return not name.startswith((".", "~", os.sep)) and name.count("/") == 1


def _load_digits() -> ImageDataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = np.round(data.images[..., None] * (255 / 16)).astype("uint8")
    parts = train_test_split(
        images,
        data.target.astype("int64"),
        test_size=360,
        stratify=data.target,
        random_state=0,
    )
    train_images, test_images, train_labels, test_labels = parts
    return ImageDataset(
        name="digits",
        class_names=tuple(map(str, range(10))),
        channels=1,
        image_shape=(8, 8, 1),
        train_split=ImageSplit(len(train_labels), arrays=(train_images, train_labels)),
        test_split=ImageSplit(len(test_labels), arrays=(test_images, test_labels)),
    )
