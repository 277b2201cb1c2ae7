"""SDA-EPSANet: pyramid split attention in a block, depth attention across blocks."""

from collections.abc import Sequence

import keras

from keras_sda.applications.designs.backbone import (
    Parts,
    Stage,
    build_backbone,
    imagenet_stem,
    widening_stages,
)
from keras_sda.applications.designs.checked_constructor import checked_constructor
from keras_sda.applications.designs.named_constructor import named_constructor
from keras_sda.layers import PyramidSplitAttention2D


@checked_constructor
def SDAEPSANet(
    stackwise_num_blocks: Sequence[int],
    base_width: int = 64,
    stem_width: int = 64,
    **arguments,
) -> keras.Model:
    """Builds an EPSANet with selective depth attention.

    The 3x3 convolution of a bottleneck block is pyramid split attention: four kernel
    sizes that compete per channel, each with a gate of its own.

    Args:
        stackwise_num_blocks: Number of blocks per stage, such as `[3, 4, 6, 3]`.
        base_width: Filters of the pyramids in the first stage, a multiple of 64.
            Defaults to `64`.
        stem_width: Filters of the stem. Defaults to `64`.
        **arguments: As in `SDAResNet`: `depth_attention`, `reduction`, `min_width`,
            `synchronized`, `pyramid_outputs`, and those of `keras.applications`.

    Returns:
        A functional `keras.Model`. Input `(batch, height, width, channels)`, output
        `(batch, classes)`.

    Raises:
        InvalidInputError: An argument, or the file of weights, cannot be used.

    Example:

    >>> from keras_sda.applications import SDAEPSANet
    >>> model = SDAEPSANet([1, 1], classes=10, input_shape=(64, 64, 3))
    >>> model.output_shape
    (None, 10)

    Source: arXiv 2209.10327 (SDA-EPSANet), by its published sizes, as its code was not
    released; the block from arXiv 2105.14447.
    """
    return build_backbone(
        stem=lambda parts, x: imagenet_stem(parts, x, stem_width),
        stem_stride=4,
        block=_block,
        stages=widening_stages(stackwise_num_blocks, base_width),
        **{"name": "sda_epsanet", **arguments},
    )


def _block(parts: Parts, x, stage: Stage, strides, *, name):
    pyramid = PyramidSplitAttention2D(
        stage.filters, strides=strides, name=f"{name}_conv2"
    )
    return parts.bottleneck(x, stage, strides, name=name, middle=pyramid)


SDAEPSANet50 = named_constructor("SDAEPSANet50", SDAEPSANet)
SDAEPSANet86 = named_constructor("SDAEPSANet86", SDAEPSANet)
SDAEPSANet101 = named_constructor("SDAEPSANet101", SDAEPSANet)
SDAEPSANet152 = named_constructor("SDAEPSANet152", SDAEPSANet)
