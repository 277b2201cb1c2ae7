"""What `weights=` means."""

import os
import pathlib

import keras

from keras_sda.applications.keras_weights import load_keras_weights
from keras_sda.applications.safetensors_weights import load_safetensors
from keras_sda.utils import InvalidInputError

_EXPECTED = (
    "None, the path of a .weights.h5 or .keras file of the same network, or of a "
    ".safetensors file with the authors' parameter names"
)


def load_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Loads a file of weights into a model, every tensor accounted for.

    Use it where `weights=` of a constructor does not fit, such as for a model that
    exists already. Nothing is loaded unless everything fits.

    Args:
        model: A network of `keras_sda.applications`.
        path: A `.weights.h5` or `.keras` file that this network wrote, or a
            `.safetensors` file that holds the authors' parameter names.

    Raises:
        InvalidInputError: The file is missing, damaged or of another kind, or its
            tensors do not fit the model; the message lists those that are missing,
            unexpected or of another shape.

    Example:

    >>> import tempfile
    >>> from keras_sda.applications import SDAResNet20, load_weights
    >>> path = tempfile.mkdtemp() + "/model.weights.h5"
    >>> SDAResNet20().save_weights(path)
    >>> load_weights(SDAResNet20(), path)
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidInputError(
            f"`weights` must be {_EXPECTED}. Received: {type(path).__name__}."
        )
    path = pathlib.Path(path)
    loaders = {
        ".weights.h5": load_keras_weights,
        ".keras": load_keras_weights,
        ".safetensors": load_safetensors,
    }
    suffix = next((s for s in loaders if path.name.endswith(s)), None)
    if suffix is None:
        raise InvalidInputError(
            f"`weights` must be {_EXPECTED}. Received: weights={str(path)!r}. "
            "No weights are published under a name yet: train them with `keras-sda "
            "train`, or give the path of a file."
        )
    if not path.is_file():
        raise InvalidInputError(
            f"`weights` names a file that does not exist: {str(path)!r}. "
            "Check the path."
        )
    if not path.stat().st_size:
        raise InvalidInputError(f"`weights` names an empty file: {str(path)!r}.")
    loaders[suffix](model, path)
