"""What `weights=` means."""

import difflib
import os
import pathlib

import keras

from keras_sda.applications.checkpoints.keras_weights import load_keras_weights
from keras_sda.applications.checkpoints.named_weights import (
    load_named_weights,
    weight_names,
)
from keras_sda.applications.checkpoints.safetensors_weights import load_safetensors
from keras_sda.utils import InvalidInputError


def load_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Loads named weights or a file of weights, every tensor accounted for.

    Use it where `weights=` of a constructor does not fit, such as for a model that
    exists already. Nothing is loaded unless everything fits.

    `"imagenet"` puts a trunk trained on ImageNet under the network: the weights of an
    openly licensed checkpoint of timm, downloaded once from the Hugging Face hub
    (`presets.py` has repository, licence and accuracy). Depth attention starts at the
    last block of every stage and the head normalisation as identity, so on the first
    day the network answers as its trunk does, up to a weight of 0.0001 that the other
    blocks get; it has the accuracy of the trunk, not that of the paper, and is ready
    to be fine-tuned. In training mode the head normalisation takes the statistics of
    the batch, so the classifier needs some steps to follow.

    `"cifar10"` are weights of the whole network that this package trained and ships.

    All of them take RGB images after `preprocess_input`. Where the model has another
    number of classes, all but the classifier is loaded, and one warning says so.

    Args:
        model: A network of `keras_sda.applications`.
        path: A name (`"imagenet"`, `"cifar10"`), a `.weights.h5`, `.keras` or `.h5`
            file that this network wrote, or a `.safetensors` file with the parameter
            names of the authors or of timm.

    Raises:
        InvalidInputError: The name is unknown or does not exist for this network, the
            download failed, the file is missing, damaged or of another kind, holds
            NaN, integers or negative variances, or its tensors do not fit the model;
            the message lists those that are missing, unexpected or of another shape,
            and the network that fits.

    Example:

    >>> import tempfile
    >>> from keras_sda.applications import SDAResNet20, load_weights
    >>> path = tempfile.mkdtemp() + "/model.weights.h5"
    >>> SDAResNet20().save_weights(path)
    >>> load_weights(SDAResNet20(), path)
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidInputError(
            f"`weights` must be {_expected()}. Received: {type(path).__name__}."
        )
    loaders = {
        ".weights.h5": load_keras_weights,
        ".keras": load_keras_weights,
        ".h5": load_keras_weights,
        ".hdf5": load_keras_weights,
        ".safetensors": load_safetensors,
    }
    if path in weight_names():
        load_named_weights(model, path)
        return
    path = pathlib.Path(path)
    suffix = next((s for s in loaders if path.name.endswith(s)), None)
    if suffix is None:
        near = difflib.get_close_matches(str(path), weight_names(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InvalidInputError(
            f"`weights` must be {_expected()}. Received: weights={str(path)!r}.{hint}"
        )
    if not path.is_file():
        raise InvalidInputError(
            f"`weights` names a file that does not exist: {str(path)!r}. "
            "Check the path."
        )
    if not path.stat().st_size:
        raise InvalidInputError(f"`weights` names an empty file: {str(path)!r}.")
    loaders[suffix](model, path)


def _expected():
    names = " or ".join(map(repr, weight_names()))
    return (
        f"None, {names}, the path of a .weights.h5, .keras or .h5 file of the same "
        "network, or of a .safetensors file with the parameter names of the authors or "
        "of timm"
    )
