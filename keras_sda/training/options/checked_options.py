"""Options that are declared once and checked when they are made."""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from keras_sda.utils import InvalidInputError


def option(
    default: Any,
    help_text: str,
    choices: Sequence[str] | Callable[[], Sequence[str]] | None = None,
    positive: bool = False,
    least: int | None = None,
) -> Any:
    """One field of an options dataclass, for the command line and absl as well.

    Args:
        default: Its default.
        help_text: One sentence.
        choices: What it may be, or a function that says it, where users may add to
            it. Defaults to `None`, anything of its type.
        positive: Whether a number must be above 0. Defaults to `False`.
        least: The smallest number that it may be. Defaults to `None`, any.
    """
    metadata = {
        "help": help_text, "choices": choices, "positive": positive, "least": least
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


def choices_of(field: dataclasses.Field) -> Sequence[str] | None:
    """What an option may be at this moment; None for anything of its type.

    Args:
        field: A field that `option` made, or another one.
    """
    choices = field.metadata.get("choices")
    return choices() if callable(choices) else choices


@dataclasses.dataclass(frozen=True)
class CheckedOptions:
    """Options whose values have been checked.

    Use it as the base of the options of a command or of an experiment.

    Raises:
        InvalidInputError: A value is not usable, with the nearest valid name.

    Example:

    >>> import dataclasses
    >>> from keras_sda.training.options.checked_options import CheckedOptions, option
    >>> @dataclasses.dataclass(frozen=True)
    ... class Words(CheckedOptions):
    ...     exclude: str = option("", "Names of layers, separated by commas.")
    >>> Words("conv1, conv2").listed("exclude")
    ['conv1', 'conv2']
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), field.metadata["least"]
            choices = choices_of(field)
            if value is None:
                continue
            if choices and value not in choices:
                nearest = difflib.get_close_matches(str(value), choices, n=1)
                hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
                raise InvalidInputError(
                    f"`{field.name}` must be one of {', '.join(choices)}. "
                    f"Received: {field.name}={value!r}.{hint}"
                )
            if field.metadata["positive"] and not value > 0:
                raise InvalidInputError(
                    f"`{field.name}` must be greater than 0. "
                    f"Received: {field.name}={value!r}."
                )
            if least is not None and not value >= least:
                raise InvalidInputError(
                    f"`{field.name}` must be {least} or more. "
                    f"Received: {field.name}={value!r}."
                )

    def changed(self, names: Iterable[str]) -> list[str]:
        """Those of some options that are not at their default, as in `"steps=2"`.

        Use it for options that nothing would look at beside another one.

        Args:
            names: Names of options.
        """
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        values = {name: getattr(self, name) for name in names}
        return [f"{k}={x!r}" for k, x in values.items() if x != defaults[k]]

    def listed(self, name: str) -> list[str]:
        """The words of an option that are separated by commas.

        Args:
            name: Name of the option.
        """
        return [word.strip() for word in getattr(self, name).split(",") if word.strip()]
