"""DenseNet121 for small images."""

import keras

from keras_sda.applications.designs.backbone import Parts
from keras_sda.applications.designs.cifar_constructor import cifar_constructor

__all__ = ["CIFARDenseNet121"]

_STEM, _GROWTH, _BOTTLENECK = 64, 32, 4


def _body(parts: Parts, x, stackwise_num_blocks):
    x = parts.conv(x, _STEM, 3, name="stem_conv")
    for stage, count in enumerate(stackwise_num_blocks, 1):
        for block in range(1, count + 1):
            x = _block(parts, x, name=f"stage{stage}_block{block}")
        if stage < len(stackwise_num_blocks):
            x = _transition(parts, x, name=f"stage{stage}_transition")
    return _norm_relu(parts, x, "final_bn", "final_relu")


def _block(parts: Parts, x, *, name):
    y = _norm_relu(parts, x, f"{name}_bn1", f"{name}_relu1")
    y = parts.conv(y, _BOTTLENECK * _GROWTH, 1, name=f"{name}_conv1")
    y = _norm_relu(parts, y, f"{name}_bn2", f"{name}_relu2")
    y = parts.conv(y, _GROWTH, 3, name=f"{name}_conv2")
    return keras.layers.Concatenate(axis=parts.axis, name=f"{name}_concat")([x, y])


def _transition(parts: Parts, x, *, name):
    """Half the channels, half the size."""
    x = _norm_relu(parts, x, f"{name}_bn", f"{name}_relu")
    x = parts.conv(x, x.shape[parts.axis] // 2, 1, name=f"{name}_conv")
    return keras.layers.AveragePooling2D(2, name=f"{name}_pool")(x)


def _norm_relu(parts, x, norm, relu):
    return parts.relu(parts.norm(x, name=norm), name=relu)


CIFARDenseNet121 = cifar_constructor(
    "CIFARDenseNet121",
    _body,
    "DenseNet121 for CIFAR: a 3x3 stem without stride and pooling,\nfour dense stages "
    "with growth 32 and bottlenecks, transitions that halve.",
)
