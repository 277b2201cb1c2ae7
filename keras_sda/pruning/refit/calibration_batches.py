"""The samples that a pruned model is fitted on."""

from typing import Any

import keras
import numpy as np

from keras_sda.data.fit.array_structures import leaves, map_arrays
from keras_sda.data.fit.fit_data import FitData
from keras_sda.utils import InvalidInputError

_BATCH_SIZE = 32


def calibration_batches(
    data: Any,
    model: keras.Model,
    max_samples: int = 512,
    needs_targets: bool = False,
    seed: int = 0,
) -> list[Any]:
    """Some samples, in batches: of arrays drawn at random, of streams the first.

    Args:
        data: See `reconstruct`.
        model: The model that they are for.
        max_samples: See `reconstruct`. Defaults to `512`.
        needs_targets: Whether batches are `(inputs, targets, sample_weight)`, and
            inputs alone an error. Defaults to `False`: they are inputs.
        seed: Of what is drawn. Defaults to `0`.

    Raises:
        InvalidInputError: There are none, they do not fit the model, or inputs are not
            finite.
    """
    batches, count = [], 0
    reader = FitData(data, model, needs_targets=needs_targets)
    arrays = reader.arrays
    if arrays is not None and len(leaves(arrays)[0]) > max_samples:
        # Files are often sorted by class.
        drawn = np.random.default_rng(seed).permutation(len(leaves(arrays)[0]))
        drawn = np.sort(drawn[:max_samples])
        parts = np.split(drawn, range(_BATCH_SIZE, max_samples, _BATCH_SIZE))
        stream = (map_arrays(lambda a, p=part: a[p], arrays) for part in parts)
    else:
        stream = reader.batches(_BATCH_SIZE, endless=True)
    for batch in stream:
        _check_finite(batch[0])
        inputs = batch if needs_targets else batch[0]
        size = min(len(leaves(batch[0])[0]), max_samples - count)
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


def check_reconstruct(
    reconstruct: bool | None, data: Any, is_used: bool = False, is_read: bool = False
) -> bool:
    """Whether kernels are fitted: raises without data, or where data have no use.

    Args:
        reconstruct: Whether kernels shall be fitted; None where there are data.
        data: See `reconstruct`.
        is_used: Whether data are used without it, too. Defaults to `False`.
        is_read: Whether something reads the data before. Defaults to `False`.

    Raises:
        InvalidInputError: One is given without the other, or `reconstruct` is neither
            True nor False.
    """
    if reconstruct is None:
        reconstruct = data is not None
    if not isinstance(reconstruct, bool):
        raise InvalidInputError(
            "`reconstruct` must be True or False; the images are `data`. Received: "
            f"{type(reconstruct).__name__}."
        )
    if reconstruct and is_read and hasattr(data, "__next__"):
        raise InvalidInputError(
            "`data` is an iterator, which the training has read before `reconstruct` "
            "can. Give arrays, a list of batches or a tf.data.Dataset."
        )
    if reconstruct and data is None:
        raise InvalidInputError(
            "`reconstruct` needs `data`: 256 to 512 images as the model was trained "
            "on, as an array or in any form that model.fit takes."
        )
    if data is not None and not reconstruct and not is_used:
        raise InvalidInputError(
            "`data` has no use with reconstruct=False. Leave one of them out."
        )
    return reconstruct


def _check_finite(inputs):
    for array in map(np.asarray, leaves(inputs)):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InvalidInputError(
                "`data` hold inputs that are not finite. Give images as the model was "
                "trained on, without NaN."
            )
