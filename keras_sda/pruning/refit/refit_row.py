"""What became of a kernel that was fitted anew."""

import dataclasses
from collections.abc import Sequence


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


def refit_lines(rows: Sequence[RefitRow]) -> list[str]:
    """How many kernels were fitted and which were not, for the text of a report.

    Args:
        rows: What became of them.
    """
    left = [row.layer for row in rows if row.reason]
    lines = []
    if rows:
        lines.append(f"kernels fitted anew: {len(rows) - len(left)}")
    if left:
        more = f" and {len(left) - 6} more" if len(left) > 6 else ""
        lines.append(f"kernels that stay as cut: {', '.join(left[:6])}{more}")
    return lines


def refit_tables(
    rows: Sequence[RefitRow],
) -> list[tuple[str, list[str], list[list[str]]]]:
    """The table of a report, or none where nothing was to be fitted.

    Args:
        rows: What became of the kernels.
    """
    if not rows:
        return []
    header = ["Layer", "Error cut", "Error refitted", "Why not"]
    cells = [
        [row.layer, _percent(row.error_before), _percent(row.error_after), row.reason]
        for row in rows
    ]
    return [("Refitted kernels", header, cells)]


def _percent(share):
    return "-" if share is None else f"{share:.2%}"
