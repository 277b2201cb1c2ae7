"""Weights and the state of the optimizer in one file, whole or not at all."""

import io
import os
import pathlib
import warnings

import keras
import numpy as np

from keras_sda.utils.files.atomic_write import atomic_write
from keras_sda.utils.files.save_model import NamedBytes
from keras_sda.utils.hold_interrupts import hold_interrupts
from keras_sda.utils.invalid_input_error import InvalidInputError

# Beside the variables, where Keras does not look.
_EPOCH = "keras_sda_epoch"
_SHOWN = 3


class WeightsFile:
    """A `.weights.h5` file of Keras that is never half written nor half read.

    Use it for everything that a run has to be able to go on from. The file is made in
    memory, because HDF5 cannot recover from a write that fails halfway and may crash
    the interpreter at exit; then it is written under another name and renamed.
    Reading looks first whether every variable of the model and its optimizer is there:
    Keras itself skips an optimizer that does not fit, with no more than a warning.

    Args:
        path: The file, which ends in `.weights.h5`.

    Example:

    >>> import keras, pathlib, tempfile
    >>> from keras_sda.utils import WeightsFile
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> file = WeightsFile(pathlib.Path(tempfile.mkdtemp()) / "latest.weights.h5")
    >>> file.write(model, epoch=4)
    >>> file.problem(model), file.read(model), file.epoch
    ('', 4, 4)
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)

    def write(self, model: keras.Model, epoch: int | None = None) -> None:
        """Writes the variables of a model and of its optimizer.

        Args:
            model: The model.
            epoch: Number of finished epochs, kept in the file. Defaults to `None`.

        Raises:
            OSError: The disk is full or cannot be written. The file of before is as it
                was.
        """
        content = _content(model, epoch)
        with atomic_write(self.path) as temporary:
            temporary.write_bytes(content)

    def problem(self, model: keras.Model | None = None) -> str:
        """Why the file cannot be used, such as after a kill; empty where it can.

        Args:
            model: What it has to hold the variables of. Defaults to `None`: it is only
                looked at whether everything can be read.

        Raises:
            InvalidInputError: It is whole, but of another model.
        """
        try:
            found = _shapes(self.path)
        except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            return f"it cannot be read ({reason[:120]})"
        if model is None:
            return "" if found else "it is empty"
        expected = _shapes(io.BytesIO(_content(model)))
        other = [
            f"{name} has the shape {found[name]}, not {shape}"
            for name, shape in expected.items()
            if name in found and found[name] != shape
        ]
        # Weights that were saved with an optimizer fit a model without one.
        other += [
            f"{name} is not in the model"
            for name in found.keys() - expected.keys()
            if not name.startswith("optimizer/")
        ]
        if other:
            raise InvalidInputError(
                f"{self.path} belongs to another model or optimizer: "
                f"{'; '.join(other[:_SHOWN])}. Give the model that it was written for, "
                "or use another folder."
            )
        missing = len(expected.keys() - found.keys())
        if missing:
            return f"it holds {len(expected) - missing} of {len(expected)} variables"
        return ""

    def read(self, model: keras.Model, check: bool = True) -> int | None:
        """Loads the variables; returns the number of epochs, where it is known.

        Args:
            model: The model. It is not touched where the file cannot be used.
            check: Whether to look for problems first. Defaults to `True`.

        Raises:
            InvalidInputError: The file is damaged, incomplete or of another model.
        """
        problem = self.problem(model) if check else ""
        if problem:
            raise InvalidInputError(
                f"{self.path} cannot be used: {problem}. Delete it, and what depends "
                "on it is made again, or start in another folder."
            )
        with warnings.catch_warnings():
            # Keras would go on with the optimizer as it is.
            warnings.filterwarnings("error", message="Skipping ")
            model.load_weights(self.path)
        return self.epoch

    @property
    def epoch(self) -> int | None:
        """Number of epochs that `write` was given; None in files of others."""
        import h5py

        with h5py.File(self.path, "r") as file:
            epoch = file.attrs.get(_EPOCH)
        return None if epoch is None else int(epoch)


def _content(model, epoch=None) -> bytes:
    import h5py

    memory = NamedBytes("memory.weights.h5")
    with hold_interrupts():
        model.save_weights(memory)
        if epoch is not None:
            with h5py.File(memory, "r+") as file:
                file.attrs[_EPOCH] = epoch
    return memory.getvalue()


def _shapes(file) -> dict[str, tuple[int, ...]]:
    """Shape of every variable, which is read: a file that was cut may well open."""
    import h5py

    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item).shape

    with h5py.File(file, "r") as opened:
        opened.visititems(visit)
    return found
