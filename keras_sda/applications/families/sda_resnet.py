"""SDA-ResNet: residual networks with selective depth attention."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_sda.applications.decode_predictions import decode_predictions
from keras_sda.applications.designs.backbone import (
    Parts,
    Stage,
    build_backbone,
    imagenet_stem,
    widening_stages,
)
from keras_sda.applications.designs.checked_constructor import checked_constructor
from keras_sda.applications.designs.named_constructor import named_constructor
from keras_sda.applications.preprocess_input import preprocess_input
from keras_sda.utils import InvalidInputError

__all__ = [
    "SDAResNet",
    "SDAResNet20",
    "SDAResNet32",
    "SDAResNet50",
    "SDAResNet56",
    "SDAResNet86",
    "SDAResNet101",
    "SDAResNet152",
    "decode_predictions",
    "preprocess_input",
]


@checked_constructor
def SDAResNet(
    stackwise_num_blocks: Sequence[int],
    groups: int = 1,
    base_width: int = 64,
    stem_width: int = 64,
    depth_attention: bool = True,
    reduction: float = 16,
    min_width: int = 64,
    stem: str = "imagenet",
    block_type: str = "bottleneck",
    synchronized: bool = False,
    pyramid_outputs: bool = False,
    include_top: bool = True,
    weights: str | os.PathLike | None = None,
    input_tensor: Any = None,
    input_shape: tuple | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str = "sda_resnet",
    default_size: int = 224,
) -> keras.Model:
    """Builds a residual network whose stages weigh the outputs of all their blocks.

    Use a named network (`SDAResNet50`, `SDAResNet20`, ...) unless you need other
    depths or widths. The arguments from `include_top` on are those of
    `keras.applications`.

    Args:
        stackwise_num_blocks: Number of blocks per stage, such as `[3, 4, 6, 3]`.
        groups: Groups of the 3x3 convolutions of bottleneck blocks. Defaults to `1`.
        base_width: Filters of the 3x3 convolutions in the first stage; they double
            with every stage. Defaults to `64`.
        stem_width: Filters of the stem. Defaults to `64`.
        depth_attention: Whether stages end in `SelectiveDepthAttention` and the head
            normalises the pooled features. `False` gives the plain trunk.
            Defaults to `True`.
        reduction: See `SelectiveDepthAttention`. Defaults to `16`.
        min_width: See `SelectiveDepthAttention`. Defaults to `64`.
        stem: `"imagenet"` (7x7 convolution and max-pooling, stride 4) or `"cifar"`
            (3x3 convolution, stride 1). Defaults to `"imagenet"`.
        block_type: `"bottleneck"` (1x1, 3x3, 1x1 to four times the width) or
            `"basic"` (two 3x3). Defaults to `"bottleneck"`.
        synchronized: Whether normalisations take their statistics over all replicas
            of a `tf.distribute` strategy. Defaults to `False`.
        pyramid_outputs: Whether the model returns a dict of the stage outputs,
            `"P2"` to `"P5"` for strides 4 to 32. Needs `include_top=False`.
            Defaults to `False`.
        include_top: Whether the model ends in the classifier. Defaults to `True`.
        weights: `None` (random start), the name of published weights (see
            `load_weights`), a `.weights.h5` or `.keras` file of this network, or a
            `.safetensors` file with the parameter names of the authors or of timm.
            Defaults to `None`.
        input_tensor: Optional Keras tensor to build on.
        input_shape: Shape of an image `(height, width, channels)`, from 32 pixels on;
            sides may be `None`. Defaults to `(default_size, default_size, 3)` with
            the classifier, `(None, None, 3)` without.
        pooling: Without the classifier, `None` for the feature map, `"avg"` or
            `"max"` for a vector. Defaults to `None`.
        classes: Number of classes. Defaults to `1000`.
        classifier_activation: Activation of the classifier; `None` gives logits.
            Defaults to `"softmax"`.
        name: Name of the model. Defaults to `"sda_resnet"`.
        default_size: Image size in pixels where `input_shape` is not given.
            Defaults to `224`.

    Returns:
        A functional `keras.Model`. Input `(batch, height, width, channels)`, output
        `(batch, classes)`, or the feature map, vector or dict as asked for.

    Raises:
        InvalidInputError: An argument, or the file of weights, cannot be used.

    Example:

    >>> from keras_sda.applications import SDAResNet
    >>> model = SDAResNet([1, 2], base_width=16, stem_width=16, classes=10,
    ...                   input_shape=(64, 64, 3))
    >>> model.output_shape
    (None, 10)

    Source: arXiv 2209.10327 (IEEE TAI 2024), SDA-ResNet.
    """
    stems = {"imagenet": (imagenet_stem, 4, 2), "cifar": (_cifar_stem, 1, 2)}
    blocks = {"bottleneck": _bottleneck, "basic": _basic}
    if stem not in stems:
        raise InvalidInputError(
            f"`stem` must be one of {sorted(stems)}. Received: stem={stem!r}."
        )
    if block_type not in blocks:
        raise InvalidInputError(
            f"`block_type` must be one of {sorted(blocks)}. "
            f"Received: block_type={block_type!r}."
        )
    if block_type == "basic" and groups != 1:
        raise InvalidInputError(
            "`groups` applies to bottleneck blocks only. Received: "
            f"groups={groups}, block_type='basic'. Use block_type='bottleneck'."
        )
    stem_function, stem_stride, stage_stride = stems[stem]

    return build_backbone(
        stem=lambda parts, x: stem_function(parts, x, stem_width),
        block=blocks[block_type],
        stages=widening_stages(
            stackwise_num_blocks, base_width, stage_stride, groups=(groups,)
        ),
        stem_stride=stem_stride,
        default_size=default_size,
        depth_attention=depth_attention,
        reduction=reduction,
        min_width=min_width,
        synchronized=synchronized,
        pyramid_outputs=pyramid_outputs,
        include_top=include_top,
        weights=weights,
        input_tensor=input_tensor,
        input_shape=input_shape,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        name=name,
    )


def _cifar_stem(parts: Parts, x, width):
    x = parts.conv(x, width, 3, name="stem_conv")
    x = parts.norm(x, name="stem_bn")
    return parts.relu(x, name="stem_relu")


def _bottleneck(parts: Parts, x, stage: Stage, strides, *, name):
    return parts.bottleneck(x, stage, strides, name=name)


def _basic(parts: Parts, x, stage: Stage, strides, *, name):
    filters = stage.filters
    shortcut = parts.shortcut(x, filters, strides, name=name)
    x = parts.conv_norm_relu(x, filters, 3, strides, name=name, n=1)
    x = parts.conv(x, filters, 3, name=f"{name}_conv2")
    x = parts.norm(x, name=f"{name}_bn2")
    return keras.layers.Add(name=f"{name}_add")([x, shortcut])


SDAResNet20 = named_constructor("SDAResNet20", SDAResNet)
SDAResNet32 = named_constructor("SDAResNet32", SDAResNet)
SDAResNet56 = named_constructor("SDAResNet56", SDAResNet)
SDAResNet50 = named_constructor("SDAResNet50", SDAResNet)
SDAResNet86 = named_constructor("SDAResNet86", SDAResNet)
SDAResNet101 = named_constructor("SDAResNet101", SDAResNet)
SDAResNet152 = named_constructor("SDAResNet152", SDAResNet)
