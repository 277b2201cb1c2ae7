"""The groups of all layers as a picture."""

import os

from keras_sda.grouping.grouping_report import GroupingReport
from keras_sda.utils import atomic_write
from keras_sda.utils.new_figure import new_figure


def plot_group_sizes(
    report: GroupingReport, path: str | os.PathLike, title: str = ""
) -> None:
    """Draws a bar per masked layer, divided into its groups.

    The length of a part is the group's share of the filters; its colour says how many
    of the channels the group reads. Groups come from the largest to the smallest.

    Args:
        report: What was grouped.
        path: The PNG file.
        title: Headline. Defaults to name and totals of the model.

    Raises:
        InvalidInputError: matplotlib is not installed.

    Example:

    ```python
    plot_group_sizes(self_group(model).report, "groups.png")
    ```
    """
    rows = report.layers
    # The height of one bar, until hundreds of them make a picture too high to open.
    height = min(2.4 + 0.24 * len(rows), 60.0)
    figure = new_figure(11, height)
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = figure.subplots()
    highest = max(
        (channels / row.channels for row in rows for channels in row.group_channels),
        default=1.0,
    )
    colors = ScalarMappable(Normalize(0, max(10, 100 * highest)), "viridis_r")
    for place, row in enumerate(rows):
        groups = sorted(
            zip(row.group_sizes, row.group_channels, strict=True), reverse=True
        )
        start = 0.0
        for size, channels in groups:
            width = 100 * size / row.filters
            share = 100 * channels / row.channels
            axes.barh(
                place, width, left=start, height=0.82, linewidth=0.6, edgecolor="white",
                # What reads nothing must not look like a little.
                color=colors.to_rgba(share) if channels else "#bbbbbb",
            )  # fmt: skip
            if width > 2.2:
                axes.text(
                    start + width / 2, place, str(size), fontsize=6.5,
                    horizontalalignment="center", verticalalignment="center_baseline",
                    color="white" if share > 55 * highest else "black",
                )  # fmt: skip
            start += width
        axes.text(
            100.8, place, f"{row.filters} x {row.channels} in {row.num_groups} groups, "
            f"{row.kept_share:.0%} kept", fontsize=6.5, verticalalignment="center",
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("filters of the layer, in %; numbers are filters of a group")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(
        "Groups per layer (right: filters x channels)", loc="left",
        fontweight="bold", fontsize=10,
    )  # fmt: skip
    bar = figure.colorbar(
        colors, ax=axes, location="bottom", fraction=0.35 / height,
        pad=0.2 / height, aspect=45,
        label="channels that the group reads, in % (grey: none)",
    )  # fmt: skip
    bar.outline.set_visible(False)
    share = report.macs_after / max(report.macs_before, 1)
    figure.suptitle(title or f"{report.model}: {share:.1%} of the MACs", fontsize=12)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
