"""Batches of arrays in an order that depends on the epoch alone."""

from typing import Any

import keras
import numpy as np

from keras_sda.utils import InvalidInputError


class EpochBatches(keras.utils.PyDataset):
    """Shuffles arrays anew in every epoch, the same way in every run.

    Use it for training that may be interrupted: a resumed run sees the batches that it
    would have seen.

    Args:
        inputs: Array, or a structure of arrays, one entry per sample.
        targets: The same for the targets.
        batch_size: Samples per batch. Defaults to `32`.
        seed: Seed of the order. Defaults to `0`.
        epoch: First epoch. Defaults to `0`.

    Raises:
        InvalidInputError: There are no samples, or not as many targets.

    Example:

    >>> import numpy as np
    >>> from keras_sda.search.epoch_batches import EpochBatches
    >>> batches = EpochBatches(np.zeros((10, 3)), np.zeros(10), batch_size=4)
    >>> len(batches), batches[2][0].shape
    (3, (2, 3))
    """

    def __init__(
        self, inputs: Any, targets: Any, batch_size: int = 32, seed=0, epoch: int = 0
    ):
        super().__init__()
        sizes = {len(a) for a in keras.tree.flatten((inputs, targets))}
        if len(sizes) != 1 or not max(sizes):
            raise InvalidInputError(
                "`data` must hold as many targets as inputs, and some. Received arrays "
                f"of {sorted(sizes)} samples."
            )
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InvalidInputError(
                "`batch_size` must be a positive integer. "
                f"Received: batch_size={batch_size!r}."
            )
        self._arrays = inputs, targets
        self._size, self._batch_size, self._seed = max(sizes), batch_size, seed
        self._set_epoch(epoch)

    def _set_epoch(self, epoch):
        self._epoch = epoch
        generator = np.random.default_rng([self._seed, epoch])
        self._order = generator.permutation(self._size)

    def __len__(self):
        return -(-self._size // self._batch_size)

    def __getitem__(self, index):
        start = index * self._batch_size
        chosen = self._order[start : start + self._batch_size]
        return keras.tree.map_structure(lambda array: array[chosen], self._arrays)

    def on_epoch_end(self):
        self._set_epoch(self._epoch + 1)
