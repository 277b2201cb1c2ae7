"""Mean weight of every block, per group of images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_sda.utils import InvalidInputError


def depth_attention_table(
    attention: Mapping[str, np.ndarray],
    groups: Sequence[int] | np.ndarray | None = None,
    group_names: Sequence[str] | Mapping[int, str] | None = None,
) -> list[dict[str, Any]]:
    """Averages depth attention over channels and over the images of each group.

    Use it for the numbers behind `plot_depth_attention`.

    Args:
        attention: What `depth_attention` returns, or any dict from a name to an array
            `(images, K, channels)`.
        groups: An integer per image: its class, or the number of its object size.
            Defaults to `None`, all images are one group.
        group_names: Names of the groups, by number. Defaults to the numbers.

    Returns:
        A dict per stage, group and block, with `stage`, `group`, `block` (from 1),
        `block_name`, `num_images`, `mean` (sums to one over the blocks of a stage),
        `std` (between the images of the group, of the weight averaged over channels)
        and `standard_error` of the mean. The last two are `nan` for a single image.

    Raises:
        InvalidInputError: The arrays, `groups` and `group_names` do not fit together.

    Example:

    >>> import numpy as np
    >>> from keras_sda.analysis import depth_attention_table
    >>> weights = {"stage1_sda": np.array([[[0.2], [0.8]], [[0.4], [0.6]]])}
    >>> [round(row["mean"], 3) for row in depth_attention_table(weights)]
    [0.3, 0.7]
    """
    num_images = _check_attention(attention)
    groups, names = _check_groups(groups, group_names, num_images)
    block_names = getattr(attention, "block_names", {})
    rows = []
    for stage, weights in attention.items():
        per_image = np.mean(weights, axis=2, dtype="float64")
        num_blocks = per_image.shape[1]
        blocks = block_names.get(stage) or [f"block{k + 1}" for k in range(num_blocks)]
        for number, name in names.items():
            chosen = per_image[groups == number]
            count = len(chosen)
            std = chosen.std(axis=0, ddof=1) if count > 1 else chosen[0] * np.nan
            for k in range(num_blocks):
                rows.append(
                    {
                        "stage": stage,
                        "group": name,
                        "block": k + 1,
                        "block_name": blocks[k],
                        "num_images": count,
                        "mean": float(chosen[:, k].mean()),
                        "std": float(std[k]),
                        "standard_error": float(std[k] / count**0.5),
                    }
                )
    return rows


def _check_attention(attention):
    if not isinstance(attention, Mapping) or not attention:
        raise InvalidInputError(
            "`attention` must be what `depth_attention` returns, a dict with at least "
            f"one stage. Received: {type(attention).__name__}."
        )
    shapes = {name: np.shape(weights) for name, weights in attention.items()}
    lengths = {shape[0] if shape else 0 for shape in shapes.values()}
    if any(len(s) != 3 or 0 in s for s in shapes.values()) or len(lengths) != 1:
        raise InvalidInputError(
            "`attention` must hold arrays (images, blocks, channels), equally many "
            f"images in all. Received the shapes {shapes}."
        )
    return lengths.pop()


def _check_groups(groups, group_names, num_images):
    """Returns the group of every image and the names of the groups, in order."""
    if groups is None:
        return np.zeros(num_images, int), {0: "all images"}
    groups = np.asarray(groups)
    if groups.shape != (num_images,) or groups.dtype.kind not in "iu":
        raise InvalidInputError(
            f"`groups` must hold one integer for each of the {num_images} images. "
            f"Received an array of type {groups.dtype} and shape {groups.shape}."
        )
    numbers = [int(number) for number in np.unique(groups)]
    if group_names is None:
        return groups, {number: str(number) for number in numbers}
    if not isinstance(group_names, Mapping):
        group_names = dict(enumerate(group_names))
    missing = [number for number in numbers if number not in group_names]
    if missing:
        raise InvalidInputError(
            "`group_names` must name every number in `groups`: a list in the order of "
            f"the numbers from 0, or a dict. Missing: {missing}."
        )
    return groups, {number: str(group_names[number]) for number in numbers}
