"""MobileNetV2 for small images."""

import keras

from keras_sda.applications.designs.backbone import Parts
from keras_sda.applications.designs.cifar_constructor import cifar_constructor

__all__ = ["CIFARMobileNetV2"]

_STEM, _LAST = 32, 1280
# Filters, expansion and stride of the stages.
_STAGES = (
    (16, 1, 1),
    (24, 6, 1),
    (32, 6, 2),
    (64, 6, 2),
    (96, 6, 1),
    (160, 6, 2),
    (320, 6, 1),
)


def _body(parts: Parts, x, stackwise_num_blocks):
    x = _conv_norm_relu(parts, x, _STEM, 3, "stem_conv", "stem_bn", "stem_relu")
    for number, (count, (filters, expansion, strides)) in enumerate(
        zip(stackwise_num_blocks, _STAGES, strict=True), 1
    ):
        for block in range(1, count + 1):
            x = _block(
                parts, x, filters, expansion, strides if block == 1 else 1,
                name=f"stage{number}_block{block}",
            )  # fmt: skip
    return _conv_norm_relu(parts, x, _LAST, 1, "head_conv", "head_norm", "head_relu")


def _block(parts: Parts, x, filters, expansion, strides, *, name):
    """1x1 to more channels, 3x3 within each channel, 1x1 to `filters`, linear."""
    shortcut = None
    if strides == 1:
        shortcut = parts.shortcut(x, filters, strides, name=name)
    width = expansion * x.shape[parts.axis]
    x = _conv_norm_relu(
        parts, x, width, 1, f"{name}_conv1", f"{name}_bn1", f"{name}_relu1"
    )
    x = parts.depthwise(x, 3, strides, name=f"{name}_conv2")
    x = _relu6(parts.norm(x, name=f"{name}_bn2"), name=f"{name}_relu2")
    x = parts.norm(parts.conv(x, filters, 1, name=f"{name}_conv3"), name=f"{name}_bn3")
    if shortcut is None:
        return x
    return keras.layers.Add(name=f"{name}_add")([x, shortcut])


def _conv_norm_relu(parts, x, filters, kernel_size, conv, norm, relu):
    x = parts.conv(x, filters, kernel_size, name=conv)
    return _relu6(parts.norm(x, name=norm), name=relu)


def _relu6(x, *, name):
    return keras.layers.ReLU(6.0, name=name)(x)


CIFARMobileNetV2 = cifar_constructor(
    "CIFARMobileNetV2",
    _body,
    "MobileNetV2 for CIFAR: no stride in the stem and the second\nstage, every block "
    "expands, 1x1 shortcuts where only the width changes.",
    normal_classifier=True,
)
