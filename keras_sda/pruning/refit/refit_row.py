"""What became of a kernel that was fitted anew."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class RefitRow:
    """What became of one kernel.

    Attributes:
        layer: Name of the layer.
        ridge: The ridge it was fitted with; None where it stays as it was cut.
        error_before: Squared error of its outputs against those of the whole model,
            before the fit, as a share of their power.
        error_after: The same after the fit.
        reason: Why it stays as it was cut.
    """

    layer: str
    ridge: float | None = None
    error_before: float | None = None
    error_after: float | None = None
    reason: str = ""
