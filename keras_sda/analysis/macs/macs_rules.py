"""Which rule counts the multiply-accumulates of which layer."""

import collections
from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_sda.analysis.macs import layer_macs, operation_macs
from keras_sda.graph import LayerCall, full_name, inner_calls
from keras_sda.graph.rules.channel_rules import own_rule
from keras_sda.utils import InvalidInputError

Rule = Callable[[LayerCall], int | None]

_COUNTED_LAYERS = {
    "Conv1D Conv2D Conv3D": layer_macs.convolution,
    "Conv1DTranspose Conv2DTranspose Conv3DTranspose": (
        layer_macs.transposed_convolution
    ),
    "DepthwiseConv1D DepthwiseConv2D": layer_macs.depthwise_convolution,
    "SeparableConv1D SeparableConv2D": layer_macs.separable_convolution,
    "Dense": layer_macs.dense,
    "EinsumDense": layer_macs.einsum_dense,
    "ReversibleEmbedding": layer_macs.reversible_embedding,
    "Dot": layer_macs.dot,
    "MultiHeadAttention GroupQueryAttention": layer_macs.attention_with_heads,
    "Attention": layer_macs.attention,
    "AdditiveAttention": layer_macs.additive_attention,
    "RNN LSTM GRU SimpleRNN": layer_macs.recurrent,
    "ConvLSTM1D ConvLSTM2D ConvLSTM3D": layer_macs.convolutional_lstm,
}

# Biases, normalization, activations, pooling and elementwise work count as zero, by
# the convention of the papers. Random layers do nothing at inference.
_ZERO_LAYERS = """
    Activation ELU LeakyReLU PReLU ReLU Softmax
    BatchNormalization GroupNormalization LayerNormalization RMSNormalization
    UnitNormalization SpectralNormalization Normalization
    AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
    AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D
    AveragePooling1D AveragePooling2D AveragePooling3D
    MaxPooling1D MaxPooling2D MaxPooling3D
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    Cropping1D Cropping2D Cropping3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
    UpSampling1D UpSampling2D UpSampling3D
    Flatten Reshape Permute RepeatVector Masking Identity InputLayer Embedding
    TimeDistributed Bidirectional
    ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise
    SpatialDropout1D SpatialDropout2D SpatialDropout3D
    Add Average Concatenate Maximum Minimum Multiply Subtract
    CategoryEncoding Discretization HashedCrossing Hashing IntegerLookup
    StringLookup TextVectorization
    Rescaling Resizing CenterCrop AugMix AutoContrast CutMix MixUp Equalization
    MaxNumBoundingBoxes RandAugment RandomBrightness RandomColorDegeneration
    RandomColorJitter RandomContrast RandomCrop RandomElasticTransform RandomErasing
    RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert
    RandomPerspective RandomPosterization RandomRotation RandomSaturation
    RandomSharpness RandomShear RandomTranslation RandomZoom Solarization
"""

# Classes that Keras does not export, as `full_name` has them.
_ZERO_BY_NAME = (
    "keras.applications.convnext.LayerScale",
    "keras.applications.convnext.StochasticDepth",
    "keras.applications.inception_resnet_v2.CustomScaleLayer",
    "keras.ops.image.CropImages",
    "keras.ops.image.ExtractPatches",
    "keras.ops.image.PadImages",
    "keras.ops.image.Resize",
)

_OPERATIONS = {
    "keras.ops.numpy.Matmul": operation_macs.matmul,
    "keras.ops.numpy.Dot": operation_macs.dot,
    "keras.ops.numpy.Inner": operation_macs.dot,
    "keras.ops.numpy.Vdot": operation_macs.vdot,
    "keras.ops.numpy.Tensordot": operation_macs.tensordot,
    "keras.ops.numpy.Einsum": operation_macs.einsum,
    "keras.ops.nn.Conv": operation_macs.convolution,
    "keras.ops.nn.ConvTranspose": operation_macs.transposed_convolution,
    "keras.ops.nn.DepthwiseConv": operation_macs.depthwise_convolution,
    "keras.ops.nn.SeparableConv": operation_macs.separable_convolution,
    "keras.ops.nn.DotProductAttention": operation_macs.dot_product_attention,
}

# All other functions of these modules move, reduce or transform elements ...
_ELEMENTWISE_MODULES = (
    "keras.ops.numpy",
    "keras.ops.nn",
    "keras.ops.math",
    "keras.ops.core",
    "keras.ops.einops",
)
# ... except these, which run a product, a transform or a function of the caller.
_UNKNOWN_OPERATIONS = set(
    """Corrcoef Correlate Kron CTCLoss CTCDecode CDist FFT FFT2 IFFT2 RFFT IRFFT STFT
    ISTFT Logdet Slogdet Map Scan AssociativeScan Switch WhileLoop ForiLoop Cond
    VectorizedMap""".split()
)

