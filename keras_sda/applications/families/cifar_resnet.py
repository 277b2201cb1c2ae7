"""Residual networks for small images, with shortcuts that have no parameters."""

import keras

from keras_sda.applications.designs.backbone import (
    Parts,
    Stage,
    apply_stage,
    widening_stages,
)
from keras_sda.applications.designs.cifar_constructor import cifar_constructor

__all__ = ["CIFARResNet20", "CIFARResNet56"]

_WIDTH = 16


def _body(parts: Parts, x, stackwise_num_blocks):
    x = parts.conv(x, _WIDTH, 3, name="stem_conv")
    x = parts.relu(parts.norm(x, name="stem_bn"), name="stem_relu")
    stages = widening_stages(stackwise_num_blocks, _WIDTH)
    for number, stage in enumerate(stages, 1):
        x = apply_stage(
            parts, x, _block, stage, f"stage{number}", depth_attention=False
        )
    return x


def _block(parts: Parts, x, stage: Stage, strides, *, name):
    filters = stage.filters
    shortcut = _shortcut(parts, x, filters, strides, name=f"{name}_shortcut")
    x = parts.conv_norm_relu(x, filters, 3, strides, name=name, n=1)
    x = parts.conv(x, filters, 3, name=f"{name}_conv2")
    x = parts.norm(x, name=f"{name}_bn2")
    return keras.layers.Add(name=f"{name}_add")([x, shortcut])


def _shortcut(parts: Parts, x, filters, strides, *, name):
    """Every second position, with zeros as the channels that are missing."""
    if strides > 1:
        # A pool of one position picks, it does not mix.
        x = keras.layers.MaxPooling2D(1, strides, name=f"{name}_subsample")(x)
    missing = filters - x.shape[parts.axis]
    if not missing:
        return x
    zeros = (missing // 2, missing - missing // 2)
    # ZeroPadding2D pads two neighbouring axes. Told of the other data format, one of
    # them is the channel axis: so this is a stock layer, and the model loads anywhere.
    if parts.axis == -1:
        padding, data_format = ((0, 0), zeros), "channels_first"
    else:
        padding, data_format = (zeros, (0, 0)), "channels_last"
    return keras.layers.ZeroPadding2D(
        padding, data_format=data_format, name=f"{name}_pad"
    )(x)


_KIND = (
    "the residual network of {} layers for CIFAR, two 3x3 convolutions\na block, whose "
    "shortcuts between stages skip positions and add zero channels."
)
CIFARResNet20 = cifar_constructor("CIFARResNet20", _body, _KIND.format(20))
CIFARResNet56 = cifar_constructor("CIFARResNet56", _body, _KIND.format(56))
