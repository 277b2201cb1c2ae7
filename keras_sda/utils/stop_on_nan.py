"""Stops a run that has diverged."""

import math
from collections.abc import Callable

import keras

from keras_sda.utils.invalid_input_error import InvalidInputError


class StopOnNaN(keras.callbacks.Callback):
    """Raises as soon as a loss or a weight is not a finite number.

    Use it instead of `keras.callbacks.TerminateOnNaN`, which stops quietly and lets
    the run end as if it were complete. Put it before every callback that writes: the
    weights and the test loss of an epoch are checked before they can be saved, so the
    last backup stays good.

    Args:
        hint: Returns what to try, for the message; called when the run stops. Defaults
            to a lower learning rate.
        every: Look at the loss in every so many steps, and at the end of the epoch. To
            look at it, a GPU has to be waited for. Defaults to `1`.

    Raises:
        InvalidInputError: Names the epoch and the step (both counted from 1).

    Example:

    ```python
    model.fit(images, labels, callbacks=[StopOnNaN(lambda: "Use float32.")])
    ```
    """

    def __init__(
        self,
        hint: Callable[[], str] = lambda: "Lower the learning rate.",
        every: int = 1,
    ):
        super().__init__()
        self.hint, self.every = hint, every
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if batch % self.every == 0:
            self._check_loss(logs, f", step {batch + 1}")

    def on_test_end(self, logs=None):
        # The loss of a step is measured before its update, which may still diverge.
        self._check_weights()
        self._check_loss(logs, what="the test loss")

    def on_epoch_end(self, epoch, logs=None):
        self._check_loss(logs)
        self._check_weights()  # for runs without validation

    def _check_loss(self, logs, where="", what="the loss"):
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            self._stop(f"{what} became {loss}", where)

    def _check_weights(self):
        ops = keras.ops
        variables = [
            variable
            for variable in (*self.model.variables, *self.model.optimizer.variables)
            if keras.backend.is_float_dtype(variable.dtype)
        ]
        # All at once: a GPU is waited for once.
        checks = ops.stack([ops.all(ops.isfinite(variable)) for variable in variables])
        checks = ops.convert_to_numpy(checks)
        for variable, is_finite in zip(variables, checks, strict=True):
            if not is_finite:
                self._stop(f"{variable.path} became infinite or NaN")

    def _stop(self, what, where=""):
        raise InvalidInputError(
            f"Training diverged: {what} in epoch {self._epoch + 1}{where}. "
            f"{self.hint()}"
        )
