"""What every other folder may use: the error for bad input and safe file writing."""

from keras_sda.utils.atomic_write import atomic_write
from keras_sda.utils.invalid_input_error import InvalidInputError

__all__ = ["InvalidInputError", "atomic_write"]
