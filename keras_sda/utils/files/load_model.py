"""Load a saved model, or say what is wrong with the file."""

import os
import pathlib
import zipfile

import keras
import numpy as np

from keras_sda.utils.files.check_keras_file import MODEL_SUFFIXES, check_keras_file
from keras_sda.utils.files.read_json import parse_json
from keras_sda.utils.invalid_input_error import InvalidInputError

_CONVERT = (
    "Convert it with the Keras that wrote it: load it there, `model.save('model.h5')`, "
    "and give the .h5 file; or build the network by its code here and load the weights."
)


def load_model(path: str | os.PathLike) -> keras.Model:
    """Loads a `.keras`, `.h5` or `.hdf5` file without its optimizer.

    Every command that takes `MODEL.keras` reads it here. Sizes are checked before
    anything is unpacked.

    Args:
        path: A file that `model.save` of Keras 3 wrote, or an `.h5` or `.hdf5` file of
            Keras 2 where Keras 3 can read it.

    Returns:
        The model, not compiled. The loss that it was compiled with is its attribute
        `loss`, where Keras can read it: it tells what the outputs mean.

    Raises:
        InvalidInputError: The file is missing, damaged, no model of Keras 3, or needs
            code that is not imported, or its weights are no numbers.

    Example:

    >>> import keras, tempfile
    >>> from keras_sda.utils import load_model
    >>> path = tempfile.mkdtemp() + "/model.keras"
    >>> keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    >>> load_model(path).output_shape
    (None, 2)
    """
    path = pathlib.Path(path)
    _check_kind(path)
    version = None
    try:
        version = check_keras_file(path)
        model = keras.saving.load_model(path, compile=False)
    except InvalidInputError:
        raise
    except Exception as error:
        # Whatever a damaged file makes of Keras, zipfile or h5py, it is the file.
        raise InvalidInputError(_message(path, version, error)) from error
    check_values(model, f"Model file {path}")
    loss = _stored_loss(path)
    if loss is not None and not model.compiled:
        model.loss = loss
    return model


def is_model_file(model: str) -> bool:
    """Whether the name of a model is that of a file, and not of a network.

    Args:
        model: What the user gave.

    Example:

    >>> from keras_sda.utils.files.load_model import is_model_file
    >>> is_model_file("model.h5"), is_model_file("SDAResNet50")
    (True, False)
    """
    return model.endswith(MODEL_SUFFIXES) or pathlib.Path(model).exists()


def check_values(model: keras.Model, what: str, finite: bool = False) -> None:
    """Refuses weights with which a model can only answer NaN.

    Args:
        model: A built model.
        what: What held the weights, for the message.
        finite: Whether infinity is refused as well. Defaults to `False`: a layer of
            the user may hold it on purpose.

    Raises:
        InvalidInputError: A weight holds NaN, or a variance is negative.
    """
    for variable in model.weights:
        value = keras.ops.convert_to_numpy(variable)
        if value.dtype.kind in "biu":
            continue
        value = value.astype("float32", copy=False)
        bad = ~np.isfinite(value) if finite else np.isnan(value)
        if bad.any():
            raise InvalidInputError(
                f"{what} holds values that are not finite: tensor {variable.path!r} "
                f"has {int(bad.sum())} of {value.size} as NaN or infinity. The "
                "training that wrote it diverged or the file is damaged: take an "
                "earlier checkpoint, or copy it again."
            )
        if variable.name in ("moving_variance", "running_var") and (value < 0).any():
            raise InvalidInputError(
                f"{what} is damaged: the variance {variable.path!r} holds negative "
                f"numbers, such as {value.min():g}. Copy it again, or take another "
                "checkpoint."
            )


def _check_kind(path):
    if not path.exists():
        raise InvalidInputError(
            f"Model file {path} does not exist. Check the path; `keras-sda train` "
            "writes model.keras into its output folder."
        )
    if path.is_dir() and (path / "saved_model.pb").is_file():
        keras_2 = (path / "keras_metadata.pb").is_file()
        raise InvalidInputError(
            f"Model {path} is a SavedModel, which Keras 3 cannot read. "
            + (_CONVERT if keras_2 else "Give the .keras file that it was made of.")
        )
    if path.is_dir() or path.suffix not in MODEL_SUFFIXES:
        raise InvalidInputError(
            f"Model file {path} must be a .keras file, as `model.save('model.keras')` "
            "and `keras-sda train` write it, or an .h5 or .hdf5 file of Keras."
        )
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        raise InvalidInputError(
            f"Model file {path} is damaged, cut short or no .keras file. Copy it again."
        )


def _stored_loss(path):
    """The loss of the last compilation, or None where it is code of the user."""
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                config = parse_json(archive.read("config.json"))
            loss = (config.get("compile_config") or {}).get("loss")
            return keras.saving.deserialize_keras_object(loss)
        import h5py

        with h5py.File(path, "r") as file:
            config = parse_json(file.attrs.get("training_config", "{}"))
        loss = config.get("loss")
        return keras.losses.get(loss) if isinstance(loss, dict) else loss
    except (ValueError, TypeError, KeyError, AttributeError, ImportError):
        return None


def _message(path, version, error):
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, RecursionError):
        reason = "its layers are nested too deeply."
    text = f"Model file {path} cannot be loaded: {reason[:300]} "
    if version is not None and not version.startswith("3"):
        return f"{text}It was written by Keras {version:.20}. {_CONVERT}"
    return (
        f"{text}Where it holds layers of your own, register them with "
        "keras.saving.register_keras_serializable and import them first."
    )
