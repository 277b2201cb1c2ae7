"""Reads a state dict that PyTorch saved in its old format, without running anything.

The file is four pickles (a number, a version, sizes of types, the dict), one with the
names of the storages, and the storages as raw numbers. A pickle may ask for any Python
function and have it called. Here it gets none but those that a state dict is made of,
and these are stand-ins of ours: neither PyTorch nor anything that the file names is
imported.
"""

import io
import pathlib
import pickle

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


def read_legacy_state_dict(path):
    """Returns the tensors of a state dict by name, as arrays of their own.

    Raises `pickle.UnpicklingError` where the file is another or asks for more.
    """
    path = pathlib.Path(path)
    file = io.BytesIO(path.read_bytes())
    reader = _Reader(file)
    if reader.next() != _MAGIC:
        raise pickle.UnpicklingError(
            f"{path.name} is no state dict in PyTorch's old format."
        )
    for _ in ("version", "sizes of types"):
        reader.next()
    found, names = reader.next(), reader.next()
    values = {name: _numbers(file, *reader.storages[name]) for name in names}
    if not isinstance(found, dict) or not all(
        isinstance(tensor, _Tensor) for tensor in found.values()
    ):
        raise pickle.UnpicklingError(f"{path.name} holds more than tensors.")
    return {name: tensor.array(values) for name, tensor in found.items()}


def _numbers(file, dtype, count):
    """One storage: its length and its numbers."""
    if int(np.frombuffer(file.read(8), "<i8")[0]) != count:
        raise pickle.UnpicklingError("A storage has another length than it should.")
    dtype = np.dtype(dtype)
    return np.frombuffer(file.read(count * dtype.itemsize), dtype, count)


class _Reader:
    """The pickles of one file, one after the other."""

    def __init__(self, file):
        self._file = file
        self.storages = {}

    def next(self):
        """What the next pickle holds."""
        return _Unpickler(self._file, self.storages).load()


class _Unpickler(pickle.Unpickler):
    """Gives a pickle no function but the three that a state dict needs."""

    def __init__(self, file, storages):
        super().__init__(file)
        self._storages = storages

    def find_class(self, module, name):
        """Stand-ins, made anew every time: a pickle can change what it is given."""
        if (module, name) == ("collections", "OrderedDict"):

            class Entries(dict):
                """Takes the attributes that a state dict has."""

            return Entries
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(
                storage, offset, shape, strides
            )
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(
            f"The file asks for {module}.{name}, which no state dict needs. Nothing of "
            "it was run."
        )

    def persistent_load(self, pid):
        """Notes a storage; its numbers come at the end of the file."""
        kind, dtype, name, _, count, *view = pid
        if kind != "storage" or dtype not in _TYPES.values() or any(view):
            raise pickle.UnpicklingError(f"The file asks for {pid!r:.80}.")
        self._storages[name] = dtype, count
        return name


class _Tensor:
    """A part of a storage, to be read when the numbers are there."""

    def __init__(self, storage, offset, shape, strides):
        self._storage, self._offset = storage, offset
        self._shape, self._strides = shape, strides

    def array(self, values):
        """The numbers as an array of their own."""
        flat = values[self._storage]
        places = np.array(self._offset)
        for count, stride in zip(self._shape, self._strides, strict=True):
            places = places[..., None] + np.arange(count) * stride
        if places.size and not 0 <= places.min() <= places.max() < len(flat):
            raise pickle.UnpicklingError("A tensor reaches beyond its storage.")
        return np.array(flat[places])
