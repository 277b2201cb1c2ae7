"""What a cut and the fit after it do to the loss."""

from typing import Any

import keras
import numpy as np

from keras_sda.data.fit.fit_data import FitData
from keras_sda.pruning.criteria.loss.mean_loss import mean_loss
from keras_sda.pruning.criteria.loss.model_loss import ModelLoss
from keras_sda.pruning.refit.calibration_batches import calibration_batches
from keras_sda.utils import InvalidInputError

_MAX_SAMPLES = 256


class CalibrationLosses:
    """The loss on some samples, of one model after the other, for a report.

    Where data have no targets, or nobody knows the loss, it notes nothing: a report
    must not end a run.

    Args:
        model: A model with the inputs and outputs of those that are measured.
        data: As in `prune`. Defaults to `None`.
        loss: Likewise. Defaults to `None`.
        seed: Of the choice of samples. Defaults to `0`.

    Attributes:
        found: The losses so far, by name.

    Example:

    >>> import keras
    >>> from keras_sda.pruning.calibration_losses import CalibrationLosses
    >>> x = keras.Input((2,))
    >>> model = keras.Model(x, keras.layers.Dense(1, kernel_initializer="ones")(x))
    >>> losses = CalibrationLosses(model, (np.ones((3, 2)), np.zeros((3, 1))), "mse")
    >>> losses.note("before", model)
    >>> losses.found
    {'before': 4.0}
    """

    def __init__(
        self, model: keras.Model, data: Any = None, loss: Any = None, seed: int = 0
    ):
        self.found: dict[str, float] = {}
        self._batches: list[Any] = []
        if data is None:
            return
        try:
            if FitData(data, model, needs_targets=False).first()[1] is None:
                return
            self._loss = ModelLoss(model, loss)
            self._batches = calibration_batches(data, model, _MAX_SAMPLES, True, seed)
        except InvalidInputError:
            return

    def note(self, name: str, model: keras.Model) -> None:
        """Measures a model.

        Args:
            name: What it is, such as `"cut"`.
            model: The model.
        """
        if not self._batches:
            return
        try:
            value = mean_loss(model, self._loss, self._batches)
        except InvalidInputError:  # Targets do not fit this loss.
            self._batches = []
            return
        if np.isfinite(value):
            self.found[name] = value


def losses_text(losses: dict[str, float]) -> str:
    """The losses in words, such as "0.31 before, 4.2 cut, 0.45 reconstructed".

    Args:
        losses: See `CalibrationLosses`.
    """
    names = ("before", "cut", "reconstructed")
    return ", ".join(f"{losses[x]:.3g} {x}" for x in names if x in losses)
