"""What an argument may be: one check for constructors of networks and layers."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sda.utils.invalid_input_error import InvalidInputError


def check_arguments(kind: str, **arguments: Any) -> None:
    """Refuses arguments that are not of a kind.

    Args:
        kind: `"count"` (a positive integer), `"counts"` (a list of those), `"side"`
            (one of those, or a pair), `"odd"` (an odd one), `"number"` (positive and
            finite), `"flag"` (`True` or `False`), `"text"`, `"padding"` or
            `"data_format"`.
        **arguments: The arguments, by their names.

    Raises:
        InvalidInputError: One of them is of another kind; names it and what it is.

    Example:

    >>> from keras_sda.utils.check_arguments import check_arguments
    >>> check_arguments("count", filters=8, groups=2)
    >>> check_arguments("counts", stackwise_num_blocks=[3, 4])
    """
    fits, expected = _KINDS[kind]
    for name, value in arguments.items():
        if not fits(value):
            raise InvalidInputError(
                f"`{name}` must be {expected}. Received: {name}={value!r:.80}."
            )


def is_count(value: Any) -> bool:
    """Whether a value is a positive integer, and not `True`."""
    if isinstance(value, bool):
        return False
    try:
        return operator.index(value) > 0
    except TypeError:
        return False


def _are_counts(value):
    is_list = isinstance(value, (Sequence, np.ndarray)) and not isinstance(
        value, (str, bytes)
    )
    return is_list and len(value) > 0 and all(map(is_count, value))


def _is_side(value):
    return is_count(value) or (_are_counts(value) and len(value) in (1, 2))


def _is_number(value):
    if isinstance(value, (bool, str, bytes)):
        return False
    try:
        return 0 < float(value) < math.inf
    except (TypeError, ValueError, OverflowError):
        return False


_KINDS = {
    "count": (is_count, "a positive integer"),
    "counts": (_are_counts, "a list of positive integers"),
    "odd": (lambda v: is_count(v) and v % 2, "a positive odd integer"),
    "side": (_is_side, "a positive integer, or two of them"),
    "number": (_is_number, "a positive number"),
    "flag": (lambda value: isinstance(value, bool), "True or False"),
    "padding": (
        lambda v: isinstance(v, str) and v.lower() in ("valid", "same"),
        "'valid' or 'same'",
    ),
    "data_format": (
        lambda v: v in (None, "channels_last", "channels_first"),
        "'channels_last', 'channels_first' or None",
    ),
    "text": (lambda value: isinstance(value, str) and value, "a text, not empty"),
}
