"""Knows which part of a dataset is being read."""

import keras


class PartInUse(keras.callbacks.Callback):
    """Follows whether `fit` reads training or validation data.

    Use it to say in which part an error of reading lies.

    Example:

    ```python
    part = PartInUse()
    with reading_errors("mine", lambda: part.name, "data"):
        model.fit(train, validation_data=test, callbacks=[part])
    ```
    """

    def __init__(self):
        super().__init__()
        self.name = "train"

    def on_test_begin(self, logs=None):
        self.name = "test"

    def on_test_end(self, logs=None):
        self.name = "train"
