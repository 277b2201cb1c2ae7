"""Depth attention as a picture, and its numbers as a table."""

import collections
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_sda.analysis.depth_attention.depth_attention_table import (
    depth_attention_table,
)
from keras_sda.utils import InvalidInputError, atomic_write
from keras_sda.utils.files.csv_rows import write_rows
from keras_sda.utils.new_figure import new_figure


def plot_depth_attention(
    attention: Mapping[str, np.ndarray],
    path: str | os.PathLike,
    groups: Sequence[int] | np.ndarray | None = None,
    group_names: Sequence[str] | Mapping[int, str] | None = None,
    title: str | None = None,
    columns: int = 4,
) -> list[dict[str, Any]]:
    """Draws the mean weight of each block, a panel per stage and a line per group.

    Use it to see whether the network takes other depths for other classes or object
    sizes. The bars are one standard deviation between images, to both sides; dashed is
    the weight that all blocks would have if none were preferred. The numbers go to a
    CSV file of the same name beside the picture.

    Args:
        attention: What `depth_attention` returns, or any dict from a name to an array
            `(images, K, channels)`. Several results in one dict, under names of their
            own, become one picture.
        path: The PNG file. It and the CSV file are replaced.
        groups: An integer per image: its class, or the number of its object size.
            Defaults to `None`, all images are one group.
        group_names: Names of the groups, by number. Defaults to the numbers.
        title: Headline. Defaults to none.
        columns: Panels in a row. Defaults to `4`.

    Returns:
        The rows of the table, as `depth_attention_table` returns them.

    Raises:
        InvalidInputError: The path is no PNG file, or `attention`, `groups` and
            `group_names` do not fit together, or matplotlib is not installed.

    Example:

    ```python
    attention = depth_attention(model, images)
    plot_depth_attention(attention, "attention.png", labels, ["cat", "dog"])
    ```
    """
    path = pathlib.Path(path)
    if path.suffix.lower() != ".png":
        raise InvalidInputError(
            f"`path` must be the name of a .png file. Received: {str(path)!r}."
        )
    if not isinstance(columns, int) or columns < 1:
        raise InvalidInputError(
            f"`columns` must be a positive integer. Received: {columns!r}."
        )
    rows = depth_attention_table(attention, groups, group_names)
    figure = _draw(rows, list(attention), title, columns)
    write_rows(rows, path.with_suffix(".csv"))
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130)
    return rows


def _draw(rows, stages, title, columns):
    columns = min(columns, len(stages))
    lines = math.ceil(len(stages) / columns)
    figure = new_figure(max(3.2 * columns, 5.5), 2.9 * lines + 0.8)
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    names = list(dict.fromkeys(row["group"] for row in rows))
    colors = _colors(len(names))
    tops = _tops(rows)
    for number, (axes, stage) in enumerate(zip(panels, stages, strict=False)):
        chosen = [row for row in rows if row["stage"] == stage]
        _draw_stage(axes, chosen, names, colors, tops[stage])
        axes.set_title(stage, loc="left", fontsize=10, fontweight="bold")
        if number % columns == 0:
            axes.set_ylabel("mean weight, bar: SD")
    for axes in panels[len(stages) :]:
        axes.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=9
    )
    if title:
        figure.suptitle(title)
    return figure


def _draw_stage(axes, rows, names, colors, top):
    num_blocks = max(row["block"] for row in rows)
    axes.axhline(
        1 / num_blocks,
        color="#888888",
        linewidth=1,
        linestyle="--",
        label="equal weights",
    )
    # Side by side, so that the bars of the groups do not hide one another.
    offsets = 0.3 * (np.arange(len(names)) + 0.5) / len(names) - 0.15
    for name, color, offset in zip(names, colors, offsets, strict=True):
        chosen = [row for row in rows if row["group"] == name]
        axes.errorbar(
            [row["block"] + offset for row in chosen],
            [row["mean"] for row in chosen],
            yerr=np.nan_to_num([row["std"] for row in chosen]),
            label=name,
            color=color,
            linewidth=1.4,
            elinewidth=0.9,
            marker="o",
            markersize=4,
        )
    axes.set_ylim(0, 1.08 * top)
    axes.set_xlim(0.6, num_blocks + 0.4)
    axes.set_xticks(range(1, num_blocks + 1, math.ceil(num_blocks / 12)))
    axes.set_xlabel("block (last = deepest)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _tops(rows):
    """Upper end of the axis per stage: one for all stages of equal depth."""
    depths = collections.Counter()
    for row in rows:
        depths[row["stage"]] = max(depths[row["stage"]], row["block"])
    highest = {depth: 1 / depth for depth in depths.values()}
    for row in rows:
        depth = depths[row["stage"]]
        value = row["mean"] + np.nan_to_num(row["std"])
        highest[depth] = max(highest[depth], value)
    return {stage: highest[depth] for stage, depth in depths.items()}


def _colors(count):
    """Steps from dark to light, which show an order; many groups take hues."""
    import matplotlib

    if count <= 6:
        return matplotlib.colormaps["viridis"](np.linspace(0, 0.88, count))
    palette = matplotlib.colormaps["tab10" if count <= 10 else "tab20"].colors
    return [palette[i % len(palette)] for i in range(count)]
