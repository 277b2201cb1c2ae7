"""SDA-Res2Net: hierarchical splits inside a block, depth attention across blocks."""

import functools
from collections.abc import Sequence

import keras
from keras import ops

from keras_sda.applications.designs.backbone import (
    Parts,
    Stage,
    build_backbone,
    imagenet_stem,
    widening_stages,
)
from keras_sda.applications.designs.checked_constructor import checked_constructor
from keras_sda.applications.designs.named_constructor import named_constructor
from keras_sda.utils import InvalidInputError


@checked_constructor
def SDARes2Net(
    stackwise_num_blocks: Sequence[int],
    base_width: int = 26,
    scale: int = 4,
    stem_width: int = 64,
    stage_width: int = 64,
    **arguments,
) -> keras.Model:
    """Builds a Res2Net with selective depth attention.

    Inside a block the channels are split into `scale` parts; each part but the last
    goes through a 3x3 convolution, from the second part on together with the result
    of the part before. The first block of a stage has no such chain and pools its
    last part instead.

    Args:
        stackwise_num_blocks: Number of blocks per stage, such as `[3, 4, 6, 3]`.
        base_width: Channels of a part in the first stage where `stage_width` is 64
            (the "26w" of the names). Defaults to `26`.
        scale: Number of parts (the "4s" of the names), at least 2. Defaults to `4`.
        stem_width: Filters of the stem. Defaults to `64`.
        stage_width: A quarter of the output channels of the first stage. Defaults to
            `64`.
        **arguments: As in `SDAResNet`: `depth_attention`, `reduction`, `min_width`,
            `synchronized`, `pyramid_outputs`, and those of `keras.applications`.

    Returns:
        A functional `keras.Model`. Input `(batch, height, width, channels)`, output
        `(batch, classes)`.

    Raises:
        InvalidInputError: An argument, or the file of weights, cannot be used.

    Example:

    >>> from keras_sda.applications import SDARes2Net
    >>> model = SDARes2Net([1, 2], stage_width=16, stem_width=16, classes=10,
    ...                    input_shape=(64, 64, 3))
    >>> model.output_shape
    (None, 10)

    Source: arXiv 2209.10327 (SDA-Res2Net); the block from arXiv 1904.01169.
    """
    if not isinstance(scale, int) or scale < 2:
        raise InvalidInputError(
            f"`scale` must be an integer of at least 2. Received: scale={scale!r}."
        )
    return build_backbone(
        stem=lambda parts, x: imagenet_stem(parts, x, stem_width),
        stem_stride=4,
        block=functools.partial(_block, base_width=base_width, scale=scale),
        stages=widening_stages(stackwise_num_blocks, stage_width),
        **{"name": "sda_res2net", **arguments},
    )


def _block(parts: Parts, x, stage: Stage, strides, *, name, base_width=26, scale=4):
    filters = stage.filters
    width = filters * base_width // 64
    # The first block of a stage, also where its stride is one.
    is_first = name.endswith("_block1")
    shortcut = parts.shortcut(x, 4 * filters, strides, name=name)
    x = parts.conv_norm_relu(x, width * scale, 1, name=name, n=1)
    pieces = ops.split(x, scale, axis=parts.axis)
    results = []
    for number in range(1, scale):
        y = pieces[number - 1]
        if results and not is_first:
            y = keras.layers.Add(name=f"{name}_add2_{number}")([results[-1], y])
        y = parts.conv(y, width, 3, strides, name=f"{name}_conv2_{number}")
        y = parts.norm(y, name=f"{name}_bn2_{number}")
        results.append(parts.relu(y, name=f"{name}_relu2_{number}"))
    last = pieces[-1]
    if is_first:
        # Zeros count in the mean, hence padding of its own instead of "same".
        last = keras.layers.ZeroPadding2D(1, name=f"{name}_pool_pad")(last)
        last = keras.layers.AveragePooling2D(3, strides, name=f"{name}_pool")(last)
    x = keras.layers.Concatenate(parts.axis, name=f"{name}_concat")([*results, last])
    return parts.project(x, shortcut, filters, name=name)


SDARes2Net50 = named_constructor("SDARes2Net50", SDARes2Net)
SDARes2Net86 = named_constructor("SDARes2Net86", SDARes2Net)
SDARes2Net101 = named_constructor("SDARes2Net101", SDARes2Net)
SDARes2Net152 = named_constructor("SDARes2Net152", SDARes2Net)
