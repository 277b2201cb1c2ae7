"""A search as a picture: widths before and after, and the way there."""

import os
from collections.abc import Mapping, Sequence

from keras_sda.utils import atomic_write
from keras_sda.utils.new_figure import new_figure

_KEPT, _GONE, _LINE = "#1f77b4", "#d9d9d9", "#d62728"


def plot_search(
    rows: Sequence[dict],
    widths: Mapping[str, tuple[int, int]],
    path: str | os.PathLike,
    title: str = "",
) -> None:
    """Draws the course of an architecture stage and the channels that it keeps.

    Args:
        rows: `SearchLog.rows`.
        widths: By the name of the gate, the channels before and after.
        path: The PNG file.
        title: Headline. Defaults to none.

    Raises:
        InvalidInputError: matplotlib is not installed.

    Example:

    ```python
    plot_search(log.rows, {"bn1_gate": (64, 40)}, "search.png")
    ```
    """
    figure = new_figure(11, 4 + 0.03 * len(widths))
    from matplotlib.ticker import MaxNLocator

    left, right = figure.subplots(1, 2)
    places = range(len(widths))
    left.bar(places, [before for before, _ in widths.values()], color=_GONE, width=0.9)
    left.bar(places, [after for _, after in widths.values()], color=_KEPT, width=0.9)
    left.set_title("Channels per gate, kept of all", loc="left", fontweight="bold")
    size = 8 if len(widths) < 25 else 5
    left.set_xticks(places, list(widths), rotation=90, fontsize=size)
    left.set_ylabel("channels")
    epochs = [row["epoch"] for row in rows]
    for key, total, label, color in (
        ("macs", "all_macs", "MACs of channels with s \u2265 0", _KEPT),
        ("expected_macs", "all_macs", "expected MACs", "#17becf"),
        ("open", "gates", "open gates", "#2ca02c"),
        ("half_open", "gates", "half open gates", _LINE),
    ):
        shares = [100 * row[key] / row[total] for row in rows]
        last = f" (last {shares[-1]:.1f})" if shares else ""
        right.plot(
            epochs, shares, color=color, marker="o", markersize=3.5, label=label + last
        )
    right.set_title("Course of the search", loc="left", fontweight="bold")
    right.set_xlabel("epoch of the architecture stage")
    right.set_ylabel("% of all")
    right.set_ylim(0, 105)
    right.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    right.grid(alpha=0.25)
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
