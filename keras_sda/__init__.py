"""Keras 3 convolutional networks that adapt to scale and to budget."""

from keras_sda import applications, layers
from keras_sda.version import __version__

__all__ = ["__version__", "applications", "layers"]
