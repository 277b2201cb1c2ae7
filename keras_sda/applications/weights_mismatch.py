"""The report on tensors that do not fit a model."""

from collections.abc import Iterable

from keras_sda.utils import InvalidInputError

_SHOWN = 8


def check_weights_match(
    path,
    missing: Iterable[str],
    unexpected: Iterable[str],
    misshapen: Iterable[str],
) -> None:
    """Raises one error that lists all tensors which do not fit.

    Args:
        path: The file that was read.
        missing: Names that the model needs and the file lacks.
        unexpected: Names that the file holds and the model lacks.
        misshapen: Descriptions of tensors of another shape.

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
        f"`weights` file {str(path)!r} does not fit the model. {'; '.join(parts)}. "
        f"{advice}."
    )
