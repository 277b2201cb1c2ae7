"""Write a file under a temporary name, then rename it."""

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path` that becomes `path` on success.

    Use it around everything that writes a result, so that a crash, a full disk or a
    kill leaves either the old file or the new one, never half a file.

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
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
