"""Whether an option names a dataset at all."""

import os

from keras_sda.utils import InvalidInputError


def check_dataset_name(name: str | os.PathLike) -> None:
    """Raises where nothing names a dataset.

    Args:
        name: The option `dataset`.

    Raises:
        InvalidInputError: It is empty, or no text.
    """
    if not isinstance(name, (str, os.PathLike)) or not os.fspath(name).strip():
        raise InvalidInputError(
            f"`dataset` must not be empty. Received: dataset={name!r}. Give digits, a "
            "TensorFlow Datasets name such as cifar10, or a folder with one sub-folder "
            "of images per class ('.' is the current one)."
        )
