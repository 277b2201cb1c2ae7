"""What every other folder may use: the error for bad input, safe files, models."""

from keras_sda.utils.files.atomic_write import atomic_write
from keras_sda.utils.files.folder_lock import folder_lock
from keras_sda.utils.files.load_model import load_model
from keras_sda.utils.files.model_digest import model_digest
from keras_sda.utils.files.save_model import save_model
from keras_sda.utils.files.weights_file import WeightsFile
from keras_sda.utils.invalid_input_error import InvalidInputError
from keras_sda.utils.seed_per_epoch import SeedPerEpoch
from keras_sda.utils.stop_on_nan import StopOnNaN

__all__ = [
    "InvalidInputError",
    "SeedPerEpoch",
    "StopOnNaN",
    "WeightsFile",
    "atomic_write",
    "folder_lock",
    "load_model",
    "model_digest",
    "save_model",
]
