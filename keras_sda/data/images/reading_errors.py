"""Damaged data files: from TensorFlow's errors to a plain message."""

import contextlib
import re
from collections.abc import Callable, Iterator

from keras_sda.utils import InvalidInputError


@contextlib.contextmanager
def reading_errors(
    name: str, part: str | Callable[[], str], folder: str
) -> Iterator[None]:
    """Turns an error of reading data into an `InvalidInputError`.

    Use it around everything that reads a `tf.data.Dataset`. Errors that come from
    elsewhere, such as from the model, pass through.

    Args:
        name: Name of the dataset.
        part: `"train"` or `"test"`, for the message, or a function that returns it.
        folder: Folder of the data, for the message.

    Raises:
        InvalidInputError: A file is damaged or missing, or a label is out of range.

    Example:

    >>> with reading_errors("digits", "train", "data"):
    ...     pass
    """
    import tensorflow as tf

    try:
        yield
    except (
        tf.errors.DataLossError,
        tf.errors.FailedPreconditionError,
        tf.errors.InvalidArgumentError,
        tf.errors.NotFoundError,
    ) as error:
        text = str(error)
        label = re.search(r"`dataset` [^\n]* label out of range[^\n.]*\.", text)
        if label:
            raise InvalidInputError(f"{label[0]} Correct the data.") from error
        if "IteratorGetNext" not in text:
            raise
        part = part() if callable(part) else part
        raise InvalidInputError(
            f"`dataset` {name!r}: the {part} part in {folder} cannot be read "
            f"({_reason(text)}). A file is damaged or missing: prepare or copy the "
            "dataset again."
        ) from error


def _reason(text) -> str:
    """The line that says what is wrong, without the names of the graph's nodes."""
    lines = [
        re.sub(r"\{\{.*?\}\}|\[.*", "", line).strip() for line in text.splitlines()
    ]
    noise = ("Graph execution", "Detected at", "File ", "(")
    lines = [line for line in lines if line and not line.startswith(noise)]
    return lines[0][:200] if lines else "damaged"
