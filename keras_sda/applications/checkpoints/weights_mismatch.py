"""The reports on tensors that do not fit a model or hold no numbers."""

from collections.abc import Callable, Iterable

import numpy as np

from keras_sda.utils import InvalidInputError

_SHOWN = 8


def check_weights_match(
    path,
    missing: Iterable[str],
    unexpected: Iterable[str],
    misshapen: Iterable[str],
    fit: Callable[[], str] = lambda: "",
) -> None:
    """Raises one error that lists all tensors which do not fit.

    Args:
        path: The file that was read.
        missing: Names that the model needs and the file lacks.
        unexpected: Names that the file holds and the model lacks.
        misshapen: Descriptions of tensors of another shape.
        fit: Returns a sentence on the network that the file does fit, or nothing;
            called where the file does not fit this model. Defaults to nothing.

    Raises:
        InvalidInputError: One of the lists is not empty.

    Example:

    >>> from keras_sda.applications.checkpoints.weights_mismatch import (
    ...     check_weights_match
    ... )
    >>> check_weights_match("a.safetensors", [], [], [])
    """
    kinds = {
        "missing from the file": list(missing),
        "unexpected in the file": list(unexpected),
        "of another shape": list(misshapen),
    }
    parts = []
    for kind, names in kinds.items():
        if names:
            shown = ", ".join(names[:_SHOWN])
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            parts.append(f"{len(names)} {kind}: {shown}{more}")
    if not parts:
        return
    advice = "Use the network, depths and groups that the file was written with"
    if kinds["of another shape"] and not (
        kinds["missing from the file"] or kinds["unexpected in the file"]
    ):
        advice += ", and the same `classes` and number of input channels"
    raise InvalidInputError(
        " ".join(
            filter(
                None,
                [
                    f"`weights` file {str(path)!r} does not fit the model.",
                    fit(),
                    f"{'; '.join(parts)}. {advice}.",
                ],
            )
        )
    )


def check_kinds(path, names: Iterable[str]) -> None:
    """Raises an error where a file holds tensors that are no floating-point numbers.

    Args:
        path: The file that was read.
        names: Names of such tensors, or of their layers.

    Raises:
        InvalidInputError: There is one.

    Example:

    >>> from keras_sda.applications.checkpoints.weights_mismatch import check_kinds
    >>> check_kinds("a.safetensors", [])
    """
    names = list(names)
    if names:
        shown = ", ".join(names[:_SHOWN])
        raise InvalidInputError(
            f"`weights` file {str(path)!r} holds integers, truth values or codes where "
            f"weights are floating-point numbers: {shown}. It was quantized or written "
            "wrongly: convert it to float32."
        )


def check_numbers(path, tensors: Iterable[tuple[str, np.ndarray]]) -> None:
    """Raises an error at the first tensor with which a network answers NaN.

    Args:
        path: The file that was read.
        tensors: Pairs of name and array.

    Raises:
        InvalidInputError: A tensor holds NaN or infinity, also as float32, or a
            running variance a negative number.

    Example:

    >>> import numpy as np
    >>> from keras_sda.applications.checkpoints.weights_mismatch import check_numbers
    >>> check_numbers("a.safetensors", [("fc.bias", np.zeros(2))])
    """
    for name, value in tensors:
        value = np.asarray(value)
        with np.errstate(over="ignore"):
            finite = np.isfinite(value.astype("float32"))
        if not finite.all():
            raise InvalidInputError(
                f"`weights` file {str(path)!r} holds values that are not finite: "
                f"tensor {name!r} has {int((~finite).sum())} of {value.size} as NaN or "
                "infinity. The training that wrote it diverged or the file is damaged: "
                "take an earlier checkpoint, or copy it again."
            )
        if name.endswith("running_var") and (value < 0).any():
            raise InvalidInputError(
                f"`weights` file {str(path)!r} is damaged: the variance {name!r} holds "
                f"negative numbers, such as {value.min():g}. Copy it again, or take "
                "another checkpoint."
            )
