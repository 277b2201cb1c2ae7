"""The last channels: from gates near a budget to masks that meet it."""

from collections.abc import Mapping

import keras
import numpy as np

from keras_sda.search.gate_cost import GateCost

_TRIES = 200


def fit_to_budget(
    cost: GateCost, masks: Mapping[str, np.ndarray], target: float
) -> dict[str, np.ndarray]:
    """Moves the cut between open and closed gates until the budget is met.

    Use it after a steered search, which ends near its budget. The channels of all
    gates are sorted by their learned `s`; the cut is put where the most channels stay
    that the budget allows. Gates that the search has closed altogether stay closed,
    unless the budget cannot be used up without them; every other one keeps a channel.

    Args:
        cost: What the gates cost.
        masks: For every gate the channels that were to stay.
        target: Multiply-accumulates of one sample.

    Returns:
        New masks.

    Example:

    ```python
    masks = fit_to_budget(cost, open_channels(gated), target=0.5 * cost.macs)
    ```
    """
    numbers = {g.name: keras.ops.convert_to_numpy(g.s) for g in cost.gates}
    allowed = {g.name: keras.ops.convert_to_numpy(g.mask) > 0 for g in cost.gates}
    cuts = np.unique(np.concatenate(list(numbers.values())))
    # The lowest cut leaves all channels open.
    cuts = np.concatenate([[cuts[0] - 1], cuts])

    vanished = {name for name, mask in masks.items() if not mask.any()}

    def at(position):
        found = {}
        for name, s in numbers.items():
            mask = allowed[name] & (s > cuts[position])
            if name in vanished:
                mask[:] = False
            elif not mask.any():
                mask[np.argmax(np.where(allowed[name], s, -np.inf))] = True
            found[name] = mask
        return found

    if cost.macs_at(at(0)) < target:
        vanished = set()
    low, high = 0, len(cuts) - 1
    while low < high:
        middle = (low + high) // 2
        if cost.macs_at(at(middle)) <= target:
            high = middle
        else:
            low = middle + 1
    found = at(low)
    # Where channels are few and dear: those that still fit in, and one more if that
    # is nearer.
    if cost.macs_at(found) < 0.99 * target:
        _fill(cost, found, at(0), numbers, target)
    before = at(max(low - 1, 0))
    far, near = (abs(cost.macs_at(masks) - target) for masks in (found, before))
    return before if far > 0.03 * target and near < far else found


def _fill(cost, masks, allowed, numbers, target):
    """Opens the next channels that fit into what is left of the budget."""
    closed = [
        (-numbers[name][place], name, place)
        for name, mask in masks.items()
        for place in np.flatnonzero(allowed[name] & ~mask)
    ]
    for _, name, place in sorted(closed)[:_TRIES]:
        masks[name][place] = True
        if cost.macs_at(masks) > target:
            masks[name][place] = False
