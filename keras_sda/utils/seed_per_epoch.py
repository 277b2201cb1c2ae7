"""Makes dropout and the like repeatable after a resume."""

import keras


class SeedPerEpoch(keras.callbacks.Callback):
    """Sets the random state of the layers from the seed and the epoch.

    Weight files do not hold that state, so without this a resumed run with dropout
    would draw other numbers than an uninterrupted one.

    Args:
        seed: Seed of the run.

    Example:

    ```python
    model.fit(images, labels, callbacks=[SeedPerEpoch(7)])
    ```
    """

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        states = [
            variable
            for variable in self.model.non_trainable_variables
            if variable.path.endswith("seed_generator_state")
        ]
        for index, state in enumerate(states):
            state.assign([self.seed + index, (epoch + 1) << 20])
