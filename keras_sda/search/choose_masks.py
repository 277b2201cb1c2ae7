"""Which channels stay after a search."""

import keras
import numpy as np
from absl import logging

from keras_sda.search.derive import check_trained, open_channels
from keras_sda.search.fit_to_budget import fit_to_budget
from keras_sda.search.gate_cost import GateCost


def choose_masks(
    gated: keras.Model,
    cost: GateCost,
    target: float | None,
    threshold: float = 0.9,
    max_half_open: float = 0.25,
) -> tuple[dict[str, np.ndarray], dict]:
    """Reads masks off trained gates, and meets a budget if there is one.

    Args:
        gated: A model with trained gates.
        cost: Their cost.
        target: Multiply-accumulates to end at, or `None`.
        threshold, max_half_open: See `derive`. With a target gates may be half open:
            where they are cut is decided by the budget.

    Returns:
        For every gate whether each channel stays; and with a target how many channels
        that changed, for the report.

    Raises:
        InvalidInputError: The gates are untrained or half open.

    Example:

    ```python
    masks, changes = choose_masks(gated, GateCost(gated), target=None)
    ```
    """
    masks = open_channels(gated, threshold)
    check_trained(gated, threshold, max_half_open if target is None else 1.0)
    if target is None:
        return masks, {}
    adjusted = fit_to_budget(cost, masks, target)
    before = np.concatenate([masks[name] for name in masks])
    after = np.concatenate([adjusted[name] for name in masks])
    changes = {
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
