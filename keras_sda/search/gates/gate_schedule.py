"""How the gates harden from epoch to epoch."""

import math

from keras_sda.utils import InvalidInputError


def gate_schedule(epochs: int, final_beta: float = 1e4) -> list[float]:
    """Returns the scale `beta` of the gates for every epoch of the architecture stage.

    Beta grows by the same factor before every epoch, from 1 before the first to
    `final_beta` in the last: `final_beta ** ((k + 1) / epochs)` in epoch `k`.

    Args:
        epochs: Length of the stage.
        final_beta: Beta of the last epoch. Defaults to `1e4`.

    Returns:
        One number per epoch.

    Raises:
        InvalidInputError: An argument is out of range.

    Example:

    >>> from keras_sda.search.gates.gate_schedule import gate_schedule
    >>> [round(beta) for beta in gate_schedule(4)]
    [10, 100, 1000, 10000]

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022), the scaled sigmoid, and
    the authors' code, which takes ten epochs.
    """
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        raise InvalidInputError(
            f"`epochs` must be a positive integer. Received: epochs={epochs!r}."
        )
    if not isinstance(final_beta, (int, float)) or not 1 < final_beta < math.inf:
        raise InvalidInputError(
            "`final_beta` must be a number above 1, such as 1e4. "
            f"Received: final_beta={final_beta!r}."
        )
    return [float(final_beta ** ((k + 1) / epochs)) for k in range(epochs)]
