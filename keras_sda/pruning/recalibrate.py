"""New statistics of batch normalization, from some images."""

from typing import Any

import keras
import numpy as np
from absl import logging

from keras_sda.data.fit.array_structures import leaves, map_arrays
from keras_sda.graph import GraphRunner, clone_edited
from keras_sda.pruning.criteria.loss.mean_loss import mean_loss
from keras_sda.pruning.criteria.loss.model_loss import ModelLoss
from keras_sda.pruning.refit.calibration_batches import calibration_batches
from keras_sda.pruning.refit.kept_values import KeptValues
from keras_sda.utils import InvalidInputError


def recalibrate(
    model: keras.Model,
    data: Any,
    loss: Any = None,
    check: bool = True,
    max_samples: int = 512,
) -> keras.Model:
    """Measures the statistics of batch normalization anew, without training.

    Use it after a cut that `reconstruct` cannot follow, after `derive`, `pack` or
    quantization. It costs accuracy where the images are not what the model was trained
    on, in kind or in augmentation, so it looks: every fourth sample is left out of the
    statistics, and the new ones are kept only if the loss on these falls.

    Every layer is measured on what it reads once those before it are done, over all
    samples at once. Layers inside of others, such as depth attention, and those that
    are called several times keep what they have.

    Args:
        model: A functional or built sequential model. It is not changed.
        data: Images as in `model.fit`, with targets where `check` is true.
        loss: What is compared: a Keras loss or its name. Defaults to that of the
            compiled model.
        check: Whether to compare. Without, labels are not needed and the new
            statistics are always kept. Defaults to `True`.
        max_samples: At most so many samples of `data` are read. Defaults to `512`.

    Returns:
        A functional `keras.Model` with its own weights, not compiled: with the new
        statistics, or a plain copy where they are worse, which is logged.

    Raises:
        InvalidInputError: The data do not fit the model, or the loss or the targets are
            missing where they are needed.

    Source: the reestimated statistics of Network Slimming and its successors; see Li
    et al., EagleEye (arXiv 2007.02491).

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.pruning import recalibrate
    >>> x = keras.Input((2,))
    >>> model = keras.Model(x, keras.layers.BatchNormalization(name="bn")(x))
    >>> small = recalibrate(model, np.array([[1.0, 0.0], [3.0, 0.0]]), check=False)
    >>> small.get_layer("bn").moving_mean.numpy().tolist()
    [2.0, 0.0]
    """
    if check:
        loss = ModelLoss(model, loss, needed_by="`check`")
    new = clone_edited(model)
    batches = calibration_batches(data, new, max_samples, needs_targets=check)
    if not check:
        _measure(new, batches)
        return new
    held_out, seen = _quarters(batches)
    count = _measure(new, [inputs for inputs, *_ in seen])
    before, after = (mean_loss(m, loss, held_out) for m in (clone_edited(model), new))
    if after < before:
        logging.info(
            "%s: new statistics of %d normalizations, loss %.4g -> %.4g.",
            model.name, count, before, after,
        )  # fmt: skip
        return new
    logging.warning(
        "%s: new statistics would raise the loss from %.4g to %.4g; the old ones stay.",
        model.name, before, after,
    )  # fmt: skip
    return clone_edited(model)


def _quarters(batches):
    """Every fourth sample, and the others."""
    parts = [], []
    for batch in batches:
        left_out = np.arange(len(leaves(batch[0])[0])) % 4 == 3
        for part, chosen in zip(parts, (left_out, ~left_out), strict=True):
            if chosen.any():
                part.append(map_arrays(lambda a, c=chosen: a[c], batch))
    if not parts[0]:
        raise InvalidInputError(
            "`data` must hold batches of at least 4 samples, of which every fourth is "
            "left out of the statistics; or set check=False."
        )
    return parts


def _measure(model, batches):
    """Gives every normalization the statistics of what it reads; returns how many."""
    runner = GraphRunner(model)
    values = KeptValues(runner, batches)
    count = 0
    for call in runner.calls:
        layer = call.layer
        if not isinstance(layer, keras.layers.BatchNormalization):
            continue
        if sum(other.layer is layer for other in runner.calls) > 1:
            continue
        values.advance(call.index)
        total = np.zeros((3, layer.moving_mean.shape[0]))
        for batch in range(len(batches)):
            value = values.value(batch, call.inputs[0])
            value = keras.ops.convert_to_numpy(keras.ops.cast(value, "float32"))
            rows = np.moveaxis(value, layer.axis, -1)
            rows = rows.reshape(-1, rows.shape[-1]).astype("float64")
            total += np.stack([0 * rows[0] + len(rows), rows.sum(0), (rows**2).sum(0)])
        mean = total[1] / total[0]
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(np.maximum(total[2] / total[0] - mean**2, 0))
        count += 1
    return count
