"""Stops a run that has diverged."""

import math

import keras

from keras_sda.utils import InvalidInputError


class StopOnNaN(keras.callbacks.Callback):
    """Raises as soon as the loss is not a finite number.

    Use it instead of `keras.callbacks.TerminateOnNaN`, which stops quietly and lets
    the run end as if it were complete. The last backup stays as it is.

    Args:
        hint: What to try, for the message.

    Raises:
        InvalidInputError: Names the epoch and the step (both counted from 1).

    Example:

    ```python
    model.fit(images, labels, callbacks=[StopOnNaN("Lower the learning rate.")])
    ```
    """

    def __init__(self, hint: str = "Lower the learning rate."):
        super().__init__()
        self.hint = hint
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise InvalidInputError(
                f"Training diverged: the loss became {loss} in epoch "
                f"{self._epoch + 1}, step {batch + 1}. {self.hint}"
            )
