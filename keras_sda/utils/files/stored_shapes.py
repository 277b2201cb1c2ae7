"""What an HDF5 file claims to hold, found out without reading it."""

import math
import os

from keras_sda.utils.invalid_input_error import InvalidInputError

# A file may claim this much more than it stores: fill values and compression.
_EXPANSION = 100
_ALWAYS = 1 << 26  # bytes


def stored_shapes(file, name: str) -> dict:
    """Returns the arrays of an open HDF5 file after checking their sizes.

    Use it before anything reads an array: a file of some kilobytes can claim
    terabytes, all of which would be asked for when it is read.

    Args:
        file: An open `h5py.File`.
        name: Name of the file, for the message.

    Returns:
        `h5py.Dataset` by path, not read.

    Raises:
        InvalidInputError: The arrays are larger than the memory or than anything that
            the file can hold, or are kept in other files.

    Example:

    >>> import h5py, tempfile
    >>> from keras_sda.utils.files.stored_shapes import stored_shapes
    >>> with h5py.File(tempfile.mkdtemp() + "/a.h5", "w") as file:
    ...     _ = file.create_dataset("kernel", (2, 3))
    ...     [array.shape for array in stored_shapes(file, "a.h5").values()]
    [(2, 3)]
    """
    import h5py

    found = {}

    def collect(path, item):
        if isinstance(item, h5py.Dataset):
            found[path] = item

    file.visititems(collect)
    for path, array in found.items():
        if array.external or array.is_virtual:
            raise InvalidInputError(
                f"File {name}: the array {path!r} is kept in another file. Write the "
                "weights anew with Keras."
            )
    claimed = sum(math.prod(x.shape) * x.dtype.itemsize for x in found.values())
    stored = sum(x.id.get_storage_size() for x in found.values())
    if claimed > max(_EXPANSION * stored, _ALWAYS):
        raise InvalidInputError(
            f"File {name} claims arrays of {_size(claimed)} and stores "
            f"{_size(stored)}: it is damaged or made to exhaust the memory. Copy it "
            "again, or write it anew with Keras."
        )
    if claimed > memory_bytes():
        raise InvalidInputError(
            f"File {name} holds arrays of {_size(claimed)}, more than this machine has "
            f"memory ({_size(memory_bytes())})."
        )
    return found


def memory_bytes() -> int:
    """The memory of this machine; without limit where it cannot be told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 62


def _size(count):
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
