"""Batches of arrays in an order that depends on the epoch alone."""

from typing import Any

import keras
import numpy as np

from keras_sda.data.fit.array_structures import leaves, map_arrays
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
        sample_weight: A weight per sample. Defaults to `None`: batches are pairs.

    Raises:
        InvalidInputError: There are no samples, or not as many targets.

    Example:

    >>> import numpy as np
    >>> from keras_sda.data.fit.epoch_batches import EpochBatches
    >>> batches = EpochBatches(np.zeros((10, 3)), np.zeros(10), batch_size=4)
    >>> len(batches), batches[2][0].shape
    (3, (2, 3))
    """

    def __init__(
        self,
        inputs: Any,
        targets: Any,
        batch_size: int = 32,
        seed=0,
        epoch: int = 0,
        sample_weight: Any = None,
    ):
        super().__init__()
        self._arrays: tuple[Any, ...] = (inputs, targets)
        if sample_weight is not None:
            self._arrays = (inputs, targets, sample_weight)
        sizes = {len(array) for array in leaves(self._arrays)}
        if len(sizes) != 1 or not max(sizes):
            raise InvalidInputError(
                "`data` must hold as many targets (and sample weights) as inputs, and "
                f"some. Received arrays of {sorted(sizes)} samples."
            )
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InvalidInputError(
                "`batch_size` must be a positive integer. "
                f"Received: batch_size={batch_size!r}."
            )
        self._size, self._batch_size, self._seed = max(sizes), batch_size, seed
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Goes to the order of an epoch, counted from 0."""
        self._epoch = epoch
        generator = np.random.default_rng([self._seed, epoch])
        self._order = generator.permutation(self._size)

    def __len__(self):
        return -(-self._size // self._batch_size)

    def __getitem__(self, index):
        start = index * self._batch_size
        chosen = self._order[start : start + self._batch_size]
        # Lists become tuples: streams of TensorFlow would stack them.
        return map_arrays(lambda array: array[chosen], self._arrays)

    def on_epoch_end(self):
        self.set_epoch(self._epoch + 1)
