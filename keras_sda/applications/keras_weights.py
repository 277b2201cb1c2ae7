"""Weights that Keras wrote: `.weights.h5` and `.keras`."""

import io
import os
import zipfile

import keras

from keras_sda.applications.network_signature import NetworkSignature
from keras_sda.applications.weights_mismatch import check_finite, check_weights_match
from keras_sda.utils import InvalidInputError


def load_keras_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Loads a `.weights.h5` or `.keras` file after comparing it layer by layer.

    Keras itself pairs layers by class and position and passes over what the file
    holds in excess, so a file of a deeper network could load silently. Here the names
    and shapes of all layers must agree first.

    Args:
        model: A model without nested models.
        path: The file.

    Raises:
        InvalidInputError: The file is damaged, holds a value that is not finite, or
            does not fit. Nothing is loaded then.

    Example:

    >>> import tempfile
    >>> from keras_sda.applications import SDAResNet20
    >>> from keras_sda.applications.keras_weights import load_keras_weights
    >>> path = tempfile.mkdtemp() + "/model.weights.h5"
    >>> SDAResNet20().save_weights(path)
    >>> load_keras_weights(SDAResNet20(), path)
    """
    path = str(path)
    try:
        arrays = _stored_arrays(path)
    except (OSError, zipfile.BadZipFile, KeyError, RuntimeError) as error:
        raise InvalidInputError(
            f"`weights` file {path!r} cannot be read: it is damaged, cut short or of "
            f"another format ({_first_line(error)}). Copy it again."
        ) from error
    stored = {
        layer: sorted(value.shape for value in values.values())
        for layer, values in arrays.items()
    }
    needed = {
        # Without the random state of dropout, which the files do not hold.
        layer.name: sorted(tuple(v.shape) for v in layer.weights)
        for layer in model.layers
        if layer.weights
    }
    check_weights_match(
        path,
        [name for name in needed if name not in stored],
        [name for name in stored if name not in needed],
        [
            f"{name} (file {stored[name]}, model {shapes})"
            for name, shapes in needed.items()
            if name in stored and stored[name] != shapes
        ],
        fit=lambda: NetworkSignature.of_layers(stored).difference(
            NetworkSignature.of_model(model)
        ),
    )
    check_finite(
        path,
        (
            (f"{layer}/{name}", value)
            for layer, values in arrays.items()
            for name, value in values.items()
        ),
    )
    try:
        model.load_weights(path)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"`weights` file {path!r} cannot be loaded ({_first_line(error)}). "
            "Copy it again, or write it anew with `model.save_weights`."
        ) from error


def _stored_arrays(path):
    """Returns the variables of every layer in a file, by layer and by path inside."""
    import h5py

    source = path
    if path.endswith(".keras"):
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read("model.weights.h5"))
    stored = {}
    with h5py.File(source, "r") as file:
        for group in file["layers"].values():
            arrays = {}

            def collect(name, item, arrays=arrays):
                if isinstance(item, h5py.Dataset):
                    arrays[name] = item[()]

            group.visititems(collect)
            if arrays:
                name = group["vars"].attrs["name"] if "vars" in group else group.name
                stored[name] = arrays
    return stored


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
