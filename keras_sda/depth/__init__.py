"""Selective depth attention for models that were built without it."""

from keras_sda.depth.attach import attach
from keras_sda.depth.find_stages import DepthStage, find_stages

__all__ = ["DepthStage", "attach", "find_stages"]
