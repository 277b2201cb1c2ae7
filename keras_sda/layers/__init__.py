"""Layers: what one tensor goes through."""

from keras_sda.layers.batch_normalization import batch_normalization
from keras_sda.layers.grouped_conv2d import GroupedConv2D
from keras_sda.layers.selective_depth_attention import SelectiveDepthAttention

__all__ = ["GroupedConv2D", "SelectiveDepthAttention", "batch_normalization"]
