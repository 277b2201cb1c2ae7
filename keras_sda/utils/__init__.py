"""What every other folder may use: the error for bad input, safe files, models."""

from keras_sda.utils.atomic_write import atomic_write
from keras_sda.utils.invalid_input_error import InvalidInputError
from keras_sda.utils.load_model import load_model
from keras_sda.utils.seed_per_epoch import SeedPerEpoch
from keras_sda.utils.stop_on_nan import StopOnNaN

__all__ = [
    "InvalidInputError",
    "SeedPerEpoch",
    "StopOnNaN",
    "atomic_write",
    "load_model",
]
