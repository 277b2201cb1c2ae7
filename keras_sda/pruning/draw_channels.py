"""Channels per layer before and after, as a picture."""

import math
import os
from typing import Any

from keras_sda.utils import atomic_write
from keras_sda.utils.new_figure import new_figure

_ROWS_PER_PANEL = 60
_KEPT, _REMOVED = "#1f77b4", "#d9d9d9"


def draw_channels(report: Any, path: str | os.PathLike) -> None:
    """Draws one bar per layer: channels that are left, over those that there were.

    Args:
        report: A `PruningReport`.
        path: The PNG file.

    Raises:
        InvalidInputError: matplotlib is not installed.

    Example:

    ```python
    draw_channels(PruningReport.load("runs/pruned"), "channels.png")
    ```
    """
    rows = [
        row for row in report.layers
        if (row.macs_before or row.macs_after)
        and None not in (row.channels_before or None, row.channels_after)
    ]  # fmt: skip
    panels = max(1, math.ceil(len(rows) / _ROWS_PER_PANEL))
    per_panel = max(1, math.ceil(len(rows) / panels))
    figure = new_figure(6.5 * panels, 1.6 + 0.19 * per_panel)
    from matplotlib.patches import Patch

    most = max((row.channels_before for row in rows), default=1)
    for number, axes in enumerate(figure.subplots(1, panels, squeeze=False)[0]):
        part = rows[number * per_panel : (number + 1) * per_panel]
        places = range(len(part))
        before = [row.channels_before for row in part]
        after = [row.channels_after for row in part]
        axes.barh(places, before, color=_REMOVED, height=0.8)
        axes.barh(places, after, color=_KEPT, height=0.8)
        for place, row in enumerate(part):
            text = f"{row.channels_after}"
            if row.channels_after != row.channels_before:
                text += f" of {row.channels_before}"
            longest = max(row.channels_before, row.channels_after)
            axes.text(longest + 0.01 * most, place, text, va="center", fontsize=7)
        axes.set_yticks(places, [row.name for row in part], fontsize=7)
        # The first layer on top, and panels of one length alike.
        axes.set_ylim(per_panel - 0.4, -0.6)
        axes.set_xlim(0, 1.18 * most)
        axes.set_xlabel("output channels")
        axes.spines[["top", "right"]].set_visible(False)
    title = f"{report.model}: {_share(report.macs_before, report.macs_after)} of the "
    title += f"MACs, {_share(report.params_before, report.params_after)} of the params"
    figure.suptitle(title)
    figure.legend(
        handles=[Patch(color=_KEPT, label="left"), Patch(color=_REMOVED, label="gone")],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _share(before, after):
    return f"{after / before:.0%}" if before else "all"
