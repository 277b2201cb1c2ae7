"""Which channels stay after a search."""

import keras
import numpy as np
from absl import logging

from keras_sda.search.gates.gate_cost import GateCost
from keras_sda.search.masks.derive import check_trained, open_channels
from keras_sda.search.masks.fit_to_budget import fit_to_budget
from keras_sda.search.masks.round_masks import check_round_to, round_masks


def choose_masks(
    gated: keras.Model,
    cost: GateCost,
    target: float | None,
    threshold: float = 0.9,
    max_half_open: float = 0.25,
    round_to: int = 1,
) -> tuple[dict[str, np.ndarray], dict]:
    """Reads masks off trained gates, and meets a budget if there is one.

    Args:
        gated: A model with trained gates.
        cost: Their cost.
        target: Multiply-accumulates to end at, or `None`.
        threshold: See `derive`.
        max_half_open: See `derive`. With a target gates may be half open: where they
            are cut is decided by the budget.
        round_to: Gates keep a multiple of so many channels, see `round_masks`.
            Defaults to `1`.

    Returns:
        For every gate whether each channel stays; and for the report `round_to`, and
        with a target how many channels that changed.

    Raises:
        InvalidInputError: The gates are untrained or half open, or the target is out
            of reach with this `round_to`.

    Example:

    ```python
    masks, changes = choose_masks(gated, GateCost(gated), target=None)
    ```
    """
    check_round_to(round_to)
    masks = open_channels(gated, threshold)
    check_trained(gated, threshold, max_half_open if target is None else 1.0)
    if target is None:
        return round_masks(cost.gates, masks, round_to), {"round_to": round_to}
    adjusted = fit_to_budget(cost, masks, target, round_to)
    before = np.concatenate([masks[name] for name in masks])
    after = np.concatenate([adjusted[name] for name in masks])
    changes = {
        "round_to": round_to,
        "target_macs": target,
        "closed_for_budget": int((before & ~after).sum()),
        "opened_for_budget": int((~before & after).sum()),
    }
    logging.info(
        "The search ended at %.3f of the MACs for a budget of %.3f; moving the cut "
        "closed %d and opened %d channels.",
        cost.macs_at(masks) / cost.macs,
        target / cost.macs,
        changes["closed_for_budget"],
        changes["opened_for_budget"],
    )
    return adjusted, changes
