"""The names of the classes, from a list, a file or a default."""

import collections
import os
import pathlib
import re
from collections.abc import Sequence

from absl import logging

from keras_sda.utils import InvalidInputError


def read_labels(
    labels: Sequence[str] | str | os.PathLike | None,
    num_classes: int,
    one_unit: bool = False,
) -> list[str]:
    """Returns one label name per class of the model.

    Use it wherever the user may give labels as a list or as a file.

    Args:
        labels: Names in the order of the outputs, or the path of a UTF-8 text file
            with one name per line (with or without byte order mark, lines ended as on
            any system), or `None` for `class_0`, `class_1` and so on. A name that
            comes twice is logged.
        num_classes: Number of classes of the model.
        one_unit: Whether one sigmoid unit stands for two classes. Defaults to `False`.

    Returns:
        List of `num_classes` strings.

    Raises:
        InvalidInputError: The file cannot be read, a name is empty or holds a line
            break, or the number does not fit.

    Example:

    >>> from keras_sda.export.formats.read_labels import read_labels
    >>> read_labels(None, 3)
    ['class_0', 'class_1', 'class_2']
    """
    if labels is None:
        return [f"class_{index}" for index in range(num_classes)]
    source = "list"
    if isinstance(labels, (str, os.PathLike)):
        source = f"file {labels}"
        labels = _read_lines(labels)
    labels = [str(label) for label in labels]
    if len(labels) != num_classes:
        outputs = f"{num_classes} outputs. Give one name per output, in their order."
        if one_unit:
            outputs = (
                "one sigmoid unit, which stands for two classes. Give two names: that "
                "of an output near 0, then that of an output near 1."
            )
        raise InvalidInputError(
            f"`labels` ({source}) holds {len(labels)} names, but the model has "
            f"{outputs}"
        )
    for index, label in enumerate(labels):
        is_text = label.encode("utf-8", "ignore").decode() == label
        if not label.strip() or len(label.splitlines()) != 1 or not is_text:
            raise InvalidInputError(
                f"`labels` ({source}): name {index} is {label!r}; every name must be "
                "one line of text in UTF-8."
            )
    twice = [name for name, count in collections.Counter(labels).items() if count > 1]
    if twice:
        logging.warning("`labels` (%s) names classes alike: %s.", source, twice[:10])
    return labels


def _read_lines(path):
    try:
        data = pathlib.Path(path).read_bytes()
        text = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = str(error)
        if isinstance(error, UnicodeDecodeError):
            known = data[:2] in (b"\xff\xfe", b"\xfe\xff")
            reason = "it is UTF-16" if known else f"no UTF-8 at byte {error.start}"
        raise InvalidInputError(
            f"`labels` file {path} cannot be read ({reason}). Give a UTF-8 text file "
            "with one name per line, or a list of names."
        ) from error
    lines = re.split("\r\n|\n|\r", text)
    while lines and not lines[-1].strip():
        lines.pop()
    return lines
