"""Networks in the style of `keras.applications`: functional models from a call."""

from keras_sda.applications.decode_predictions import decode_predictions
from keras_sda.applications.get_model import get_model, list_models
from keras_sda.applications.load_weights import load_weights
from keras_sda.applications.preprocess_input import preprocess_input
from keras_sda.applications.sda_resnet import (
    SDAResNet,
    SDAResNet20,
    SDAResNet32,
    SDAResNet50,
    SDAResNet56,
    SDAResNet86,
    SDAResNet101,
    SDAResNet152,
)

__all__ = [
    "SDAResNet",
    "SDAResNet101",
    "SDAResNet152",
    "SDAResNet20",
    "SDAResNet32",
    "SDAResNet50",
    "SDAResNet56",
    "SDAResNet86",
    "decode_predictions",
    "get_model",
    "list_models",
    "load_weights",
    "preprocess_input",
]
