"""The loss of a model on one batch."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_sda.graph.model.find_head import check_loss
from keras_sda.tasks import Classification
from keras_sda.utils import InvalidInputError


class ModelLoss:
    """Sums the losses of all outputs of a model.

    Labels may be class numbers or one-hot, whichever the loss wants: they are turned
    into the other form. Loss weights and regularizers do not count.

    Args:
        model: The model.
        loss: A Keras loss or its name, a list with one per output or a dict by output
            name. Defaults to the loss that the model was compiled with, else to the
            cross-entropy of its head, where that is clear.
        needed_by: Who needs it, for the message. Defaults to `"this criterion"`.

    Raises:
        InvalidInputError: There is no loss and no clear head, it is unknown, or it
            takes probabilities where the model gives logits.

    Example:

    >>> import keras
    >>> from keras_sda.pruning.criteria.loss.model_loss import ModelLoss
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> loss = ModelLoss(model, "mse")
    >>> float(loss(np.ones((1, 2)), loss.targets(np.zeros((1, 2)))))
    1.0
    """

    def __init__(
        self, model: keras.Model, loss: Any = None, needed_by: str = "this criterion"
    ):
        if loss is None:
            loss = getattr(model, "loss", None)
        if loss is None:
            loss = _of_head(model, needed_by)
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

    def targets(
        self, targets: Any, weights: Any = None
    ) -> list[tuple[np.ndarray, np.ndarray | None] | None]:
        """Targets of every output, in the form that its loss takes, and weights.

        Args:
            targets: For one output an array, for several a list or a dict by name.
            weights: Weights of the samples, for all outputs or like `targets`.
                Defaults to `None`.

        Raises:
            InvalidInputError: They do not fit the outputs.
        """
        if not isinstance(weights, (Mapping, list, tuple)):
            weights = [weights] * len(self._losses)
        targets = self._per_output(targets, "targets")
        weights = self._per_output(weights, "sample weights")
        for name, target, loss in zip(self._names, targets, self._losses, strict=True):
            if target is None and loss is not None:
                raise InvalidInputError(
                    f"`data` has no targets for output {name!r}, which has the loss "
                    f"{_name(loss)}. Give them, or None as its loss."
                )
        return [
            None if loss is None else (_fit(np.asarray(target), shape, loss), weight)
            for target, weight, shape, loss in zip(
                targets, weights, self._shapes, self._losses, strict=True
            )
        ]  # fmt: skip

    def _per_output(self, values, what):
        if isinstance(values, Mapping):
            values = [values.get(name) for name in self._names]
        elif not isinstance(values, (list, tuple)):
            values = [values]
        if len(values) != len(self._losses):
            raise InvalidInputError(
                f"`data` has {what} for {len(values)} output(s); the model has "
                f"{len(self._losses)}."
            )
        return values

    def __call__(self, outputs: Any, targets: list) -> Any:
        """The loss as a scalar tensor, for targets that `targets` returned."""
        total = 0.0
        for output, target, loss in zip(
            keras.tree.flatten(outputs), targets, self._losses, strict=True
        ):
            if loss is not None:
                output = keras.ops.cast(output, "float32")
                expected, weight = target
                total = total + _mean_loss(loss, expected, weight, output)
        return total


def _of_head(model, needed_by):
    """The cross-entropy of a classifier that says itself what its outputs mean."""
    try:
        return Classification.of(model, exclusive=None).loss()
    except InvalidInputError as error:
        raise InvalidInputError(
            f"`loss` is missing: {needed_by} needs one, the model is not compiled, and "
            "its outputs do not tell which. Pass for example "
            "loss='sparse_categorical_crossentropy'."
        ) from error


def _mean_loss(loss, target, weight, output):
    """The loss of one output, with weights as `model.fit` counts them."""
    if weight is None:
        return keras.ops.mean(loss(target, output))
    if isinstance(loss, keras.losses.Loss):
        return keras.ops.mean(loss(target, output, sample_weight=weight))
    values = loss(target, output)
    weight = keras.ops.cast(keras.ops.convert_to_tensor(weight), values.dtype)
    missing = len(values.shape) - len(weight.shape)
    weight = keras.ops.reshape(weight, (*weight.shape, *[1] * missing))
    return keras.ops.mean(values * weight)


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
