"""Which channel units lie along one axis of a tensor."""

import dataclasses

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
