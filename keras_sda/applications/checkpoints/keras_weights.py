"""Weights that Keras wrote: `.weights.h5`, `.keras`, and the `.h5` of Keras 2."""

import os
import zipfile

import keras

from keras_sda.applications.checkpoints.network_signature import NetworkSignature
from keras_sda.applications.checkpoints.weights_mismatch import (
    check_kinds,
    check_weights_match,
)
from keras_sda.graph import all_layers
from keras_sda.utils import InvalidInputError
from keras_sda.utils.files.check_keras_file import open_weights
from keras_sda.utils.files.load_model import check_values
from keras_sda.utils.files.stored_shapes import stored_shapes


def load_keras_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Loads a file of Keras after comparing it with the model, layer by layer.

    Keras itself pairs layers by class and position and passes over what the file
    holds in excess, so a file of a deeper network could load silently. Here the names
    and shapes of all layers must agree first; no array is read before they do.

    Args:
        model: A model without nested models.
        path: The file.

    Raises:
        InvalidInputError: The file is damaged, holds integers in place of weights,
            values that are not finite or negative variances, or does not fit. Nothing
            is loaded then.

    Example:

    >>> import tempfile
    >>> from keras_sda.applications import SDAResNet20
    >>> from keras_sda.applications.checkpoints.keras_weights import load_keras_weights
    >>> path = tempfile.mkdtemp() + "/model.weights.h5"
    >>> SDAResNet20().save_weights(path)
    >>> load_keras_weights(SDAResNet20(), path)
    """
    path = str(path)
    try:
        arrays = _stored_arrays(path)
    except InvalidInputError:
        raise
    except Exception as error:
        # Whatever a damaged file makes of zipfile or h5py, it is the file.
        raise InvalidInputError(
            f"`weights` file {path!r} cannot be read: it is damaged, cut short or of "
            f"another format ({_first_line(error)}). Copy it again."
        ) from error
    stored = {
        layer: sorted(shape for shape, _ in values) for layer, values in arrays.items()
    }
    needed = {
        # Without the random state of dropout, which the files do not hold.
        layer.name: sorted(_described(v) for v in layer.weights)
        for layer in model.layers
        if layer.weights
    }
    shapes = {name: [shape for shape, _ in own] for name, own in needed.items()}
    check_weights_match(
        path,
        [name for name in needed if name not in stored],
        [name for name in stored if name not in needed],
        [
            f"{name} (file {stored[name]}, model {own})"
            for name, own in shapes.items()
            if name in stored and stored[name] != own
        ],
        fit=lambda: NetworkSignature.of_layers(stored).difference(
            NetworkSignature.of_model(model)
        ),
    )
    check_kinds(
        path,
        (name for name, own in needed.items() if sorted(arrays[name]) != own),
    )
    before = model.get_weights()
    try:
        _load(model, path)
        check_values(model, f"`weights` file {path!r}", finite=True)
    except Exception as error:
        model.set_weights(before)
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(
            f"`weights` file {path!r} cannot be loaded ({_first_line(error)}). "
            "Copy it again, or write it anew with `model.save_weights`."
        ) from error


def _load(model, path):
    model.load_weights(path)
    for layer in all_layers(model):
        # Normalization computes what it applies from its weights, once.
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def _described(variable):
    is_float = "float" in keras.backend.standardize_dtype(variable.dtype)
    return tuple(variable.shape), is_float


def _stored_arrays(path):
    """Shapes of the variables of every layer in a file, each with: is it of floats?

    Nothing but sizes is read.
    """
    if path.endswith(".keras"):
        with zipfile.ZipFile(path) as archive, open_weights(path, archive) as file:
            return _arrays_of(file, path)
    with open_weights(path) as file:
        return _arrays_of(file, path)


def _arrays_of(file, path):
    found = {}
    whole = stored_shapes(file, path)
    if "layers" not in file:
        # A file of Keras 2, or a whole model as .h5: layers stand there by name.
        prefix = "model_weights" if "model_weights" in file else ""
        attributes = (file[prefix] if prefix else file).attrs
        # Long lists are stored as layer_names0, layer_names1, ...
        parts = sorted(key for key in attributes if key.startswith("layer_names"))
        if not parts:
            raise ValueError("it holds no weights that Keras wrote")
        names = [name for part in parts for name in attributes[part]]
        groups = {_text(name): f"{prefix}/{_text(name)}".strip("/") for name in names}
    else:
        groups = {}
        for key, group in file["layers"].items():
            name = _text(group["vars"].attrs["name"]) if "vars" in group else key
            groups[name] = f"layers/{key}"
    for name, place in groups.items():
        arrays = [
            (array.shape, _is_float(array))
            for inside, array in whole.items()
            if inside.startswith(f"{place}/")
        ]
        if arrays:
            found[name] = arrays
    return found


def _is_float(array):
    # Keras stores bfloat16 as bytes and says so.
    return array.dtype.kind == "f" or "float" in str(_text(array.attrs.get("dtype")))


def _text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
