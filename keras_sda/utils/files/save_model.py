"""Saves a model whole or not at all."""

import io
import os

import keras

from keras_sda.utils.files.atomic_write import atomic_write
from keras_sda.utils.hold_interrupts import hold_interrupts


class NamedBytes(io.BytesIO):
    """Bytes in memory that Keras takes for a file: it looks at the end of the name.

    Use it because neither HDF5 nor a zip archive can recover from a disk that fills up
    while it is written.

    Args:
        name: What `str` gives, such as `"memory.keras"`.

    Example:

    >>> str(NamedBytes("memory.keras"))
    'memory.keras'
    """

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def __str__(self):
        return self.name


def save_model(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes a `.keras` file that is complete or absent, also on a full disk.

    Use it for every model that a run keeps. An interruption waits until the model is in
    memory; it is never in half.

    Args:
        model: The model. A compiled one takes the state of its optimizer along.
        path: The file. What was there stays where the write fails.

    Raises:
        OSError: The disk is full or cannot be written.

    Example:

    >>> import pathlib, tempfile
    >>> from keras_sda.utils import load_model, save_model
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.keras"
    >>> save_model(model, path)
    >>> load_model(path).output_shape
    (None, 2)
    """
    memory = NamedBytes("memory.keras")
    with hold_interrupts():
        model.save(memory)
    with atomic_write(path) as temporary:
        temporary.write_bytes(memory.getvalue())
