"""Reads a folder with one sub-folder of images per class."""

import concurrent.futures
import hashlib
import os
import pathlib

import numpy as np
from absl import logging

from keras_sda.training.decode_image import decode_image
from keras_sda.training.image_dataset import ImageDataset
from keras_sda.training.image_split import ImageSplit
from keras_sda.utils import InvalidInputError

_TEST_NAMES = ("test", "val", "validation")
_TEST_SHARE = 0.2
# Often found beside images. Other names are tried, and named when they are no image.
_NO_IMAGE = {
    *(".cfg", ".csv", ".db", ".htm", ".html", ".ini", ".json", ".log", ".md"),
    *(".pdf", ".py", ".toml", ".tsv", ".txt", ".xml", ".yaml", ".yml"),
}


def load_image_folder(folder: str | os.PathLike, strict: bool = False) -> ImageDataset:
    """Loads JPEG, PNG, GIF and BMP images from one sub-folder per class.

    Use it for images of your own. Either `folder/train/CLASS/` together with
    `folder/test/CLASS/` (or `val`, `validation`), or `folder/CLASS/` alone: then
    about a fifth of the images, chosen by a hash of their names, is the test part, the
    same one every time. Classes are numbered in alphabetical order. Every file is
    decoded once to find damaged ones; hidden files and texts (`.txt`, `.json`, `.csv`,
    `.md`, ...) are ignored.

    Args:
        folder: The folder.
        strict: Whether a file that cannot be decoded is an error. Defaults to False:
            it is named in a warning and left out.

    Returns:
        An `ImageDataset` of colour images, whose sizes may differ.

    Raises:
        InvalidInputError: No classes, no images, no test images, a test class that
            is not trained, or a damaged file with `strict`.

    Example:

    ```python
    data = load_image_folder("flowers")
    print(data.class_names, data.num_train, data.skipped_files)
    ```
    """
    folder = pathlib.Path(folder)
    train_root = folder / "train"
    test_root = next(
        (folder / name for name in _TEST_NAMES if (folder / name).is_dir()), None
    )
    if train_root.is_dir() and test_root is not None:
        class_names = _class_names(train_root)
        extra = sorted(set(_class_names(test_root)) - set(class_names))
        if extra:
            raise InvalidInputError(
                f"`dataset` {folder}: {test_root.name}/ has class(es) {extra} that "
                f"train/ lacks. Expected the same class folders in both."
            )
        train = _list_files(train_root, class_names)
        test = _list_files(test_root, class_names)
    else:
        root = train_root if train_root.is_dir() else folder
        class_names = _class_names(root)
        files = _list_files(root, class_names)
        threshold = _TEST_SHARE * 16**8
        test = [item for item in files if int(item[2][:8], 16) < threshold]
        train = [item for item in files if int(item[2][:8], 16) >= threshold]
    bad = _find_damaged([item[0] for item in train + test])
    if bad:
        listed = ", ".join(bad[:5]) + (", ..." if len(bad) > 5 else "")
        message = f"{len(bad)} of {len(train) + len(test)} file(s) in {folder}"
        if strict:
            raise InvalidInputError(
                f"`dataset`: {message} cannot be decoded as an image: {listed}. "
                "Repair or delete them, or leave `strict` (--strict) off to skip them."
            )
        logging.warning("Skipped %s that cannot be decoded: %s", message, listed)
    train_split, test_split = (_split(part, set(bad)) for part in (train, test))
    for part, split in (("training", train_split), ("test", test_split)):
        if not split.num_examples:
            raise InvalidInputError(
                f"`dataset` {folder} has no {part} images that can be decoded. "
                "Expected JPEG, PNG, GIF or BMP files in "
                "train/CLASS/ and test/CLASS/, or in CLASS/ (at least ten images)."
            )
    return ImageDataset(
        name=str(folder),
        class_names=class_names,
        channels=3,
        image_shape=None,
        train_split=train_split,
        test_split=test_split,
        skipped_files=tuple(bad),
        folder=str(folder),
    )


def _class_names(root) -> tuple[str, ...]:
    names = sorted(
        path.name
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith((".", "__"))
    )
    if len(names) < 2:
        raise InvalidInputError(
            f"`dataset` {root} has {len(names)} class folder(s), expected at least "
            "two: one sub-folder of images per class, such as "
            f"{root.name}/cat/ and {root.name}/dog/."
        )
    return tuple(names)


def _list_files(root, class_names):
    """(path, label, hash) in an order that mixes the classes, always the same."""
    files = []
    for label, name in enumerate(class_names):
        for path in (root / name).rglob("*"):
            ignored = path.name.startswith(".") or path.suffix.lower() in _NO_IMAGE
            if path.is_file() and not ignored:
                key = path.relative_to(root).as_posix().encode()
                files.append((str(path), label, hashlib.sha256(key).hexdigest()))
    return sorted(files, key=lambda item: item[2])


def _decode_file(path):
    import tensorflow as tf

    return decode_image(tf.io.read_file(path))


def _find_damaged(paths) -> list[str]:
    import tensorflow as tf

    def is_damaged(path):
        try:
            with tf.device("CPU"):
                return 0 in _decode_file(path).shape
        except (tf.errors.OpError, ValueError):
            return True

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        flags = list(pool.map(is_damaged, paths))
    return sorted(path for path, flag in zip(paths, flags, strict=True) if flag)


def _split(items, bad) -> ImageSplit:
    kept = [item for item in items if item[0] not in bad]
    paths = np.array([item[0] for item in kept], dtype=object)
    labels = np.array([item[1] for item in kept], dtype="int64")
    return ImageSplit(len(kept), files=(paths, labels), decode=_decode_file)
