"""Weights under the authors' parameter names, from a `.safetensors` file."""

import os
import re

import keras
import numpy as np

from keras_sda.applications.weights_mismatch import check_weights_match
from keras_sda.layers import (
    ConvolutionalBlockAttention2D,
    PyramidalConv2D,
    PyramidSplitAttention2D,
    SelectiveDepthAttention,
    SqueezeExcite2D,
)
from keras_sda.utils import InvalidInputError

# Layer name of this package -> module name of the authors. Stages and blocks count
# from one here; the authors' blocks count from zero.
_RULES = (
    (r"stem_conv", lambda m: "conv1"),
    (r"stem_bn", lambda m: "bn1"),
    (r"head_bn", lambda m: "bn2"),
    (r"predictions", lambda m: "fc"),
    (r"stage(\d+)_sda", lambda m: f"stage{m[1]}"),
    (
        r"stage(\d+)_block(\d+)_shortcut_(conv|bn)",
        lambda m: f"stage{m[1]}.layers.{int(m[2]) - 1}.downsample.{int(m[3] == 'bn')}",
    ),
    (
        r"stage(\d+)_block(\d+)_(conv|bn)2_(\d+)",  # Res2Net
        lambda m: f"stage{m[1]}.layers.{int(m[2]) - 1}.{m[3]}s.{int(m[4]) - 1}",
    ),
    (
        r"stage(\d+)_block(\d+)_(se|cbam)",
        lambda m: f"stage{m[1]}.layers.{int(m[2]) - 1}",
    ),
    (
        r"stage(\d+)_block(\d+)_(\w+)",
        lambda m: f"stage{m[1]}.layers.{int(m[2]) - 1}.{m[3]}",
    ),
)


def load_safetensors(model: keras.Model, path: str | os.PathLike) -> None:
    """Loads a `.safetensors` file that holds the authors' parameter names.

    Use it for checkpoints of the original PyTorch networks, converted to safetensors.
    Counters of seen batches (`num_batches_tracked`) are known and not needed; the
    prefix `module.` of data-parallel training is taken off.

    Args:
        model: A network of `keras_sda.applications`.
        path: The file.

    Raises:
        InvalidInputError: The file is damaged, or a tensor is missing, unexpected or
            of another shape. Nothing is loaded then.

    Example:

    >>> import tempfile
    >>> from safetensors.numpy import save_file
    >>> from keras_sda.applications import SDAResNet20
    >>> from keras_sda.applications.safetensors_weights import (
    ...     load_safetensors, to_torch_tensors)
    >>> model = SDAResNet20()
    >>> path = tempfile.mkdtemp() + "/model.safetensors"
    >>> save_file(to_torch_tensors(model), path)
    >>> load_safetensors(model, path)

    Source: the checkpoint names of the authors' networks (arXiv 2209.10327).
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InvalidInputError(
            f"`weights` file {str(path)!r} is not a readable safetensors file: it is "
            f"damaged, cut short or of another format ({error}). Copy it again."
        ) from error
    tensors = {
        name.removeprefix("module."): value
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    entries = _all_entries(model)
    needed = {name: (shape, put) for name, shape, put, _ in entries}
    check_weights_match(
        path,
        [name for name in needed if name not in tensors],
        [name for name in tensors if name not in needed],
        [
            f"{name} (file {tensors[name].shape}, model {shape})"
            for name, (shape, _) in needed.items()
            if name in tensors and tensors[name].shape != shape
        ],
    )
    for name, (_, put) in needed.items():
        put(tensors[name])


def to_torch_tensors(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the weights of a model under the authors' names and layouts.

    Args:
        model: A network of `keras_sda.applications`.

    Returns:
        Parameter name to float array, as a `.safetensors` file of the authors'
        networks holds them.

    Example:

    >>> from keras_sda.applications import SDAResNet20
    >>> from keras_sda.applications.safetensors_weights import to_torch_tensors
    >>> to_torch_tensors(SDAResNet20())["stage1.fc.0.weight"].shape
    (64, 16, 1, 1)
    """
    return {
        name: np.ascontiguousarray(get()) for name, _, _, get in _all_entries(model)
    }


def _all_entries(model):
    entries = [entry for layer in model.layers for entry in _entries(layer)]
    pooled = {
        layer.name.removesuffix("_shortcut_pool")
        for layer in model.layers
        if layer.name.endswith("_shortcut_pool")
    }
    prefixes = {
        f"stage{stage}.layers.{int(block) - 1}.downsample."
        for stage, block in (
            re.fullmatch(r"stage(\d+)_block(\d+)", name).groups() for name in pooled
        )
    }

    def shift(name):
        # Where the shortcut pools, that is number 0 and the convolution number 1.
        for prefix in prefixes:
            if name.startswith(prefix):
                number, rest = name[len(prefix) :].split(".", 1)
                return f"{prefix}{int(number) + 1}.{rest}"
        return name

    return [(shift(name), *rest) for name, *rest in entries]


