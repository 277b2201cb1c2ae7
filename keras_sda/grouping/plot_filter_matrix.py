"""What the filters of one layer read, as a picture."""

import os

import keras
import numpy as np

from keras_sda.grouping.clusters.importance_vectors import importance_vectors
from keras_sda.grouping.find_groupable_layers import find_groupable_layers
from keras_sda.layers.compression.self_grouped import SelfGrouped
from keras_sda.utils import InvalidInputError, atomic_write
from keras_sda.utils.new_figure import new_figure


def plot_filter_matrix(
    model: keras.Model,
    layer: str,
    path: str | os.PathLike,
    before: keras.Model | None = None,
) -> None:
    """Draws the importance of every channel for every filter, before and after.

    Use it to see the groups of a layer. On the left all connections, in the order of
    the layer; on the right filters sorted by group and channels by the groups that
    read them, with what is cut in white.

    Args:
        model: A masked model.
        layer: Name of a masked layer, as in `GroupingReport`.
        path: The PNG file.
        before: The model before grouping, for the left side. Defaults to `None`: the
            whole kernel of the masked layer, which holds what was cut as it was last.

    Raises:
        InvalidInputError: A model has no such layer, or matplotlib is not installed.

    Example:

    ```python
    masked = self_group(model, conv_rate=0.7).model
    plot_filter_matrix(masked, "stage2_block1_conv2", "matrix.png", before=model)
    ```
    """
    after = _layer(model, layer, masked=True)
    whole = after if before is None else _layer(before, layer)
    mask = keras.ops.convert_to_numpy(after.mask).T.astype(bool)
    labels = keras.ops.convert_to_numpy(after.labels)
    left = importance_vectors(keras.ops.convert_to_numpy(whole.kernel))
    right = importance_vectors(keras.ops.convert_to_numpy(after.kernel), mask)
    if left.shape != right.shape:
        raise InvalidInputError(
            f"`before`: layer {layer!r} has the kernel {left.shape[0]} filters x "
            f"{left.shape[1]} channels, and {right.shape[0]} x {right.shape[1]} in "
            "`model`. Give the model that was grouped."
        )
    rows = np.argsort(labels, kind="stable")
    columns = _column_order(mask, labels)
    shown = np.where(mask, right, np.nan)[rows][:, columns]

    num_filters, num_channels = mask.shape
    # Squares where that gives a picture of a usual shape.
    height = float(np.clip(5 * num_filters / num_channels, 2.6, 8))
    figure = new_figure(12, height + 1.2)
    panels = figure.subplots(1, 2)
    # A few connections stand out by far; they would leave the others one colour.
    highest = max(
        float(np.percentile(values, 99)) if values.size else 0.0
        for values in (left, right[mask])
    )
    highest = highest or 1.0
    for axes, values, title in (
        (panels[0], left, "before: all connections"),
        (panels[1], shown, f"after: {mask.mean():.1%} kept, cut is white"),
    ):
        image = axes.imshow(
            values, cmap="viridis_r", vmin=0, vmax=highest, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        axes.set_title(title, loc="left", fontweight="bold")
        axes.set_facecolor("white")
        order = ", sorted by group" if axes is panels[1] else ""
        axes.set_xlabel(f"input channel{order}")
        axes.set_ylabel(f"filter{order}")
    ordered = labels[rows]
    starts = np.flatnonzero(np.diff(ordered)) + 1
    for start in starts:
        panels[1].axhline(start - 0.5, color="#d62728", linewidth=0.7)
    # Numbers of filters and channels at the right edge, where there is room for them.
    edges = [0, *starts, len(ordered)]
    for top, bottom in zip(edges, edges[1:], strict=False):
        if (bottom - top) / len(ordered) * height > 0.14:
            channels = int(mask[rows[top]].sum())
            panels[1].text(
                1.01, (top + bottom - 1) / 2, f"{bottom - top} read {channels}",
                transform=panels[1].get_yaxis_transform(), fontsize=7,
                verticalalignment="center", color="#444444",
            )  # fmt: skip
    panels[1].text(
        1.01, 1.01, "filters read\nchannels", transform=panels[1].transAxes, fontsize=7,
        verticalalignment="bottom", color="#444444",
    )  # fmt: skip
    figure.colorbar(
        image, ax=panels, label="importance (L1 norm of the kernel)", extend="max",
        shrink=0.9,
    )  # fmt: skip
    groups = len(np.unique(labels))
    figure.suptitle(
        f"{layer}: {num_filters} filters x {num_channels} channels in {groups} groups"
    )
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _column_order(mask, labels):
    """Channels of the first group first, and those that many groups read before."""
    groups = np.unique(labels)
    reads = np.array([mask[labels == group].any(axis=0) for group in groups])
    first = np.where(reads.any(axis=0), reads.argmax(axis=0), len(groups))
    return np.lexsort((-reads.sum(axis=0), first))


def _layer(model, name, masked=False):
    argument = "model" if masked else "before"
    found = {entry.name: entry.layer for entry in find_groupable_layers(model)}
    if masked:
        found = {
            name: layer for name, layer in found.items()
            if isinstance(layer, SelfGrouped)
        }  # fmt: skip
        if not found:
            raise InvalidInputError(
                f"`model` '{model.name}' has no masked layer. Make a masked model of "
                "it with grouping.self_group(model)."
            )
    if name not in found:
        raise InvalidInputError(
            f"`{argument}` has no {'masked ' * masked}layer {name!r}. It has: "
            f"{', '.join(found) or 'none'}."
        )
    return found[name]
