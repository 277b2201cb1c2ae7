"""What every tensor of a PyTorch checkpoint is called and where it goes here."""

import dataclasses
import re
from collections.abc import Callable, Iterator

import keras
import numpy as np

from keras_sda.layers import (
    ConvolutionalBlockAttention2D,
    PyramidalConv2D,
    PyramidSplitAttention2D,
    SelectiveDepthAttention,
    SqueezeExcite2D,
)
from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True)
class TorchEntry:
    """One tensor of a checkpoint: name, shape, and how to write and read it here."""

    name: str
    shape: tuple[int, ...]
    put: Callable[[np.ndarray], None]
    get: Callable[[], np.ndarray]


# Layer name of this package -> module name there. Stages and blocks count from one
# here; blocks there count from zero. timm knows neither depth attention nor a head
# normalisation, and keeps the two dense layers of squeeze-and-excitation as 1x1
# convolutions in a module of their own.
_BLOCK = {
    "authors": lambda m: f"stage{m[1]}.layers.{int(m[2]) - 1}",
    "timm": lambda m: f"layer{m[1]}.{int(m[2]) - 1}",
}
_TOP = {"stem_conv": "conv1", "stem_bn": "bn1", "predictions": "fc"}
_SHORTCUT = r"stage(\d+)_block(\d+)_shortcut_(conv|bn)"
_SPLIT = r"stage(\d+)_block(\d+)_(conv|bn)2_(\d+)"  # Res2Net
_ATTENTION = r"stage(\d+)_block(\d+)_(se|cbam)"
_PART = r"stage(\d+)_block(\d+)_(\w+)"


def torch_entries(model: keras.Model, layout: str = "authors") -> list[TorchEntry]:
    """Lists the tensors that a checkpoint holds for a model.

    Args:
        model: A network of `keras_sda.applications`.
        layout: `"authors"` (names of the SDA networks) or `"timm"` (names of the plain
            trunks in timm: no depth attention, no head normalisation).
            Defaults to `"authors"`.

    Returns:
        One `TorchEntry` per tensor, in the order of the layers.

    Raises:
        InvalidInputError: A layer with weights has no name there.

    Example:

    >>> from keras_sda.applications import SDAResNet20
    >>> from keras_sda.applications.checkpoints.torch_entries import torch_entries
    >>> [entry.name for entry in torch_entries(SDAResNet20(), "timm")][:2]
    ['conv1.weight', 'bn1.weight']

    Source: the checkpoint names of the authors' networks (arXiv 2209.10327) and of
    the ResNet and Res2Net classes of timm.
    """
    entries = [entry for layer in model.layers for entry in _entries(layer, layout)]
    return _shifted(model, entries) if layout == "authors" else entries


def _shifted(model, entries):
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

    return [dataclasses.replace(entry, name=shift(entry.name)) for entry in entries]


def _torch_name(layer, layout):
    """Returns the module name of a layer, None where the layout has no such layer."""
    name, block = layer.name, _BLOCK[layout]
    if name in _TOP:
        return _TOP[name]
    if name == "head_bn":
        return "bn2" if layout == "authors" else None
    if match := re.fullmatch(r"stage(\d+)_sda", name):
        return f"stage{match[1]}" if layout == "authors" else None
    if match := re.fullmatch(_SHORTCUT, name):
        return f"{block(match)}.downsample.{int(match[3] == 'bn')}"
    if match := re.fullmatch(_SPLIT, name):
        return f"{block(match)}.{match[3]}s.{int(match[4]) - 1}"
    if match := re.fullmatch(_ATTENTION, name):
        in_timm = layout == "timm" and match[3] == "se"
        return f"{block(match)}.se" if in_timm else block(match)
    if match := re.fullmatch(_PART, name):
        return f"{block(match)}.{match[3]}"
    raise InvalidInputError(
        f"Layer {layer.name!r} has weights and no name among the authors' parameters, "
        "so a .safetensors file cannot fill it. Use a network of "
        "keras_sda.applications as it is, or a .weights.h5 file."
    )


def _entries(layer, layout) -> Iterator[TorchEntry]:
    if not layer.variables:
        return
    name = _torch_name(layer, layout)
    if name is None:
        return
    if isinstance(layer, SelectiveDepthAttention):
        yield from _attention_entries(layer, name)
    elif isinstance(layer, SqueezeExcite2D):
        as_convolution = layout == "timm"
        yield from _dense_entries(layer.squeeze, f"{name}.fc1", as_convolution)
        yield from _dense_entries(layer.excite, f"{name}.fc2", as_convolution)
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

    return TorchEntry(name, shape, put, get)


def _conv_entries(layer, name):
    # height, width, in, out <-> out, in, height, width
    yield _entry(f"{name}.weight", layer.kernel, (3, 2, 0, 1), (2, 3, 1, 0))
    if layer.use_bias:
        yield _entry(f"{name}.bias", layer.bias)


def _dense_entries(layer, name, as_convolution=False):
    if as_convolution:
        kernel = layer.kernel
        yield TorchEntry(
            f"{name}.weight",
            (*reversed(kernel.shape), 1, 1),
            lambda value: kernel.assign(value[:, :, 0, 0].T),
            lambda: keras.ops.convert_to_numpy(kernel).T[:, :, None, None],
        )
    else:
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
    yield TorchEntry(
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
        yield TorchEntry(
            f"{name}.fcs.{k}.weight",
            (channels, width, 1, 1),
            _put_part(kernel, part, lambda value: value[:, :, 0, 0].T),
            lambda part=part: keras.ops.convert_to_numpy(kernel)[:, part].T[
                :, :, None, None
            ],
        )
        yield TorchEntry(
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
