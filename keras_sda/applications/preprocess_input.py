"""From pixels to what the networks read."""

from typing import Any

from keras.applications import imagenet_utils


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Scales RGB pixels as the networks of this package expect them.

    Use it before a network with named weights (`"imagenet"`, `"cifar10"`). Models that
    `keras-sda train` wrote hold their own scaling and take the pixels as they are.

    Args:
        x: Array or tensor of RGB pixels between 0 and 255, one image
            `(height, width, 3)` or a batch `(batch, height, width, 3)`. A float NumPy
            array is changed in place, as in `keras.applications`.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to the Keras
            setting.

    Returns:
        The same shape, scaled to zero mean and unit variance of ImageNet: divided by
        255, minus (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225).

    Raises:
        ValueError: `data_format` is unknown.

    Example:

    >>> import numpy as np
    >>> from keras_sda.applications import preprocess_input
    >>> preprocess_input(np.full((1, 32, 32, 3), 255.0)).max().round(2)
    np.float64(2.64)

    Source: arXiv 2209.10327, the authors' training setup.
    """
    return imagenet_utils.preprocess_input(x, data_format=data_format, mode="torch")
