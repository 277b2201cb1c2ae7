"""Are these shares of connections that layers can lose?"""

from keras_sda.utils import InvalidInputError


def check_rates(conv_rate: float, dense_rate: float) -> None:
    """Raises an error unless both rates are from 0 to below 1.

    Args:
        conv_rate: Share of the connections that convolutions lose.
        dense_rate: The same for dense layers.

    Raises:
        InvalidInputError: A rate is none; the message says what was meant where it
            looks like a percentage.

    Example:

    >>> from keras_sda.grouping.check_rates import check_rates
    >>> check_rates(0.7, 0.6)
    """
    for name, value in (("conv_rate", conv_rate), ("dense_rate", dense_rate)):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value < 1:
            hint = "Give the share of the connections to cut, such as 0.7 for 70 %."
            if number and 1 < value <= 100:
                hint = f"For {value:g} % give {value / 100:g}."
            elif number and value == 1:
                hint = "A rate of 1 would cut every connection of every layer."
            raise InvalidInputError(
                f"`{name}` must be from 0 to below 1. Received: {name}={value!r}. "
                f"{hint}"
            )
