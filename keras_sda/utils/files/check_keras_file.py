"""Look into a file that Keras wrote before Keras reads it."""

import io
import math
import os
import pathlib
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from keras_sda.utils.files.read_json import parse_json
from keras_sda.utils.files.stored_shapes import memory_bytes, stored_shapes
from keras_sda.utils.invalid_input_error import InvalidInputError

MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MOST_JSON = 1 << 26  # bytes; the largest networks have some megabytes
_EXPANSION = 100  # Keras stores members as they are
_ALWAYS = 1 << 26
# Entries of a config for each of which a layer holds a row or column of weights.
_COUNTS = ("units", "filters", "input_dim", "output_dim", "key_dim", "num_heads")


def check_keras_file(path: str | os.PathLike) -> str | None:
    """Checks the sizes that a `.keras`, `.h5` or `.hdf5` file claims.

    Use it before Keras reads such a file. Nothing is unpacked but the config, and no
    array is read.

    Args:
        path: The file.

    Returns:
        The version of Keras that wrote the file; `None` where it does not say so.

    Raises:
        InvalidInputError: A member or an array is larger than the file can hold, the
            config is too large or no config, or asks for layers that are larger than
            the weights stored.
        Exception: What zipfile and h5py raise for damaged files, of many kinds.

    Example:

    >>> import keras, tempfile
    >>> from keras_sda.utils.files.check_keras_file import check_keras_file
    >>> path = tempfile.mkdtemp() + "/model.keras"
    >>> keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    >>> check_keras_file(path) == keras.__version__
    True
    """
    path = pathlib.Path(path)
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            config = _json_member(archive, _CONFIG, path)
            metadata = {}
            if "metadata.json" in archive.namelist():
                metadata = _json_member(archive, "metadata.json", path)
            version = metadata.get("keras_version")
            if _WEIGHTS in archive.namelist():
                with open_weights(path, archive) as file:
                    _check_counts(config, stored_shapes(file, str(path)), path)
    else:
        import h5py

        with h5py.File(path, "r") as file:
            version = _text(file.attrs.get("keras_version"))
            arrays = stored_shapes(file, str(path))
            if "model_config" not in file.attrs:
                raise InvalidInputError(
                    f"Model file {path} holds weights and no network. Load them into "
                    "the network that they belong to (`weights=` of its constructor, "
                    "or `model.load_weights`) and save that as model.keras."
                )
            config = parse_json(_text(file.attrs["model_config"]))
            _check_counts(config, arrays, path)
    return version if isinstance(version, str) else None


def open_weights(path: str | os.PathLike, archive: zipfile.ZipFile | None = None):
    """The weights of a `.keras` file, or an HDF5 file itself, as an open `h5py.File`.

    Args:
        path: The file.
        archive: The open archive where it is a `.keras` file. Defaults to `None`.

    Raises:
        InvalidInputError: The member claims more than it can hold.
    """
    import h5py

    if archive is None:
        return h5py.File(path, "r")
    _check_member(archive.getinfo(_WEIGHTS), path)
    return h5py.File(io.BytesIO(archive.read(_WEIGHTS)), "r")


def _json_member(archive, name, path):
    if name not in archive.namelist():
        raise InvalidInputError(
            f"Model file {path} holds no {name}: it is an archive that Keras did not "
            "write. Write it with `model.save('model.keras')`."
        )
    info = archive.getinfo(name)
    _check_member(info, path)
    if info.file_size > _MOST_JSON:
        raise InvalidInputError(
            f"Model file {path}: its {name} of {info.file_size:,} bytes is larger than "
            "that of any network. Write the file anew with Keras."
        )
    content = parse_json(archive.read(name))
    if not isinstance(content, dict):
        raise InvalidInputError(
            f"Model file {path}: its {name} is damaged. Copy the file again."
        )
    return content


def _check_member(info, path):
    most = min(max(_EXPANSION * info.compress_size, _ALWAYS), memory_bytes())
    if info.file_size > most:
        raise InvalidInputError(
            f"Model file {path}: {info.filename} claims {info.file_size:,} bytes and "
            f"stores {info.compress_size:,}: the file is damaged or made to exhaust "
            "the memory. Copy it again, or write it anew with Keras."
        )


def _check_counts(config, arrays, path):
    """Refuses layers with more units than all arrays have entries.

    Keras would make them at random before it looks at the weights.
    """
    stored = sum(array.size for array in arrays.values())
    for name, value in _entries(config):
        if _total(value) > max(stored, 1 << 16):
            raise InvalidInputError(
                f"Model file {path}: a layer asks for {name}={value!r:.40}, and all "
                f"weights of the file are {stored:,} numbers. It is damaged: write it "
                "anew with Keras."
            )


def _total(value):
    numbers = value if isinstance(value, list) else [value]
    return sum(x for x in numbers if type(x) is int)


def _entries(config) -> Iterator[tuple[str, Any]]:
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            yield from ((name, item[name]) for name in _COUNTS if name in item)
            sides = item.get("kernel_size")
            if isinstance(sides, list) and all(type(side) is int for side in sides):
                yield "kernel_size", math.prod(sides)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else value
