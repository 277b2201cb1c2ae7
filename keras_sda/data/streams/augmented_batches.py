"""Shuffled, cropped and mirrored batches of arrays, without TensorFlow."""

import numpy as np

from keras_sda.data.fit.epoch_batches import EpochBatches


class AugmentedBatches(EpochBatches):
    """Batches of images in memory that are cropped and mirrored at random.

    Use it to train on a backend other than TensorFlow, where `training_stream` cannot
    be had. Every batch is a function of the seed, the epoch and its number alone, so an
    interrupted run can go on. The last batch of an epoch may be smaller.

    Args:
        images: `[N, H, W, C]`, such as uint8.
        labels: `[N]`.
        batch_size: Images per batch. Defaults to `32`.
        seed: Seed of order and augmentation. Defaults to `0`.
        epoch: First epoch. Defaults to `0`.
        pad: Pixels of zeros on each side before each image is cropped at a position of
            its own. Defaults to `0`.
        flip: Whether to mirror left and right. Defaults to `False`.

    Example:

    >>> import numpy as np
    >>> from keras_sda.training import AugmentedBatches
    >>> images, labels = np.zeros((10, 8, 8, 3), "uint8"), np.arange(10)
    >>> batches = AugmentedBatches(images, labels, batch_size=4, pad=2, flip=True)
    >>> batches[0][0].shape, batches[0][0].dtype
    ((4, 8, 8, 3), dtype('float32'))
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int = 32,
        seed: int = 0,
        epoch: int = 0,
        pad: int = 0,
        flip: bool = False,
    ):
        super().__init__(images, labels, batch_size, seed, epoch)
        self._pad, self._flip = pad, flip

    def __getitem__(self, index):
        images, labels = super().__getitem__(index)
        generator = np.random.default_rng([self._seed, self._epoch, index, 1])
        return _augment(images, self._pad, self._flip, generator), labels


def _augment(images, pad, flip, generator):
    count, height, width = images.shape[:3]
    offsets = generator.integers(0, 2 * pad + 1, (2, count, 1))
    rows, columns = offsets[0] + np.arange(height), offsets[1] + np.arange(width)
    if flip:
        mirrored = generator.random(count) < 0.5
        columns[mirrored] = columns[mirrored, ::-1]
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    chosen = padded[np.arange(count)[:, None, None], rows[..., None], columns[:, None]]
    return chosen.astype("float32")