def _torch_name(layer):
    for pattern, name in _RULES:
        match = re.fullmatch(pattern, layer.name)
        if match:
            return name(match)
    raise InvalidInputError(
        f"Layer {layer.name!r} has weights and no name among the authors' parameters, "
        "so a .safetensors file cannot fill it. Use a network of "
        "keras_sda.applications as it is, or a .weights.h5 file."
    )


def _entries(layer):
    """Yields (name, shape, put, get) for every tensor that a layer holds."""
    if not layer.variables:
        return
    name = _torch_name(layer)
    if isinstance(layer, SelectiveDepthAttention):
        yield from _attention_entries(layer, name)
    elif isinstance(layer, SqueezeExcite2D):
        yield from _dense_entries(layer.squeeze, f"{name}.fc1")
        yield from _dense_entries(layer.excite, f"{name}.fc2")
    elif isinstance(layer, PyramidalConv2D):
        yield from _level_entries(layer, f"{name}.conv2")
    elif isinstance(layer, PyramidSplitAttention2D):
        yield from _level_entries(layer.pyramid, f"{name}.conv")
        for number, (squeeze, excite) in enumerate(layer.gates, 1):
            yield from _dense_entries(squeeze, f"{name}.se_{number}.fc1")
            yield from _dense_entries(excite, f"{name}.se_{number}.fc2")
    elif isinstance(layer, ConvolutionalBlockAttention2D):
        yield from _dense_entries(layer.squeeze, f"{name}.ca.fc1")
        yield from _dense_entries(layer.excite, f"{name}.ca.fc2")
        yield from _conv_entries(layer.spatial, f"{name}.sa.conv")
    elif isinstance(layer, keras.layers.BatchNormalization):
        yield from _norm_entries(layer, name)
    elif isinstance(layer, keras.layers.Conv2D):
        yield from _conv_entries(layer, name)
    elif isinstance(layer, keras.layers.Dense):
        yield from _dense_entries(layer, name)
    else:
        raise InvalidInputError(
            f"Layer {layer.name!r} ({type(layer).__name__}) has weights and no rule "
            "for .safetensors files. Use a .weights.h5 file."
        )


def _entry(name, variable, to_torch=None, from_torch=None):
    shape = tuple(variable.shape)
    if to_torch is not None:
        shape = tuple(shape[axis] for axis in to_torch)

    def put(value):
        variable.assign(value if from_torch is None else value.transpose(from_torch))

    def get():
        value = keras.ops.convert_to_numpy(variable)
        return value if to_torch is None else value.transpose(to_torch)

    return name, shape, put, get


def _conv_entries(layer, name):
    # height, width, in, out <-> out, in, height, width
    yield _entry(f"{name}.weight", layer.kernel, (3, 2, 0, 1), (2, 3, 1, 0))
    if layer.use_bias:
        yield _entry(f"{name}.bias", layer.bias)


def _dense_entries(layer, name):
    yield _entry(f"{name}.weight", layer.kernel, (1, 0), (1, 0))
    if layer.use_bias:
        yield _entry(f"{name}.bias", layer.bias)


def _level_entries(layer, name):
    for number, level in enumerate(layer.levels, 1):
        yield from _conv_entries(level, f"{name}_{number}")


def _norm_entries(layer, name):
    yield _entry(f"{name}.weight", layer.gamma)
    yield _entry(f"{name}.bias", layer.beta)
    yield _entry(f"{name}.running_mean", layer.moving_mean)
    yield _entry(f"{name}.running_var", layer.moving_variance)


def _attention_entries(layer, name):
    width, channels = layer.width, layer.channels
    squeeze = layer.squeeze.kernel
    yield (
        f"{name}.fc.0.weight",
        (width, channels, 1, 1),
        lambda value: squeeze.assign(value[:, :, 0, 0].T),
        lambda: keras.ops.convert_to_numpy(squeeze).T[:, :, None, None],
    )
    yield from _norm_entries(layer.squeeze_bn, f"{name}.fc.1")
    kernel, bias = layer.expand.kernel, layer.expand.bias
    for k in range(layer.num_blocks):
        # One projection per block there, one for all blocks here.
        part = slice(k * channels, (k + 1) * channels)
        yield (
            f"{name}.fcs.{k}.weight",
            (channels, width, 1, 1),
            _put_part(kernel, part, lambda value: value[:, :, 0, 0].T),
            lambda part=part: keras.ops.convert_to_numpy(kernel)[:, part].T[
                :, :, None, None
            ],
        )
        yield (
            f"{name}.fcs.{k}.bias",
            (channels,),
            _put_part(bias, part, lambda value: value),
            lambda part=part: keras.ops.convert_to_numpy(bias)[part],
        )


def _put_part(variable, part, convert):
    def put(value):
        whole = keras.ops.convert_to_numpy(variable).copy()
        whole[..., part] = convert(value)
        variable.assign(whole)

    return put
