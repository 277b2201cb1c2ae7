"""The loss of a model on one batch."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_sda.graph.find_head import check_loss
from keras_sda.utils import InvalidInputError


class ModelLoss:
    """Sums the losses of all outputs of a model.

    Labels may be class numbers or one-hot, whichever the loss wants: they are turned
    into the other form. Loss weights and regularizers do not count.

    Args:
        model: The model, compiled where `loss` is None.
        loss: A Keras loss or its name, a list with one per output or a dict by output
            name. Defaults to the loss that the model was compiled with.

    Raises:
        InvalidInputError: There is no loss, it is unknown, or it takes probabilities
            where the model gives logits.

    Example:

    >>> import keras
    >>> from keras_sda.pruning.model_loss import ModelLoss
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> loss = ModelLoss(model, "mse")
    >>> float(loss(np.ones((1, 2)), loss.targets(np.zeros((1, 2)))))
    1.0
    """

    def __init__(self, model: keras.Model, loss: Any = None):
        if loss is None:
            loss = getattr(model, "loss", None)
        if loss is None:
            raise InvalidInputError(
                "`loss` is missing: importance='taylor' needs one, and the model is "
                "not compiled. Pass for example loss='sparse_categorical_crossentropy'."
            )
        names = list(getattr(model, "output_names", ["output"]))
        self._shapes = [tuple(tensor.shape) for tensor in model.outputs]
        count = len(self._shapes)
        if isinstance(loss, Mapping):
            unknown = sorted(set(loss) - set(names))
            if unknown:
                raise InvalidInputError(
                    f"`loss` names outputs {unknown}; the model has {names}."
                )
            loss = [loss.get(name) for name in names]
        elif not isinstance(loss, (list, tuple)):
            loss = [loss] * count
        if len(loss) != count:
            raise InvalidInputError(
                f"`loss` must have one entry per output, {count}. Received {len(loss)}."
            )
        self._names = names
        self._losses = [_get(entry) for entry in loss]
        for index, entry in enumerate(self._losses):
            check_loss(model, entry, index)

    def targets(self, targets: Any) -> list[np.ndarray | None]:
        """Targets of every output, in the form that its loss takes.

        Raises:
            InvalidInputError: They do not fit the outputs.
        """
        if isinstance(targets, Mapping):
            targets = [targets.get(name) for name in self._names]
        elif not isinstance(targets, (list, tuple)):
            targets = [targets]
        if len(targets) != len(self._losses):
            raise InvalidInputError(
                f"`data` has targets for {len(targets)} output(s); the model has "
                f"{len(self._losses)}."
            )
        return [
            None if loss is None else _fit(np.asarray(target), shape, loss)
            for target, shape, loss in zip(
                targets, self._shapes, self._losses, strict=True
            )
        ]

    def __call__(self, outputs: Any, targets: list) -> Any:
        """The loss as a scalar tensor, for targets that `targets` returned."""
        total = 0.0
        for output, target, loss in zip(
            keras.tree.flatten(outputs), targets, self._losses, strict=True
        ):
            if loss is not None:
                output = keras.ops.cast(output, "float32")
                total = total + keras.ops.mean(loss(target, output))
        return total


def _get(loss):
    try:
        loss = keras.losses.get(loss)
    except ValueError as error:
        raise InvalidInputError(
            f"`loss` must be a Keras loss or its name. Received: loss={loss!r}."
        ) from error
    if isinstance(loss, type):
        loss = loss()
    return loss


def _is(loss, *names):
    name = type(loss).__name__
    if not isinstance(loss, keras.losses.Loss):
        name = getattr(loss, "__name__", name)
    return name.replace("_", "").lower() in names


def _fit(target, shape, loss):
    """The targets of one output as its loss wants them."""
    classes = shape[-1]
    if _is(loss, "sparsecategoricalcrossentropy"):
        if target.ndim == len(shape) and target.shape[-1] == classes and classes > 1:
            return target.argmax(-1)
        _check_labels(target, classes)
        return target
    if not isinstance(loss, keras.losses.Loss) and not hasattr(
        keras.losses, getattr(loss, "__name__", "")
    ):
        return target  # a function of the user knows what it takes
    if target.ndim == len(shape) and target.shape[-1] == classes:
        return target
    if _is(loss, "categoricalcrossentropy", "categoricalfocalcrossentropy"):
        if target.ndim == len(shape) and target.shape[-1] == 1:
            target = target[..., 0]
        if target.ndim == len(shape) - 1:
            _check_labels(target, classes)
            return keras.utils.to_categorical(target, classes)
    if target.ndim == len(shape) - 1 and classes == 1:
        return target[..., None]
    raise InvalidInputError(
        f"`data` has targets of shape {tuple(target.shape)}, which do not fit an "
        f"output of shape {shape} under the loss {_name(loss)}."
    )


def _check_labels(labels, classes):
    if labels.size and not (0 <= labels.min() and labels.max() < classes):
        raise InvalidInputError(
            f"`data` has labels from {labels.min()} to {labels.max()}; the model has "
            f"{classes} classes, 0 to {classes - 1}."
        )


def _name(loss):
    return getattr(loss, "__name__", type(loss).__name__)
