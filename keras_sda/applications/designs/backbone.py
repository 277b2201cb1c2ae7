"""What all classifiers share: argument checks, stem, stage loop, head."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import keras

from keras_sda.applications.checkpoints.load_weights import load_weights
from keras_sda.applications.designs.parts import Parts
from keras_sda.layers import SelectiveDepthAttention, batch_normalization
from keras_sda.utils import InvalidInputError

MIN_SIZE = 32
_MIXED = ("mixed_float16", "mixed_bfloat16")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage: its blocks, width, stride and what else its family's block reads."""

    num_blocks: int
    filters: int
    strides: int
    kernel_sizes: tuple[int, ...] = (3,)
    groups: tuple[int, ...] = (1,)


def widening_stages(
    stackwise_num_blocks: Sequence[int], base_width: int, stride: int = 2, **options
) -> list[Stage]:
    """Stages whose width doubles, with a stride from the second stage on."""
    return [
        Stage(n, base_width * 2**i, 1 if i == 0 else stride, **options)
        for i, n in enumerate(stackwise_num_blocks)
    ]


# Takes parts, tensor, stage, strides, name=; returns the sum before the activation.
Block = Callable[..., keras.KerasTensor]


def imagenet_stem(parts: Parts, x, width):
    """7x7 convolution and max-pooling: a quarter of the size."""
    x = parts.conv(x, width, 7, 2, name="stem_conv")
    x = parts.norm(x, name="stem_bn")
    x = parts.relu(x, name="stem_relu")
    # Zeros never win: the map comes from a ReLU.
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    return keras.layers.MaxPooling2D(3, 2, name="stem_pool")(x)


def build_backbone(
    *,
    stem: Callable,
    block: Block,
    stages: Sequence[Stage],
    stem_stride: int,
    name: str,
    default_size: int = 224,
    depth_attention: bool = True,
    reduction: float = 16,
    min_width: int = 64,
    synchronized: bool = False,
    pyramid_outputs: bool = False,
    include_top: bool = True,
    weights=None,
    input_tensor=None,
    input_shape: tuple | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation="softmax",
) -> keras.Model:
    """Builds a functional model from a stem, a block and a list of stages.

    Every family's constructor ends here; see `SDAResNet` for more on the arguments.

    Args:
        stem: `stem(parts, x)` returns the input of the first stage.
        block: `block(parts, x, stage, strides, name=...)` returns a block's output
            before its last activation.
        stages: The stages in order.
        stem_stride: Total stride of the stem.
        name: Name of the model.
        default_size: Image size in pixels where `input_shape` is not given.
        depth_attention: Whether the stages have it.
        reduction: Of the depth attention.
        min_width: Of the depth attention.
        synchronized: Whether batch normalization is, between devices.
        pyramid_outputs: Whether the outputs are the stages, `P2` to `P5`.
        include_top: Whether there is a classifier.
        weights: File of weights, or `None` for random ones.
        input_tensor: Tensor to build on, or `None` for an input of its own.
        input_shape: Shape of an image.
        pooling: `"avg"` or `"max"` where there is no classifier.
        classes: Outputs of the classifier.
        classifier_activation: Activation of the classifier.

    Returns:
        A functional `keras.Model`.

    Raises:
        InvalidInputError: An argument cannot be used.
    """
    check_head(include_top, pooling, classes)
    _check(include_top, pooling, pyramid_outputs, stages)
    inputs, x = network_inputs(
        input_tensor, input_shape, include_top, (default_size, default_size, 3)
    )
    parts = Parts(synchronized=synchronized)
    x = stem(parts, x)
    stride = stem_stride
    pyramid = {}
    for number, stage in enumerate(stages, 1):
        x = apply_stage(
            parts, x, block, stage, f"stage{number}", depth_attention, reduction,
            min_width,
        )  # fmt: skip
        stride *= stage.strides
        pyramid[f"P{int(math.log2(stride))}"] = x
    if pyramid_outputs:
        outputs = pyramid
    else:
        outputs = _head(
            parts, x, include_top, depth_attention, pooling, classes,
            classifier_activation,
        )  # fmt: skip
    model = keras.Model(inputs, outputs, name=name)
    if weights is not None:
        load_weights(model, weights)
    return model


def apply_stage(
    parts: Parts,
    x,
    block: Block,
    stage: Stage,
    name: str,
    depth_attention: bool = True,
    reduction: float = 16,
    min_width: int = 64,
):
    """Runs the blocks of a stage and mixes their sums.

    Args:
        parts: The building parts.
        x: Input of the stage, after an activation.
        block: `block(parts, x, stage, strides, name=...)`.
        stage: Number of blocks, filters, stride.
        name: Prefix of the layer names, such as `"stage1"`.
        depth_attention: Whether the stage ends in `SelectiveDepthAttention`.
        reduction: See there.
        min_width: See there.

    Returns:
        The output of the stage, after an activation.
    """
    sums = []
    for index in range(1, stage.num_blocks + 1):
        block_name = f"{name}_block{index}"
        strides = stage.strides if index == 1 else 1
        z = block(parts, x, stage, strides, name=block_name)
        sums.append(z)
        # The mix takes the place of the last activation of the stage.
        if index < stage.num_blocks or not depth_attention:
            x = parts.relu(z, name=f"{block_name}_out")
    if not depth_attention:
        return x
    return SelectiveDepthAttention(
        reduction=reduction,
        min_width=min_width,
        synchronized=parts.synchronized,
        name=f"{name}_sda",
    )(sums)


