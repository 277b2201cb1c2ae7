"""What every other folder may use: the error for bad input, safe files, models."""

from keras_sda.utils.atomic_write import atomic_write
from keras_sda.utils.invalid_input_error import InvalidInputError
from keras_sda.utils.load_model import load_model

__all__ = ["InvalidInputError", "atomic_write", "load_model"]
