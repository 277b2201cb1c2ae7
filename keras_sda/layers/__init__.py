"""Layers: what one tensor goes through.

A layer says of itself what other rooms ask: `compute_macs`, `follow_channels`,
`keeps_zeros`, `portable`, `linear_parts` (see `keras_sda.graph.register_rule`).
"""

from keras_sda.layers.attention.convolutional_block_attention2d import (
    ConvolutionalBlockAttention2D,
)
from keras_sda.layers.attention.pyramid_split_attention2d import PyramidSplitAttention2D
from keras_sda.layers.attention.selective_depth_attention import SelectiveDepthAttention
from keras_sda.layers.attention.squeeze_excite2d import SqueezeExcite2D
from keras_sda.layers.compression.gather_channels import GatherChannels
from keras_sda.layers.compression.packed_conv2d import PackedConv2D
from keras_sda.layers.compression.packed_dense import PackedDense
from keras_sda.layers.compression.scaled_sigmoid_gate import ScaledSigmoidGate
from keras_sda.layers.compression.scatter_channels import ScatterChannels
from keras_sda.layers.compression.self_grouped_conv2d import SelfGroupedConv2D
from keras_sda.layers.compression.self_grouped_dense import SelfGroupedDense
from keras_sda.layers.convolution.batch_normalization import batch_normalization
from keras_sda.layers.convolution.grouped_conv2d import GroupedConv2D
from keras_sda.layers.convolution.pyramidal_conv2d import PyramidalConv2D

__all__ = [
    "ConvolutionalBlockAttention2D",
    "GatherChannels",
    "GroupedConv2D",
    "PackedConv2D",
    "PackedDense",
    "PyramidSplitAttention2D",
    "PyramidalConv2D",
    "ScaledSigmoidGate",
    "ScatterChannels",
    "SelectiveDepthAttention",
    "SelfGroupedConv2D",
    "SelfGroupedDense",
    "SqueezeExcite2D",
    "batch_normalization",
]
