"""Stops a run that has diverged."""

import math
from collections.abc import Callable

import keras

from keras_sda.utils import InvalidInputError


class StopOnNaN(keras.callbacks.Callback):
    """Raises as soon as a loss or a weight is not a finite number.

    Use it instead of `keras.callbacks.TerminateOnNaN`, which stops quietly and lets
    the run end as if it were complete. Put it before every callback that writes: the
    weights and the test loss of an epoch are checked before they can be saved, so the
    last backup stays good.

    Args:
        hint: Returns what to try, for the message; called when the run stops. Defaults
            to a lower learning rate.

    Raises:
        InvalidInputError: Names the epoch and the step (both counted from 1).

    Example:

    ```python
    model.fit(images, labels, callbacks=[StopOnNaN(lambda: "Use float32.")])
    ```
    """

    def __init__(self, hint: Callable[[], str] = lambda: "Lower the learning rate."):
        super().__init__()
        self.hint = hint
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            self._stop(f"the loss became {loss}", f", step {batch + 1}")

    def on_test_end(self, logs=None):
        # The loss of a step is measured before its update, which may still diverge.
        self._check_weights()
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            self._stop(f"the test loss became {loss}")

    def on_epoch_end(self, epoch, logs=None):
        self._check_weights()  # for runs without validation

    def _check_weights(self):
        for variable in (*self.model.variables, *self.model.optimizer.variables):
            if not keras.backend.is_float_dtype(variable.dtype):
                continue
            if not bool(keras.ops.all(keras.ops.isfinite(variable))):
                self._stop(f"{variable.path} became infinite or NaN")

    def _stop(self, what, where=""):
        raise InvalidInputError(
            f"Training diverged: {what} in epoch {self._epoch + 1}{where}. "
            f"{self.hint()}"
        )
