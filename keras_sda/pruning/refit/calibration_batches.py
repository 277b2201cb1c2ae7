"""The samples that a pruned model is fitted on."""

from typing import Any

import keras

from keras_sda.data.fit.array_structures import leaves, map_arrays
from keras_sda.data.fit.fit_data import FitData
from keras_sda.utils import InvalidInputError

_BATCH_SIZE = 32


def calibration_batches(
    data: Any, model: keras.Model, max_samples: int = 512, needs_targets: bool = False
) -> list[Any]:
    """The first samples, in batches.

    Args:
        data: See `reconstruct`.
        model: The model that they are for.
        max_samples: See `reconstruct`. Defaults to `512`.
        needs_targets: Whether batches are `(inputs, targets, sample_weight)`, and
            inputs alone an error. Defaults to `False`: they are inputs.

    Raises:
        InvalidInputError: There are none, or they do not fit the model.
    """
    batches, count = [], 0
    reader = FitData(data, model, needs_targets=needs_targets)
    for batch in reader.batches(_BATCH_SIZE):
        inputs = batch if needs_targets else batch[0]
        size = min(len(leaves(inputs)[0]), max_samples - count)
        for start in range(0, size, _BATCH_SIZE):
            part = slice(start, min(start + _BATCH_SIZE, size))
            batches.append(map_arrays(lambda a, p=part: a[p], inputs))
        count += size
        if count >= max_samples:
            break
    if count < 2:
        raise InvalidInputError(
            f"`data` must hold at least 2 samples; 256 or more are useful. Received: "
            f"{count}."
        )
    return batches
