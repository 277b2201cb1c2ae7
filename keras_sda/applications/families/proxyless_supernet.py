"""The supernet of ProxylessNAS: blocks that sum six inverted bottlenecks."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_sda.applications.checkpoints.load_weights import load_weights
from keras_sda.applications.designs.backbone import (
    Parts,
    check_head,
    classify,
    network_inputs,
    pool,
)
from keras_sda.applications.designs.checked_constructor import checked_constructor
from keras_sda.applications.presets.presets import FORMS, PRESETS
from keras_sda.layers import batch_normalization
from keras_sda.utils import InvalidInputError

_ROW = PRESETS["ProxylessSupernet"]
_SIZE = FORMS[_ROW["form"]]["default_size"]
_EPSILON = 1e-3


@checked_constructor
def ProxylessSupernet(
    include_top: bool = True,
    weights: str | os.PathLike | None = None,
    input_tensor: Any = None,
    input_shape: tuple | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str = "proxyless_supernet",
    synchronized: bool = False,
    stackwise_num_blocks: Sequence[int] = tuple(_ROW["stackwise_num_blocks"]),
    stackwise_num_filters: Sequence[int] = tuple(_ROW["stackwise_num_filters"]),
    stackwise_strides: Sequence[int] = tuple(_ROW["stackwise_strides"]),
    kernel_sizes: Sequence[int] = tuple(_ROW["kernel_sizes"]),
    expansions: Sequence[int] = tuple(_ROW["expansions"]),
    stem_filters: int = 32,
    stem_strides: int = 2,
    first_filters: int = 16,
    head_filters: int = 1280,
) -> keras.Model:
    """Builds a supernet whose blocks are the plain sum of inverted bottlenecks.

    Use it to search for operations and widths at once: put gates on it with
    `keras_sda.search.add_channel_gates`, train them, and an operation whose projection
    has closed is gone from the derived network. Where no operation of a block is left
    and the block has a shortcut, the block is gone.

    A block sums one operation per kernel size and expansion (six by default), and its
    input where neither size nor width change. An operation is a 1x1 convolution to
    `expansion` times the channels, a depthwise convolution and a 1x1 convolution, each
    normalised, the first two with ReLU6. Layers are called
    `stage2_block1_k5_e6_expand_conv`, `..._depthwise_conv`, `..._project_conv`
    (likewise `_bn` and `_relu`) and `stage2_block1_add`. Stage 1 is one block of one
    operation that does not expand: `stage1_block1_conv1` (depthwise), `_conv2`.

    Args:
        include_top: Whether the model ends in the classifier. Defaults to `True`.
        weights: `None` (random start), or a `.weights.h5` or `.keras` file of this
            network. Defaults to `None`.
        input_tensor: Optional Keras tensor to build on.
        input_shape: Shape of an image `(height, width, channels)`, from 32 pixels on.
            Defaults to `(224, 224, 3)`; without the classifier, sides may be `None`.
        pooling: Without the classifier, `None`, `"avg"` or `"max"`. Defaults to `None`.
        classes: Number of classes. Defaults to `1000`.
        classifier_activation: Activation of the classifier; `None` gives logits.
            Defaults to `"softmax"`.
        name: Name of the model. Defaults to `"proxyless_supernet"`.
        synchronized: Whether normalisations take their statistics over all replicas of
            a `tf.distribute` strategy. Defaults to `False`.
        stackwise_num_blocks: Blocks of every stage from stage 2 on. Defaults to
            `(4, 4, 4, 4, 4, 1)`.
        stackwise_num_filters: Filters of these stages. Defaults to
            `(24, 40, 80, 96, 192, 320)`.
        stackwise_strides: Stride of the first block of these stages. Defaults to
            `(2, 2, 2, 1, 2, 1)`; for images of 32 pixels `(1, 2, 2, 1, 2, 1)` with
            `stem_strides=1`.
        kernel_sizes: Kernel sizes to choose from, odd. Defaults to `(3, 5, 7)`.
        expansions: Expansions to choose from. Defaults to `(3, 6)`.
        stem_filters: Filters of the stem. Defaults to `32`.
        stem_strides: Stride of the stem. Defaults to `2`.
        first_filters: Filters of stage 1. Defaults to `16`.
        head_filters: Filters of the last 1x1 convolution. Defaults to `1280`.

    Returns:
        A functional `keras.Model` of stock layers, without gates. Input `(batch,
        height, width, channels)`, output `(batch, classes)`, or the feature map or
        vector.

    Raises:
        InvalidInputError: An argument, or the file of weights, cannot be used.

    Example:

    >>> from keras_sda.applications import ProxylessSupernet
    >>> model = ProxylessSupernet(
    ...     input_shape=(32, 32, 3), classes=10, stem_strides=1,
    ...     stackwise_num_blocks=[1, 2], stackwise_num_filters=[8, 12],
    ...     stackwise_strides=[1, 2])
    >>> model.get_layer("stage3_block2_k7_e6_depthwise_conv").kernel_size
    (7, 7)

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022) and its code; the blocks
    are those of ProxylessNAS (arXiv 1812.00332).
    """
    check_head(include_top, pooling, classes)
    stages = _stages(stackwise_num_blocks, stackwise_num_filters, stackwise_strides)
    _check_choices(kernel_sizes, expansions)
    _check_counts(
        stem_filters=stem_filters,
        stem_strides=stem_strides,
        first_filters=first_filters,
        head_filters=head_filters,
    )
    inputs, x = network_inputs(
        input_tensor, input_shape, include_top, (_SIZE, _SIZE, 3)
    )
    parts = Parts(synchronized=synchronized)
    x = parts.conv(x, stem_filters, 3, stem_strides, name="stem_conv")
    x = _norm_relu6(parts, x, "stem_bn", "stem_relu")
    x = _first_block(parts, x, first_filters)
    for number, (num_blocks, filters, strides) in enumerate(stages, 2):
        for block in range(1, num_blocks + 1):
            x = _mixed_block(
                parts, x, filters, strides if block == 1 else 1, kernel_sizes,
                expansions, name=f"stage{number}_block{block}",
            )  # fmt: skip
    x = parts.conv(x, head_filters, 1, name="head_conv")
    x = _norm_relu6(parts, x, "head_norm", "head_relu")
    if include_top:
        x = classify(pool(x, "avg"), classes, classifier_activation)
    else:
        x = pool(x, pooling)
    model = keras.Model(inputs, x, name=name)
    if weights is not None:
        load_weights(model, weights)
    return model


def _first_block(parts, x, filters):
    """One operation: 3x3 within each channel, 1x1 to `filters`, linear."""
    name = "stage1_block1"
    x = parts.depthwise(x, 3, 1, name=f"{name}_conv1")
    x = _norm_relu6(parts, x, f"{name}_bn1", f"{name}_relu1")
    x = parts.conv(x, filters, 1, name=f"{name}_conv2")
    return _norm(parts, x, name=f"{name}_bn2")


def _mixed_block(parts, x, filters, strides, kernel_sizes, expansions, *, name):
    """The sum of all operations, and of the input where it has the same shape."""
    terms = [
        _operation(
            parts, x, filters, kernel_size, strides, expansion,
            name=f"{name}_k{kernel_size}_e{expansion}",
        )
        for kernel_size in kernel_sizes
        for expansion in expansions
    ]  # fmt: skip
    if strides == 1 and x.shape[parts.axis] == filters:
        terms.append(x)
    return terms[0] if len(terms) == 1 else keras.layers.Add(name=f"{name}_add")(terms)


def _operation(parts, x, filters, kernel_size, strides, expansion, *, name):
    if expansion > 1:
        x = parts.conv(
            x, expansion * x.shape[parts.axis], 1, name=f"{name}_expand_conv"
        )
        x = _norm_relu6(parts, x, f"{name}_expand_bn", f"{name}_expand_relu")
    x = parts.depthwise(x, kernel_size, strides, name=f"{name}_depthwise_conv")
    x = _norm_relu6(parts, x, f"{name}_depthwise_bn", f"{name}_depthwise_relu")
    x = parts.conv(x, filters, 1, name=f"{name}_project_conv")
    return _norm(parts, x, name=f"{name}_project_bn")


def _norm(parts, x, *, name):
    layer = batch_normalization(
        parts.axis, parts.synchronized, epsilon=_EPSILON, name=name
    )
    return layer(x)


def _norm_relu6(parts, x, norm, relu):
    return keras.layers.ReLU(6.0, name=relu)(_norm(parts, x, name=norm))


def _stages(num_blocks, num_filters, strides):
    lists = {
        "stackwise_num_blocks": num_blocks,
        "stackwise_num_filters": num_filters,
        "stackwise_strides": strides,
    }
    for argument, values in lists.items():
        _check_list(argument, values)
    if len({len(values) for values in lists.values()}) > 1:
        received = ", ".join(f"{key}={list(v)}" for key, v in lists.items())
        raise InvalidInputError(
            "`stackwise_num_blocks`, `stackwise_num_filters` and `stackwise_strides` "
            f"need one number per stage each. Received: {received}."
        )
    return list(zip(*lists.values(), strict=True))


def _check_choices(kernel_sizes, expansions):
    for argument, values in (
        ("kernel_sizes", kernel_sizes),
        ("expansions", expansions),
    ):
        _check_list(argument, values)
        if len(set(values)) < len(values):
            raise InvalidInputError(
                f"`{argument}` names a choice twice. Received: "
                f"{argument}={list(values)}. Give every number once."
            )
    if any(size % 2 == 0 for size in kernel_sizes):
        raise InvalidInputError(
            "`kernel_sizes` must be odd, so that all operations give maps of one "
            f"size. Received: kernel_sizes={list(kernel_sizes)}."
        )


def _check_list(argument, values):
    is_list = isinstance(values, Sequence) and not isinstance(values, str)
    if not is_list or not values or not all(map(_is_count, values)):
        raise InvalidInputError(
            f"`{argument}` must be a list of positive integers. "
            f"Received: {argument}={values!r}."
        )


def _check_counts(**counts):
    for argument, value in counts.items():
        if not _is_count(value):
            raise InvalidInputError(
                f"`{argument}` must be a positive integer. "
                f"Received: {argument}={value!r}."
            )


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
