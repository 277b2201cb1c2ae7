"""Channel units: along an axis, together with others, kept or not."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Channels:
    """The channel units along the channel axis of one tensor.

    Attributes:
        axis: The axis, counted from the batch axis (0) on.
        units: Integer array, one unit per position of the axis. A unit may occur more
            than once, as after flattening a feature map.
    """

    axis: int
    units: np.ndarray


class Kept:
    """The channels that stay, asked by unit or by layer.

    Args:
        classes: For every unit the class that it belongs to.
        removed: For every class whether it goes.
        made: By the name of a layer, the units of the channels that it makes. Defaults
            to none.
    """

    def __init__(
        self,
        classes: np.ndarray,
        removed: np.ndarray,
        made: Mapping[str, np.ndarray] | None = None,
    ):
        self._stays = ~removed[classes]
        self._made = made or {}

    def channels(self, layer: str) -> int:
        """How many of the channels that a layer makes stay.

        Args:
            layer: Its name, with the names of nested models before it.

        Raises:
            KeyError: No layer of this name makes channels.
        """
        return self.count(self._made[layer])

    def share(self, units: np.ndarray) -> float:
        """Which share of the units stays; 1 where there are none."""
        return self._stays[units].mean() if len(units) else 1.0

    def mask(self, units: np.ndarray) -> np.ndarray:
        """Whether each unit stays."""
        return self._stays[units]

    def count(self, units: np.ndarray) -> int:
        """How many of the units stay."""
        return int(self._stays[units].sum())


class UnitTable:
    """Collects what is known of channel units, then sorts them into classes.

    Units of one class are kept or removed together.

    Example:

    >>> from keras_sda.graph.rules.unit_table import UnitTable
    >>> table = UnitTable()
    >>> a, b = table.new(2), table.new(2)
    >>> table.couple(a, b)
    >>> table.pin(b[:1], "sum", "it is an output")
    >>> table.close()
    >>> table.classes[a].tolist(), table.pinned.tolist()
    ([0, 1], [True, False])
    """

    def __init__(self):
        self.size = 0
        self._couples = []
        self._pins = []
        self.classes = np.zeros(0, int)
        self.pinned = np.zeros(0, bool)
        self.reasons: dict[int, tuple[str, str]] = {}

    def new(self, count: int) -> np.ndarray:
        """Returns `count` new units."""
        units = np.arange(self.size, self.size + count)
        self.size += count
        return units

    def couple(self, first: np.ndarray, second: np.ndarray) -> None:
        """Puts the units at equal positions of two arrays into one class."""
        first, second = np.broadcast_arrays(first, second)
        different = first != second
        self._couples.append((first[different], second[different]))

    def pin(
        self, units: np.ndarray, name: str, reason: str, first: bool = False
    ) -> None:
        """Marks units that cannot be removed: the layer that says so, and why.

        The first reason is the one that is reported.
        """
        pin = (np.unique(units), name, reason)
        self._pins.insert(0, pin) if first else self._pins.append(pin)

    def close(self) -> None:
        """Computes `classes`, `pinned` and `reasons` (class to layer and reason)."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        rows = np.concatenate(
            [np.zeros(0, int), *(c[0].ravel() for c in self._couples)]
        )
        columns = np.concatenate(
            [np.zeros(0, int), *(c[1].ravel() for c in self._couples)]
        )
        matrix = coo_matrix(
            (np.ones(len(rows), bool), (rows, columns)), shape=(self.size, self.size)
        )
        count, self.classes = connected_components(matrix, directed=False)
        self.pinned = np.zeros(count, bool)
        for units, name, reason in self._pins:
            for label in np.unique(self.classes[units]):
                self.pinned[label] = True
                self.reasons.setdefault(int(label), (name, reason))
