"""A run of `group_classifier` small enough for tests.

As a program: `tiny_group_run.py MODEL OUTPUT` makes a run that is killed in the second
epoch of its last training.
"""

import os
import signal
import sys

from keras_sda import training

DEFAULTS = {
    "dataset": "digits", "max_train_examples": 128, "batch_size": 32, "conv_rate": 0.2,
    "dense_rate": 0.1, "num_groups": 4, "scheme": "local_global", "local_epochs": 1,
    "fine_tune_epochs": 2, "form": "lists", "seed": 3,
}  # fmt: skip


def group_tiny(model, output, log=lambda text: None, **options):
    """`group_classifier` on 128 digits."""
    chosen = {**DEFAULTS, **options, "model": str(model), "output": str(output)}
    return training.group_classifier(training.GroupOptions(**chosen), log=log)


def kill_in(name, epoch):
    """Makes the process send itself SIGKILL in an epoch (from 0) of a training."""
    module = sys.modules["keras_sda.training.commands.fine_tune_classifier"]

    class Killer(module.HistoryFile):
        def on_epoch_begin(self, current, logs=None):
            super().on_epoch_begin(current, logs)
            self.current = current

        def on_train_batch_end(self, batch, logs=None):
            here = self.path.parent.name, self.current, batch
            if here == (name, epoch, 2):
                os.kill(os.getpid(), signal.SIGKILL)

    module.HistoryFile = Killer


if __name__ == "__main__":
    kill_in("global", 1)
    group_tiny(*sys.argv[1:])
