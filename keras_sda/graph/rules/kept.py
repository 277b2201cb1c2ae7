"""Which channels stay."""

import numpy as np


class Kept:
    """The channels that stay, asked by unit.

    Args:
        classes: For every unit the class that it belongs to.
        removed: For every class whether it goes.
    """

    def __init__(self, classes: np.ndarray, removed: np.ndarray):
        self._stays = ~removed[classes]

    def mask(self, units: np.ndarray) -> np.ndarray:
        """Whether each unit stays."""
        return self._stays[units]

    def count(self, units: np.ndarray) -> int:
        """How many of the units stay."""
        return int(self._stays[units].sum())
