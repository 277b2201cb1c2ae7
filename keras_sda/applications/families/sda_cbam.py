"""SDA-CBAM: channel and spatial attention in a block, depth attention across blocks."""

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
from keras_sda.layers import ConvolutionalBlockAttention2D


@checked_constructor
def SDACBAM(
    stackwise_num_blocks: Sequence[int],
    base_width: int = 64,
    stem_width: int = 64,
    **arguments,
) -> keras.Model:
    """Builds a CBAM network with selective depth attention.

    The blocks are bottlenecks with ungrouped 3x3 convolutions, whose output is weighed
    per channel and then per position before the shortcut is added.

    Args:
        stackwise_num_blocks: Number of blocks per stage, such as `[3, 4, 6, 3]`.
        base_width: Filters of the 3x3 convolutions in the first stage. Defaults to
            `64`.
        stem_width: Filters of the stem. Defaults to `64`.
        **arguments: As in `SDAResNet`: `depth_attention`, `reduction`, `min_width`,
            `synchronized`, `pyramid_outputs`, and those of `keras.applications`.

    Returns:
        A functional `keras.Model`. Input `(batch, height, width, channels)`, output
        `(batch, classes)`.

    Raises:
        InvalidInputError: An argument, or the file of weights, cannot be used.

    Example:

    >>> from keras_sda.applications import SDACBAM
    >>> model = SDACBAM([1, 2], base_width=16, stem_width=16, classes=10,
    ...                 input_shape=(64, 64, 3))
    >>> model.output_shape
    (None, 10)

    Source: arXiv 2209.10327 (SDA-CBAM), by its published sizes, as its code was not
    released; the block from arXiv 1807.06521.
    """
    return build_backbone(
        stem=lambda parts, x: imagenet_stem(parts, x, stem_width),
        stem_stride=4,
        block=_block,
        stages=widening_stages(stackwise_num_blocks, base_width),
        **{"name": "sda_cbam", **arguments},
    )


def _block(parts: Parts, x, stage: Stage, strides, *, name):
    attend = ConvolutionalBlockAttention2D(name=f"{name}_cbam")
    return parts.bottleneck(x, stage, strides, name=name, after=attend)


SDACBAM50 = named_constructor("SDACBAM50", SDACBAM)
SDACBAM86 = named_constructor("SDACBAM86", SDACBAM)
SDACBAM101 = named_constructor("SDACBAM101", SDACBAM)
SDACBAM152 = named_constructor("SDACBAM152", SDACBAM)