def _head(
    parts, x, include_top, depth_attention, pooling, classes, classifier_activation
):
    if not include_top:
        return pool(x, pooling)
    x = pool(x, "avg")
    if depth_attention:
        x = batch_normalization(
            synchronized=parts.synchronized, name="head_bn", dtype=head_dtype()
        )(x)
    return classify(x, classes, classifier_activation)


def head_dtype() -> str | None:
    """Pooling sums and the softmax are kept in float32 under mixed precision."""
    return "float32" if keras.config.dtype_policy().name in _MIXED else None


def pool(x, pooling: str | None):
    """A feature map as it is, or as a vector (`avg_pool`, `max_pool`)."""
    if pooling == "avg":
        layer = keras.layers.GlobalAveragePooling2D
        return layer(name="avg_pool", dtype=head_dtype())(x)
    if pooling == "max":
        return keras.layers.GlobalMaxPooling2D(name="max_pool")(x)
    return x


def classify(x, classes: int, activation, normal: bool = False):
    """The dense layer `predictions`, by default with PyTorch's random start.

    Args:
        x: Vectors.
        classes: Number of classes.
        activation: Activation of the layer.
        normal: Whether it starts at a normal distribution of deviation 0.01 instead.
    """
    if normal:
        kernel, bias = keras.initializers.RandomNormal(stddev=0.01), "zeros"
    else:
        bound = x.shape[-1] ** -0.5
        kernel = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        bias = keras.initializers.RandomUniform(-bound, bound)
    return keras.layers.Dense(
        classes,
        activation=activation,
        kernel_initializer=kernel,
        bias_initializer=bias,
        dtype=head_dtype(),
        name="predictions",
    )(x)


def check_head(include_top: bool, pooling: str | None, classes: int) -> None:
    """Raises `InvalidInputError` where an argument of the head cannot be used."""
    if pooling not in (None, "avg", "max"):
        raise InvalidInputError(
            f"`pooling` must be None, 'avg' or 'max'. Received: pooling={pooling!r}."
        )
    if include_top and (not isinstance(classes, int) or classes < 1):
        raise InvalidInputError(
            f"`classes` must be a positive integer. Received: classes={classes!r}."
        )


def _check(include_top, pooling, pyramid_outputs, stages):
    if pyramid_outputs and (include_top or pooling):
        raise InvalidInputError(
            "`pyramid_outputs=True` returns feature maps and needs "
            "`include_top=False` and `pooling=None`. Received: "
            f"include_top={include_top}, pooling={pooling!r}."
        )
    if not stages or any(
        not isinstance(stage.num_blocks, int) or stage.num_blocks < 1
        for stage in stages
    ):
        raise InvalidInputError(
            "`stackwise_num_blocks` must be a list of positive integers, one per "
            f"stage. Received: {[stage.num_blocks for stage in stages]}."
        )


def network_inputs(
    input_tensor, input_shape, include_top, default_shape, min_size=MIN_SIZE
):
    """Returns the inputs of the model and the tensor that the stem reads.

    `default_shape` is `(height, width, channels)`, whatever the data format.
    """
    first = keras.config.image_data_format() == "channels_first"
    if input_tensor is not None:
        if not keras.backend.is_keras_tensor(input_tensor):
            raise InvalidInputError(
                "`input_tensor` must be a Keras tensor, such as the result of "
                f"`keras.Input(...)`. Received: {type(input_tensor).__name__}."
            )
        _check_input_shape(tuple(input_tensor.shape[1:]), first, min_size)
        if input_shape is not None and tuple(input_shape) != tuple(
            input_tensor.shape[1:]
        ):
            raise InvalidInputError(
                "`input_shape` and `input_tensor` disagree. Received: "
                f"input_shape={tuple(input_shape)}, an input_tensor of "
                f"{tuple(input_tensor.shape[1:])}. Give one of them."
            )
        sources = keras.utils.get_source_inputs(input_tensor)
        return (sources[0] if len(sources) == 1 else sources), input_tensor
    if input_shape is None:
        height, width, channels = default_shape
        sides = (height, width) if include_top else (None, None)
        input_shape = (channels, *sides) if first else (*sides, channels)
    input_shape = tuple(input_shape)
    _check_input_shape(input_shape, first, min_size)
    inputs = keras.Input(input_shape, name="image")
    return inputs, inputs


def _check_input_shape(shape, channels_first, min_size):
    order = "(channels, height, width)" if channels_first else (
        "(height, width, channels)"
    )  # fmt: skip
    if len(shape) != 3:
        raise InvalidInputError(
            f"`input_shape` must be three numbers {order}, without the batch axis. "
            f"Received: input_shape={shape}."
        )
    channels = shape[0] if channels_first else shape[-1]
    size = shape[1:] if channels_first else shape[:2]
    if not isinstance(channels, int) or channels < 1:
        raise InvalidInputError(
            "The number of channels in `input_shape` must be a positive integer. "
            f"Received: input_shape={shape}, expected {order}."
        )
    if any(side is not None and side < min_size for side in size):
        raise InvalidInputError(
            f"`input_shape` must be at least {min_size}x{min_size} pixels. Received: "
            f"input_shape={shape}. Enlarge the images, for instance with "
            "`keras.layers.Resizing`."
        )
