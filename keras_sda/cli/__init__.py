"""The command line `keras-sda`: a main list, one file a command."""

from keras_sda.cli.main import main

__all__ = ["main"]
