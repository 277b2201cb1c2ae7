"""Numbers of channels that hardware likes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_sda.layers import ScaledSigmoidGate
from keras_sda.utils import InvalidInputError


def round_masks(
    gates: Sequence[ScaledSigmoidGate], masks: Mapping[str, np.ndarray], round_to: int
) -> dict[str, np.ndarray]:
    """Opens channels until every gate keeps a multiple of `round_to`.

    Use it where a search ends: convolutions of 64 channels take no longer than those
    of 61. Rounding goes up, as in `keras_sda.pruning`, and the channels with the
    largest `s` come first. A gate that closed entirely stays closed, and one with
    fewer channels than the multiple keeps all. Channels that the gate's own mask closed
    earlier are not opened; where too few others are left, rounding goes down.

    Args:
        gates: Gates of a model.
        masks: For every gate, by name, the channels that were to stay.
        round_to: A positive integer; 1 changes nothing.

    Returns:
        New masks.

    Raises:
        InvalidInputError: `round_to` is not a positive integer.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.layers import ScaledSigmoidGate
    >>> from keras_sda.search.masks.round_masks import round_masks
    >>> gate = ScaledSigmoidGate(name="gate")
    >>> gate.build((None, 6))
    >>> _ = gate.s.assign([5, 4, -1, -3, -2, -4])
    >>> masks = {"gate": np.array([True, True, False, False, False, False])}
    >>> np.flatnonzero(round_masks([gate], masks, 4)["gate"]).tolist()
    [0, 1, 2, 4]
    """
    check_round_to(round_to)
    if round_to == 1:
        return dict(masks)
    return {gate.name: _rounded(gate, masks[gate.name], round_to) for gate in gates}


def _rounded(gate, mask, round_to):
    mask = np.asarray(mask, bool)
    if not mask.any():
        return mask
    allowed = keras.ops.convert_to_numpy(gate.mask) > 0
    count = math.ceil(mask.sum() / round_to) * round_to
    if count > allowed.sum():
        count = allowed.sum()
        if count < len(mask):
            count = count // round_to * round_to or count
    s = keras.ops.convert_to_numpy(gate.s)
    # Those that were to stay, then the others that may, each by `s`.
    order = np.lexsort((-s, ~mask, ~allowed))
    rounded = np.zeros(len(mask), bool)
    rounded[order[:count]] = True
    return rounded


def check_round_to(round_to: Any) -> None:
    """Raises `InvalidInputError` where `round_to` is not a positive integer."""
    if isinstance(round_to, bool) or not isinstance(round_to, int) or round_to < 1:
        raise InvalidInputError(
            "`round_to` must be a positive integer, such as 8. "
            f"Received: round_to={round_to!r}."
        )
