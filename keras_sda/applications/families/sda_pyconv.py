"""SDA-PyConv: kernels of several sizes in a block, depth attention across blocks."""

from collections.abc import Sequence

import keras

from keras_sda.applications.designs.backbone import Parts, Stage, build_backbone
from keras_sda.applications.designs.checked_constructor import checked_constructor
from keras_sda.applications.designs.named_constructor import named_constructor
from keras_sda.layers import PyramidalConv2D

# Kernel sizes and groups of the pyramid, from the first stage to the last.
_PYRAMIDS = (
    ((3, 5, 7, 9), (1, 4, 8, 16)),
    ((3, 5, 7), (1, 4, 8)),
    ((3, 5), (1, 4)),
    ((3,), (1,)),
)


@checked_constructor
def SDAPyConv(
    stackwise_num_blocks: Sequence[int],
    base_width: int = 64,
    stem_width: int = 64,
    **arguments,
) -> keras.Model:
    """Builds a pyramidal-convolution network with selective depth attention.

    The 3x3 convolution of a bottleneck block is a pyramid of kernel sizes: 3, 5, 7
    and 9 in the first stage, one size less in every further stage. The stem has no
    pooling; the first stage has a stride of two instead.

    Args:
        stackwise_num_blocks: Number of blocks of up to four stages, such as
            `[3, 4, 6, 3]`.
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

    >>> from keras_sda.applications import SDAPyConv
    >>> model = SDAPyConv([1, 1], classes=10, input_shape=(64, 64, 3))
    >>> model.output_shape
    (None, 10)

    Source: arXiv 2209.10327 (SDA-PyConv); the block from arXiv 2006.11538.
    """
    return build_backbone(
        stem=lambda parts, x: _stem(parts, x, stem_width),
        stem_stride=2,
        block=_block,
        stages=[
            Stage(n, base_width * 2**i, 2, *_PYRAMIDS[min(i, 3)])
            for i, n in enumerate(stackwise_num_blocks)
        ],
        **{"name": "sda_pyconv", **arguments},
    )


def _stem(parts: Parts, x, width):
    x = parts.conv(x, width, 7, 2, name="stem_conv")
    x = parts.norm(x, name="stem_bn")
    return parts.relu(x, name="stem_relu")


def _block(parts: Parts, x, stage: Stage, strides, *, name):
    shortcut = x
    if strides > 1:
        # Zeros never win: the map comes from a ReLU.
        shortcut = keras.layers.ZeroPadding2D(1, name=f"{name}_shortcut_pad")(shortcut)
        shortcut = keras.layers.MaxPooling2D(3, strides, name=f"{name}_shortcut_pool")(
            shortcut
        )
    pyramid = None
    if len(stage.kernel_sizes) > 1:
        pyramid = PyramidalConv2D(
            level_filters(stage.filters, len(stage.kernel_sizes)),
            stage.kernel_sizes,
            stage.groups,
            strides,
            name=f"{name}_conv2",
        )
    return parts.bottleneck(
        x, stage, strides, name=name, middle=pyramid, shortcut=shortcut
    )


def level_filters(filters: int, num_levels: int) -> list[int]:
    """Splits the filters over the levels: quarters, or a quarter, a quarter, a half."""
    if num_levels == 3:
        return [filters // 4, filters // 4, filters // 2]
    return [filters // num_levels] * num_levels


SDAPyConv50 = named_constructor("SDAPyConv50", SDAPyConv)
SDAPyConv86 = named_constructor("SDAPyConv86", SDAPyConv)
SDAPyConv101 = named_constructor("SDAPyConv101", SDAPyConv)
SDAPyConv152 = named_constructor("SDAPyConv152", SDAPyConv)
