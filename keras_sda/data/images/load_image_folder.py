"""Reads a folder with one sub-folder of images per class."""

import collections
import concurrent.futures
import functools
import hashlib
import os
import pathlib

import numpy as np
from absl import logging

from keras_sda.data.images.decode_image import decode_image, pixel_limit
from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.images.image_split import ImageSplit
from keras_sda.utils import InvalidInputError

_TEST_NAMES = ("test", "val", "validation")
_TEST_SHARE = 0.2
# Often found beside images. Other names are tried, and named when they are no image.
_NO_IMAGE = {
    *(".cfg", ".csv", ".db", ".htm", ".html", ".ini", ".json", ".log", ".md"),
    *(".pdf", ".py", ".toml", ".tsv", ".txt", ".xml", ".yaml", ".yml"),
}


def load_image_folder(
    folder: str | os.PathLike, strict: bool = False, split: str = "per_class"
) -> ImageDataset:
    """Loads JPEG, PNG, GIF, BMP and WebP images from one sub-folder per class.

    Use it for images of your own. Either `folder/train/CLASS/` together with
    `folder/test/CLASS/` (or `val`, `validation`), or `folder/CLASS/` alone: then a
    fifth of the images of every class, those of the lowest hashes of their names, is
    the test part, the same one every time; a class of one image is trained and not
    tested. Classes are numbered in alphabetical order. Images are turned upright as
    their EXIF part says. Every file is decoded once to find damaged ones, and ones of
    more than 2**27 pixels (or KERAS_SDA_MAX_PIXELS, an environment variable), which
    are not decoded; hidden files and texts (`.txt`, `.json`, `.csv`, `.md`, ...) are
    ignored.

    Args:
        folder: The folder.
        strict: Whether a file that cannot be decoded is an error. Defaults to False:
            it is named in a warning and left out.
        split: `"per_class"`, or `"by_name"`: about a fifth of all images, as earlier
            versions chose them. Defaults to `"per_class"`.

    Returns:
        An `ImageDataset` of colour images, whose sizes may differ.

    Raises:
        InvalidInputError: No classes, a class without images, no test images, a test
            class that is not trained, a name of a class that is no line of text, or a
            damaged file with `strict`.

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
        train, test = _list_files(root, class_names), None
    files = train + (test or [])
    bad = _find_damaged([item[0] for item in files])
    _report_damaged(folder, bad, len(files), strict)
    train, test = (
        part and [item for item in part if item[0] not in bad] for part in (train, test)
    )
    _check_classes(folder, train, class_names)
    if test is None:
        train, test = _divide(train, class_names, split)
    train_split, test_split = map(_split, (train, test))
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
        skipped_files=tuple(sorted(map(_shown, bad))),
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
    for name in names:
        if _shown(name) != name or len(name.splitlines()) != 1 or not name.strip():
            raise InvalidInputError(
                f"`dataset` {root}: the name of the class folder {name!r} is no line "
                "of text in UTF-8, and cannot stand in a list of labels. Rename it."
            )
    return tuple(names)


def _list_files(root, class_names):
    """(path, label, hash) in an order that mixes the classes, always the same."""
    files = []
    for label, name in enumerate(class_names):
        for path in (root / name).rglob("*"):
            ignored = path.name.startswith(".") or path.suffix.lower() in _NO_IMAGE
            if path.is_file() and not ignored:
                # Names that are no UTF-8 are handed on as the bytes that they are.
                key = os.fsencode(path.relative_to(root).as_posix())
                text = str(path) if _shown(path) == str(path) else os.fsencode(path)
                files.append((text, label, hashlib.sha256(key).hexdigest()))
    return sorted(files, key=lambda item: item[2])


def _shown(path):
    """A path as text that can be printed and stored, whatever bytes it has."""
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode()


def _decode_file(path):
    import tensorflow as tf

    return decode_image(tf.io.read_file(path))


@functools.cache
def _emptiness(limit):
    """A function of a path; for one limit of pixels, which it holds."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def is_empty(path):
        image = decode_image(tf.io.read_file(path), max_pixels=limit)
        return tf.reduce_any(tf.shape(image) == 0)

    return is_empty


def _find_damaged(paths) -> dict:
    """What is wrong with the files that are of no use."""
    import tensorflow as tf

    is_empty = _emptiness(pixel_limit())

    def problem(path):
        try:
            with tf.device("CPU"):
                return "damaged" if is_empty(path) else ""
        except (tf.errors.OpError, ValueError) as error:
            return "large" if "more than" in str(error) else "damaged"

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(paths, pool.map(problem, paths), strict=True))
    return {path: text for path, text in found.items() if text}


def _report_damaged(folder, bad, count, strict):
    for kind, what, remedy in (
        ("damaged", "cannot be decoded as an image", "Repair or delete them"),
        (
            "large",
            f"have more than {pixel_limit():,} pixels",
            "Make them smaller, set the environment variable KERAS_SDA_MAX_PIXELS",
        ),
    ):
        names = sorted(_shown(path) for path in bad if bad[path] == kind)
        if not names:
            continue
        listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        message = f"{len(names)} of {count} file(s) in {folder} {what}: {listed}."
        if strict:
            raise InvalidInputError(
                f"`dataset`: {message} {remedy}, or leave `strict` (--strict) off to "
                "skip them."
            )
        logging.warning("Skipped: %s", message)


def _check_classes(folder, train, class_names):
    present = {item[1] for item in train}
    empty = [name for label, name in enumerate(class_names) if label not in present]
    if train and empty:
        listed = ", ".join(map(repr, empty[:10])) + (", ..." if empty[10:] else "")
        raise InvalidInputError(
            f"`dataset` {folder}: {len(empty)} class(es) have no training images that "
            f"can be decoded: {listed}. Add images, or delete the folder(s)."
        )


def _divide(files, class_names, split):
    """The files to train with and those to test with."""
    if split == "by_name":
        threshold = _TEST_SHARE * 16**8
        is_test = [int(item[2][:8], 16) < threshold for item in files]
    else:
        counts = collections.Counter(item[1] for item in files)
        single = [class_names[label] for label in counts if counts[label] == 1]
        if single:
            logging.warning(
                "Class(es) of one image, which is trained and not tested: %s.",
                ", ".join(sorted(single)),
            )
        left = {
            label: max(1, round(_TEST_SHARE * count)) if count > 1 else 0
            for label, count in counts.items()
        }
        is_test = []
        for _, label, _ in files:  # in the order of the hashes
            is_test.append(left[label] > 0)
            left[label] -= 1
    train = [item for item, flag in zip(files, is_test, strict=True) if not flag]
    return train, [item for item, flag in zip(files, is_test, strict=True) if flag]


def _split(items) -> ImageSplit:
    paths = np.array([item[0] for item in items], dtype=object)
    labels = np.array([item[1] for item in items], dtype="int64")
    return ImageSplit(len(items), files=(paths, labels), decode=_decode_file)