_STOCK: dict[type | str, Rule] = dict.fromkeys(_ZERO_BY_NAME, layer_macs.zero)
_STOCK.update(_OPERATIONS)
_STOCK.update(
    (getattr(keras.layers, name), rule)
    for names, rule in _COUNTED_LAYERS.items()
    for name in names.split()
)
_STOCK.update(
    (getattr(keras.layers, name), layer_macs.zero) for name in _ZERO_LAYERS.split()
)
_rules: dict[type | str, Rule] = {}  # what users have registered
_all_rules = collections.ChainMap(_rules, _STOCK)


def register_macs_rule(layer_type: type | str, rule: Rule | None = None) -> Callable:
    """Tells `profile` how to count the multiply-accumulates of a layer type.

    Use it for a layer class that you cannot import, or whose count needs the whole
    call; else `graph.register_rule(layer_class, compute_macs=)` says it with the rest.
    Your own class may define `compute_macs(input_shape, output_shape)` instead. What is
    registered for a class comes before that method.

    Args:
        layer_type: The class, or its full name as `"package.module.Class"`. It also
            covers subclasses that do not override `call`.
        rule: Function from a `keras_sda.graph.LayerCall` to the number of
            multiply-accumulates, or to `None` when it cannot tell. Without it (the
            default) the function is a decorator.

    Returns:
        The rule, or the decorator.

    Raises:
        InvalidInputError: `layer_type` or `rule` has the wrong type.

    Example:

    >>> import math
    >>> import keras
    >>> from keras_sda.analysis import register_macs_rule
    >>> class Scale(keras.layers.Layer):
    ...     def call(self, inputs):
    ...         return 2.0 * inputs
    >>> @register_macs_rule(Scale)
    ... def scale_macs(call):
    ...     return math.prod(call.batch_output_shapes[0])
    """
    if not isinstance(layer_type, (type, str)):
        raise InvalidInputError(
            "`layer_type` must be a class or its full name. Received: "
            f"layer_type={layer_type!r}."
        )

    def register(function: Rule) -> Rule:
        if not callable(function):
            raise InvalidInputError(
                f"`rule` must be a function of one `LayerCall`. Received: {function!r}."
            )
        is_name = isinstance(layer_type, str)
        _rules[full_name(layer_type) if is_name else layer_type] = function
        return function

    return register if rule is None else register(rule)


def count_macs(call: LayerCall) -> int | None:
    """Returns the multiply-accumulates of one layer call, or `None` if unknown.

    Use it to count single calls; `profile` does it for a whole model. A layer without
    a rule is counted by the layers and operations of which its `call` consists.

    Args:
        call: One item of `keras_sda.graph.layer_calls(model)`.

    Returns:
        The number for one sample, or `None` when no rule covers the layer or something
        inside of it.

    Example:

    >>> import keras
    >>> from keras_sda.analysis import count_macs
    >>> from keras_sda.graph import layer_calls
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    >>> count_macs(layer_calls(model)[0])
    16
    """
    layer = call.layer
    cls: Any = type(layer)
    rule = _find(_rules, cls)
    if rule is not None:
        return rule(call)
    compute_macs = own_rule(layer, "compute_macs")
    if compute_macs is not None:
        return _ask(compute_macs, call)
    for base in cls.__mro__:
        rule = _find(_all_rules, base)
        if rule is not None:
            if cls.call is base.call:
                return rule(call)
            break  # A subclass with a `call` of its own may compute anything.
    module, _, name = full_name(cls).rpartition(".")
    if module in _ELEMENTWISE_MODULES:
        return None if name in _UNKNOWN_OPERATIONS else 0
    return _count_inside(call) if isinstance(layer, keras.Layer) else None


def _find(rules: Mapping[type | str, Rule], cls: type) -> Rule | None:
    return rules.get(cls) or rules.get(full_name(cls))


def _count_inside(call: LayerCall) -> int | None:
    calls = inner_calls(call)
    if calls is None:
        return None
    counts = [count_macs(inner) for inner in calls]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _ask(compute_macs: Callable, call: LayerCall) -> int:
    """Runs it for one sample of the leading axis, and multiplies."""
    first = next(iter(call.arguments.values()))
    input_shape = keras.tree.map_structure(lambda x: (1, *x.shape[1:]), first)
    output_shapes = [(1, *shape) for shape in call.output_shapes]
    output_shape = output_shapes[0] if len(output_shapes) == 1 else output_shapes
    macs = compute_macs(input_shape, output_shape)
    return int(macs) * call.batch_input_shapes[0][0]
