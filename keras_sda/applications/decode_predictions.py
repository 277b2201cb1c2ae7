"""From probabilities to names."""

from collections.abc import Sequence

import numpy as np
from keras.applications import imagenet_utils
from numpy.typing import ArrayLike

from keras_sda.utils import InvalidInputError


def decode_predictions(
    preds: ArrayLike, top: int = 5, class_names: Sequence[str] | None = None
) -> list[list[tuple]]:
    """Names the most probable classes of every image.

    Args:
        preds: Array of probabilities `(batch, classes)`.
        top: How many classes to name. Defaults to `5`.
        class_names: Names in the order of the outputs. Defaults to the 1000 classes
            of ImageNet, whose list Keras fetches once and caches.

    Returns:
        A list per image of tuples `(class identifier, name, score)`, best first. With
        `class_names` the identifier is the class number.

    Raises:
        InvalidInputError: `preds` does not fit `class_names`.
        ValueError: Without `class_names`, `preds` is not `(batch, 1000)`.

    Example:

    >>> from keras_sda.applications import decode_predictions
    >>> decode_predictions([[0.1, 0.9]], top=1, class_names=["cat", "dog"])
    [[(1, 'dog', 0.9)]]
    """
    preds = np.asarray(preds)
    if class_names is None:
        return imagenet_utils.decode_predictions(preds, top=top)
    if preds.ndim != 2 or preds.shape[1] != len(class_names):
        raise InvalidInputError(
            "`preds` must have the shape (batch, number of class names). Received: "
            f"shape {preds.shape} and {len(class_names)} class names."
        )
    return [
        [(int(i), class_names[i], float(row[i])) for i in row.argsort()[::-1][:top]]
        for row in preds
    ]
