"""Loss and accuracy over the epochs as a picture."""

import os
from collections.abc import Mapping, Sequence

from keras_sda.utils import atomic_write
from keras_sda.utils.new_figure import new_figure


def draw_curves(
    rows: Sequence[dict],
    path: str | os.PathLike,
    title: str = "",
    marks: Mapping[int, str] | None = None,
) -> None:
    """Draws the training and test curves of a run into a PNG file.

    Args:
        rows: What `read_history` returns.
        path: The PNG file.
        title: Headline. Defaults to none.
        marks: Names of stages by their first epoch. Defaults to none.

    Raises:
        InvalidInputError: matplotlib is not installed.

    Example:

    ```python
    draw_curves(read_history("run/history.csv"), "run/curves.png", "digits")
    ```
    """
    figure = new_figure(10, 4)
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in rows]
    panels = figure.subplots(1, 2)
    for axes, name, unit in zip(
        panels, ("loss", "accuracy"), ("cross-entropy", "%"), strict=True
    ):
        factor = 100 if name == "accuracy" else 1
        for key, label, color in (
            (name, "training", "#1f77b4"),
            (f"val_{name}", "test", "#d62728"),
        ):
            known = [row for row in rows if key in row]
            values = [factor * row[key] for row in known]
            if not values:
                continue
            axes.plot(
                [row["epoch"] for row in known],
                values,
                label=f"{label} (last {values[-1]:.4g})",
                color=color,
                marker="o",
                markersize=3.5,
            )
        axes.set_title(
            name.capitalize(), loc="left", fontweight="bold", pad=14 if marks else None
        )
        axes.set_xlabel("epoch")
        axes.set_ylabel(unit)
        axes.set_xlim(0.5, max(epochs, default=1) + 0.5)
        for epoch, text in (marks or {}).items():
            axes.axvline(epoch - 0.5, color="#999999", linewidth=0.8)
            axes.text(
                epoch - 0.5, 1.0, f" {text}", fontsize=7, color="#666666",
                transform=axes.get_xaxis_transform(), verticalalignment="bottom",
            )  # fmt: skip
        # A run of one epoch has one tick, the only whole number in sight.
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    if title:
        figure.suptitle(title)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130)
