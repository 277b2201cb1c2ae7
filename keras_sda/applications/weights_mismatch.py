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

    >>> from keras_sda.applications.weights_mismatch import check_weights_match
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


def check_finite(path, tensors: Iterable[tuple[str, np.ndarray]]) -> None:
    """Raises an error at the first tensor with a value that is not finite.

    Args:
        path: The file that was read.
        tensors: Pairs of name and array.

    Raises:
        InvalidInputError: A tensor holds NaN or infinity.

    Example:

    >>> import numpy as np
    >>> from keras_sda.applications.weights_mismatch import check_finite
    >>> check_finite("a.safetensors", [("fc.bias", np.zeros(2))])
    """
    for name, value in tensors:
        value = np.asarray(value)
        if value.dtype.kind in "biu" or np.isfinite(value.astype("float32")).all():
            continue
        raise InvalidInputError(
            f"`weights` file {str(path)!r} holds values that are not finite: tensor "
            f"{name!r} has {int((~np.isfinite(value.astype('float32'))).sum())} of "
            f"{value.size} as NaN or infinity. The training that wrote it diverged or "
            "the file is damaged: take an earlier checkpoint, or copy it again."
        )
