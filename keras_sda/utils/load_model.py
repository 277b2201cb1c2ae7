"""Load a saved model, or say what is wrong with the file."""

import json
import os
import pathlib
import zipfile

import keras

from keras_sda.utils.invalid_input_error import InvalidInputError


def load_model(path: str | os.PathLike) -> keras.Model:
    """Loads a `.keras` file without its optimizer.

    Every command that takes `MODEL.keras` reads it here.

    Args:
        path: A `.keras` file.

    Returns:
        The model, not compiled. The loss that it was compiled with is its attribute
        `loss`, where Keras can read it: it tells what the outputs mean.

    Raises:
        InvalidInputError: The file is missing, damaged, no `.keras` file, or needs
            code that is not imported.

    Example:

    >>> import keras, tempfile
    >>> from keras_sda.utils import load_model
    >>> path = tempfile.mkdtemp() + "/model.keras"
    >>> keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    >>> load_model(path).output_shape
    (None, 2)
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise InvalidInputError(
            f"Model file {path} does not exist. Check the path; `keras-sda train` "
            "writes model.keras into its output folder."
        )
    if path.is_dir() or path.suffix != ".keras":
        raise InvalidInputError(
            f"Model file {path} must be a .keras file, as `model.save('model.keras')` "
            "and `keras-sda train` write it."
        )
    if not zipfile.is_zipfile(path):
        raise InvalidInputError(
            f"Model file {path} is damaged, cut short or no .keras file. Copy it again."
        )
    try:
        model = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InvalidInputError(
            f"Model file {path} cannot be loaded: {reason[:300]} Where it holds layers "
            "of your own, register them with keras.saving.register_keras_serializable "
            "and import them first."
        ) from error
    loss = _stored_loss(path)
    if loss is not None and not model.compiled:
        model.loss = loss
    return model


def _stored_loss(path):
    """The loss of the last compilation, or None where it is code of the user."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json")).get("compile_config") or {}
    try:
        return keras.saving.deserialize_keras_object(config.get("loss"))
    except (ValueError, TypeError, KeyError, AttributeError, ImportError):
        return None
