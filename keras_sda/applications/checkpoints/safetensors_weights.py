"""Weights from `.safetensors` files, under the authors' names or those of timm."""

import os
import re

import keras
import numpy as np
from absl import logging

from keras_sda.applications.checkpoints.network_signature import NetworkSignature
from keras_sda.applications.checkpoints.start_from_trunk import start_from_trunk
from keras_sda.applications.checkpoints.torch_entries import torch_entries
from keras_sda.applications.checkpoints.weights_mismatch import (
    check_kinds,
    check_numbers,
    check_weights_match,
)
from keras_sda.utils import InvalidInputError

_READ = ("F64", "F32", "F16", "BF16", "C64", "BOOL") + tuple(
    f"{sign}{bits}" for sign in "IU" for bits in (8, 16, 32, 64)
)
_HEADS = {"authors": ("bn2.", "fc."), "timm": ("fc.",)}


def load_safetensors(
    model: keras.Model, path: str | os.PathLike, any_classes: bool = False
) -> None:
    """Loads a `.safetensors` file in the layout of the authors or of timm.

    Use it for checkpoints of PyTorch networks; the names of the tensors tell the
    layout. Counters of seen batches (`num_batches_tracked`) are known and not needed;
    the prefix `module.` of data-parallel training is taken off. The classifier of the
    file is left out where the model has none.

    A file in timm's layout holds a plain trunk: depth attention then starts at the
    last block of every stage and the head normalisation as identity (see
    `start_from_trunk`), and the classifier of the model stays as it is where the file
    has another number of classes.

    Args:
        model: A network of `keras_sda.applications`.
        path: The file.
        any_classes: Whether a file in the authors' layout may have another number of
            classes too. Defaults to `False`.

    Raises:
        InvalidInputError: The file is damaged, holds integers in place of weights, a
            value that is not finite or a negative variance, or a tensor is missing,
            unexpected or of another shape. Nothing is loaded then.

    Example:

    >>> import tempfile
    >>> from safetensors.numpy import save_file
    >>> from keras_sda.applications import SDAResNet20
    >>> from keras_sda.applications.checkpoints.safetensors_weights import (
    ...     load_safetensors, to_torch_tensors)
    >>> model = SDAResNet20()
    >>> path = tempfile.mkdtemp() + "/model.safetensors"
    >>> save_file(to_torch_tensors(model), path)
    >>> load_safetensors(model, path)

    Source: the checkpoint names of the authors' networks (arXiv 2209.10327) and of
    timm's ResNet.
    """
    tensors = _read(path)
    from_timm = any(re.match(r"layer\d+\.\d+\.", name) for name in tensors)
    layout = "timm" if from_timm else "authors"
    entries = {entry.name: entry for entry in torch_entries(model, layout)}
    shapes = {name: value.shape for name, value in tensors.items()}
    if "fc.weight" not in entries:
        tensors = _without(tensors, _HEADS[layout])
    elif (from_timm or any_classes) and _classes(tensors) != _classes(entries):
        logging.warning(
            "Weights file %s has %s classes and the model has %d: everything but the "
            "classifier is loaded, and the layer 'predictions' keeps its start.",
            path,
            _classes(tensors) or "no",
            _classes(entries),
        )
        tensors = _without(tensors, ("fc.",))
        entries = _without(entries, ("fc.",))
    check_weights_match(
        path,
        [name for name in entries if name not in tensors],
        [name for name in tensors if name not in entries],
        [
            f"{name} (file {tensors[name].shape}, model {entry.shape})"
            for name, entry in entries.items()
            if name in tensors and tensors[name].shape != entry.shape
        ],
        fit=lambda: NetworkSignature.of_tensors(shapes).difference(
            NetworkSignature.of_model(model)
        ),
    )
    check_kinds(path, (name for name in entries if not _is_float(tensors[name])))
    check_numbers(path, ((name, tensors[name]) for name in entries))
    for name, entry in entries.items():
        entry.put(tensors[name].astype("float32", copy=False))
    if from_timm:
        start_from_trunk(model)


def _read(path):
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load_file

    try:
        with safe_open(path, "numpy") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}
        # Of fewer than 16 bits, which numpy cannot read and which need scales.
        check_kinds(path, (n for n, k in kinds.items() if k not in _READ))
        tensors = load_file(path)
    except InvalidInputError:
        raise
    except (
        SafetensorError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:
        raise InvalidInputError(
            f"`weights` file {str(path)!r} is not a readable safetensors file: it is "
            f"damaged, cut short or of another format ({error}). Copy it again."
        ) from error
    return {
        name.removeprefix("module."): value
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }


def _is_float(value):
    return value.dtype.kind == "f" or value.dtype.name == "bfloat16"


def _without(items, prefixes):
    return {k: v for k, v in items.items() if not k.startswith(prefixes)}


def _classes(items):
    return items["fc.weight"].shape[0] if "fc.weight" in items else None


def to_torch_tensors(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the weights of a model under the authors' names and layouts.

    Args:
        model: A network of `keras_sda.applications`.

    Returns:
        Parameter name to float array, as a `.safetensors` file of the authors'
        networks holds them.

    Example:

    >>> from keras_sda.applications import SDAResNet20
    >>> from keras_sda.applications.checkpoints.safetensors_weights import (
    ...     to_torch_tensors
    ... )
    >>> to_torch_tensors(SDAResNet20())["stage1.fc.0.weight"].shape
    (64, 16, 1, 1)
    """
    return {
        entry.name: np.ascontiguousarray(entry.get()) for entry in torch_entries(model)
    }
