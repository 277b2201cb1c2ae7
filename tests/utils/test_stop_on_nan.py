import keras
import numpy as np
import pytest

from keras_sda.utils import InvalidInputError, StopOnNaN

ONES = np.ones((8, 3), "float32"), np.ones((8, 2), "float32")


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.saved = []

    def on_test_end(self, logs=None):
        self.saved.append("best")

    def on_epoch_end(self, epoch, logs=None):
        self.saved.append("backup")


def fit(learning_rate=0.01, **options):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(learning_rate, momentum=0.9), "mse")
    recorder = Recorder()
    callbacks = [StopOnNaN(lambda: "Try this."), recorder]
    options = {"batch_size": 8, "epochs": 2, "verbose": 0, **options}
    try:
        model.fit(*ONES, callbacks=callbacks, **options)
    finally:
        fit.saved = recorder.saved


def test_good_run():
    fit(validation_data=ONES)
    assert fit.saved == ["best", "backup"] * 2


@pytest.mark.parametrize("options", [{}, {"validation_data": ONES}])
def test_the_last_update_of_an_epoch_diverges(options):
    """Its loss, measured before the update, was finite."""
    message = "diverged: .*kernel became infinite or NaN in epoch 1. Try this."
    with pytest.raises(InvalidInputError, match=message):
        fit(learning_rate=float("inf"), **options)
    assert fit.saved == []


def test_loss_of_a_step():
    data = np.full((8, 3), np.nan, "float32"), ONES[1]
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(
        InvalidInputError, match="loss became nan in epoch 1, step 1. L"
    ):
        model.fit(*data, callbacks=[StopOnNaN()], verbose=0)


def test_test_loss():
    bad = ONES[0], np.full((8, 2), np.inf, "float32")
    with pytest.raises(InvalidInputError, match="test loss became inf in epoch 1. Try"):
        fit(validation_data=bad)
    assert fit.saved == []
