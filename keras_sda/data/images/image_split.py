"""One part (training or test) of an image dataset."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class ImageSplit:
    """Images with labels, kept as arrays, as file names or as a stream.

    Use it through `ImageDataset`. Exactly one of `arrays`, `files` and `stream` is
    set. The first two can be read in any order, so their shuffling is exact.

    Args:
        num_examples: Number of images.
        arrays: `(images, labels)`, uint8 `[N, H, W, C]` and int64 `[N]`.
        files: `(paths, labels)`, for images that are decoded when they are needed.
        stream: `tf.data.Dataset` of single `(image, label)` pairs, always in the same
            order, for data too large for memory.
        decode: Makes the uint8 image out of what `files` or `stream` holds. Works
            inside tf.data.

    Example:

    >>> import numpy as np
    >>> arrays = np.zeros((4, 8, 8, 1), "uint8"), np.arange(4)
    >>> ImageSplit(4, arrays=arrays).take(2).num_examples
    2
    """

    num_examples: int
    arrays: tuple[np.ndarray, np.ndarray] | None = None
    files: tuple[np.ndarray, np.ndarray] | None = None
    stream: Any = None
    decode: Callable | None = None

    def dataset(self):
        """`tf.data.Dataset` of `(uint8 image [h, w, c], int64 label)`, in order."""
        import tensorflow as tf

        dataset = self.stream
        if dataset is None:
            dataset = tf.data.Dataset.from_tensor_slices(self.arrays or self.files)
        if self.decode is None:
            return dataset
        return dataset.map(
            lambda image, label: (self.decode(image), label),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    def take(self, count: int | None) -> "ImageSplit":
        """The first `count` examples; None or a larger number keeps all."""
        if count is None or count >= self.num_examples:
            return self
        return ImageSplit(
            count,
            self.arrays and tuple(part[:count] for part in self.arrays),
            self.files and tuple(part[:count] for part in self.files),
            None if self.stream is None else self.stream.take(count),
            self.decode,
        )
