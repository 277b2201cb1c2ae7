"""The last channels: from gates near a budget to masks that meet it."""

from collections.abc import Mapping

import keras
import numpy as np

from keras_sda.search.gates.gate_cost import GateCost
from keras_sda.search.masks.round_masks import check_round_to, round_masks
from keras_sda.utils import InvalidInputError

_TRIES = 200
_STEPS = 20
_TOLERANCE = 0.03


def fit_to_budget(
    cost: GateCost, masks: Mapping[str, np.ndarray], target: float, round_to: int = 1
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
        round_to: Gates keep a multiple of so many channels, see `round_masks`. Where
            its steps are coarse, some channels of one gate are given for some of
            another. Defaults to `1`.

    Returns:
        New masks.

    Raises:
        InvalidInputError: `round_to` is not a positive integer, or leaves too much
            open for the target.

    Example:

    ```python
    masks = fit_to_budget(cost, open_channels(gated), target=0.5 * cost.macs)
    ```
    """
    check_round_to(round_to)
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
        return round_masks(cost.gates, found, round_to)

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
    _check_reached(cost, cost.macs_at(found), target, round_to)
    # Where channels are few and dear: those that still fit in, and one more if that
    # is nearer.
    if cost.macs_at(found) < 0.99 * target:
        _fill(cost, found, at(0), numbers, target, round_to)
    before = at(max(low - 1, 0))
    far, near = (abs(cost.macs_at(masks) - target) for masks in (found, before))
    if far <= _TOLERANCE * target:
        return found
    best = before if near < far else found
    if round_to == 1 or min(far, near) <= _TOLERANCE * target:
        return best

    def distance(masks):
        return abs(cost.macs_at(masks) - target)

    ends = []
    for end in (found, before):
        for _ in range(_STEPS):
            start = distance(end)
            if start <= _TOLERANCE * target:
                break
            end = _exchange(cost, end, at(0), numbers, target, round_to)
            if distance(end) == start:
                break
        ends.append(end)
    return min(ends, key=distance)


def _check_reached(cost, least, target, round_to):
    if round_to > 1 and least > (1 + _TOLERANCE) * target:
        raise InvalidInputError(
            f"`target_macs` is out of reach with round_to={round_to}: asked for "
            f"{round(target):,} of {cost.macs:,} multiply-accumulates "
            f"({target / cost.macs:.3f}), and with {round_to} channels per gate "
            f"{round(least):,} ({least / cost.macs:.3f}) are left. Lower `round_to` "
            "or ask for more."
        )


def _fill(cost, masks, allowed, numbers, target, round_to):
    """Opens the next channels that fit into what is left of the budget."""
    pieces = [
        (-numbers[name][piece[0]], name, piece)
        for name in masks
        for piece in _pieces(allowed[name] & ~masks[name], -numbers[name], round_to)
    ]
    pieces.sort(key=lambda item: (item[0], item[1], item[2][0]))
    full = set()
    for _, name, piece in pieces[:_TRIES]:
        if name in full:
            continue
        masks[name][piece] = True
        if cost.macs_at(masks) > target:
            masks[name][piece] = False
            if round_to > 1:
                full.add(name)  # a smaller rest may fit, and is no multiple


def _exchange(cost, masks, allowed, numbers, target, round_to):
    """Closes the last channels of a gate for the next ones of another."""
    start = cost.macs_at(masks)
    opening, closing = [(0.0, masks)], [(0.0, masks)]
    for name, mask in masks.items():
        s = numbers[name]
        for piece in _pieces(allowed[name] & ~mask, -s, round_to)[:1]:
            changed = {**masks, name: mask | _marks(piece, len(mask))}
            opening.append((cost.macs_at(changed) - start, changed))
        if mask.sum() > round_to:
            rest = mask.sum() % round_to or round_to
            piece = np.concatenate(_pieces(mask, s, 1)[:rest])
            changed = {**masks, name: mask & ~_marks(piece, len(mask))}
            closing.append((cost.macs_at(changed) - start, changed))
    # Two changes cost nearly their sum: the likely pairs are counted.
    guesses = sorted(
        (abs(start + more + less - target), one, other)
        for one, (more, _) in enumerate(opening)
        for other, (less, _) in enumerate(closing)
    )
    best, least = masks, abs(start - target)
    for _, one, other in guesses[:_TRIES]:
        opened, shut = opening[one][1], closing[other][1]
        tried = {
            name: shut[name] if opened[name] is mask else opened[name]
            for name, mask in masks.items()
        }
        distance = abs(cost.macs_at(tried) - target)
        if distance < least:
            best, least = tried, distance
    return best


def _marks(places, count):
    marks = np.zeros(count, bool)
    marks[places] = True
    return marks


def _pieces(flags, order, round_to):
    """The positions of these channels, `round_to` at a time."""
    places = np.flatnonzero(flags)
    places = places[np.argsort(order[places], kind="stable")]
    return [places[k : k + round_to] for k in range(0, len(places), round_to)]
