"""Leaving Keras: models as SavedModels, and their client."""

from keras_sda.export.format_predictions import format_predictions
from keras_sda.export.formats.export_saved_model import export_saved_model
from keras_sda.export.passes.fold_batch_normalization import fold_batch_normalization
from keras_sda.export.passes.rename_for_tensorflow import rename_for_tensorflow
from keras_sda.export.passes.separate_shared_relus import separate_shared_relus
from keras_sda.export.passes.split_groups import split_groups
from keras_sda.export.passes.to_float32 import to_float32
from keras_sda.export.predict import predict

__all__ = [
    "export_saved_model",
    "fold_batch_normalization",
    "format_predictions",
    "predict",
    "rename_for_tensorflow",
    "separate_shared_relus",
    "split_groups",
    "to_float32",
]
