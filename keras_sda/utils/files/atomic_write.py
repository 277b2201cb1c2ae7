"""Write a file under a temporary name, then rename it."""

import contextlib
import errno
import os
import pathlib
import re
import uuid
from collections.abc import Iterator

_CANNOT_FLUSH = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EROFS)
_TEMPORARY = re.compile(r"\..+-[0-9a-f]{8}(\.[^.]+){0,2}")


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path` that becomes `path` on success.

    Use it around everything that writes a result, so that a crash, a full disk, a kill
    or a power cut leaves either the old file or the new one, never half a file.

    Args:
        path: The file to write. Its folder is created when missing. The temporary
            name keeps the suffix, because Keras picks the format by it.

    Yields:
        `pathlib.Path`, the temporary file to write to.

    Raises:
        OSError: The folder cannot be created or written.

    Example:

    >>> import pathlib, tempfile
    >>> from keras_sda.utils import atomic_write
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "metrics.json"
    >>> with atomic_write(target) as temporary:
    ...     _ = temporary.write_text("{}")
    >>> target.read_text()
    '{}'
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes[-2:])
    stem = path.name.removesuffix(suffix)
    temporary = path.with_name(f".{stem}-{uuid.uuid4().hex[:8]}{suffix}")
    try:
        yield temporary
        # The bytes have to be on the disk before the name is.
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(path: pathlib.Path) -> bool:
    """Whether a file is one that `atomic_write` left behind when it was killed.

    Args:
        path: Any path; only its name counts.
    """
    return _TEMPORARY.fullmatch(path.name) is not None


def _flush(path):
    """Sends a file or the names in a folder to the disk, where that can be done."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # a folder on Windows
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot do it for a folder, or at all; a full disk counts.
        if error.errno not in _CANNOT_FLUSH:
            raise
    finally:
        os.close(descriptor)
