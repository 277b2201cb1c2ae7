"""One process at a time in a folder."""

import contextlib
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator

from keras_sda.utils.invalid_input_error import InvalidInputError

try:
    import fcntl
except ImportError:  # Windows: the process id alone decides.
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".lock"
# Folders that this process holds, by device and file number, and how often.
_HELD: dict[tuple[int, int], list] = {}


@contextlib.contextmanager
def folder_lock(
    folder: str | os.PathLike | None, argument: str = "folder", shared: bool = True
) -> Iterator[None]:
    """Keeps other processes out of a folder until the block ends.

    Use it around everything that writes into the folder of a run. A file `.lock` holds
    the host, the process id and when the process began. The lock of a process that was
    killed is taken over; that of another host cannot be looked at, so the error says
    how to remove it.

    Args:
        folder: Made where it is absent. `None` locks nothing.
        argument: Name of the argument, for the message. Defaults to `"folder"`.
        shared: Whether this process may hold it already, as where one call is made of
            others. Defaults to `True`.

    Raises:
        InvalidInputError: Another process works in the folder; names host and process.
        OSError: The folder cannot be written.

    Example:

    >>> import tempfile
    >>> from keras_sda.utils import folder_lock
    >>> with folder_lock(tempfile.mkdtemp()):
    ...     pass
    """
    if folder is None:
        yield
        return
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    status = folder.stat()
    key = status.st_dev, status.st_ino
    if key in _HELD:
        if not shared:
            raise InvalidInputError(_busy(folder, argument, _myself()))
        _HELD[key][0] += 1
    else:
        _HELD[key] = [1, _acquire(folder, argument)]
    try:
        yield
    finally:
        _HELD[key][0] -= 1
        if not _HELD[key][0]:
            _, descriptor = _HELD.pop(key)
            # Removed while it is held: whoever has opened it meanwhile notices.
            with contextlib.suppress(OSError):
                (folder / LOCK_NAME).unlink(missing_ok=True)
            os.close(descriptor)


def check_not_locked(folder: str | os.PathLike, argument: str = "folder") -> None:
    """Raises where another process of this host works in a folder; changes nothing.

    Use it before long preparations; `folder_lock` decides.

    Args:
        folder: A folder, which may be absent.
        argument: Name of the argument, for the message. Defaults to `"folder"`.

    Raises:
        InvalidInputError: Another process works in the folder.
    """
    owner = _read(pathlib.Path(folder) / LOCK_NAME)
    if owner and owner["pid"] != os.getpid() and _is_alive(owner):
        raise InvalidInputError(_busy(folder, argument, owner))


def _acquire(folder, argument) -> int:
    path = folder / LOCK_NAME
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            is_free = _try_flock(descriptor)
            owner = _read(path)
            if not is_free:
                for _ in range(20):
                    if owner and _is_alive(owner):
                        break
                    # Whoever has just taken it has not written its name yet.
                    time.sleep(0.05)
                    owner = _read(path)
                raise InvalidInputError(_busy(folder, argument, owner))
            if owner and owner["host"] != socket.gethostname():
                raise InvalidInputError(_elsewhere(folder, argument, owner))
            if owner and owner["pid"] != os.getpid() and _is_alive(owner):
                # The file system does not know locks.
                raise InvalidInputError(_busy(folder, argument, owner))
            if not _is_same_file(descriptor, path):
                os.close(descriptor)  # the one before has just removed it
                continue
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_myself()).encode(), 0)
            os.fsync(descriptor)
            return descriptor
        except BaseException:
            os.close(descriptor)
            raise


def _try_flock(descriptor) -> bool:
    """Whether nobody holds it; also where the file system cannot tell."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_same_file(descriptor, path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _myself() -> dict:
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "began": _began(pid)}


def _read(path) -> dict | None:
    """Whose lock it is; None where that cannot be read, as after a kill."""
    try:
        owner = json.loads(path.read_text())
        return {**owner, "host": str(owner["host"]), "pid": int(owner["pid"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_alive(owner) -> bool:
    """Whether the process of a lock of this host is still the same one."""
    if owner["host"] != socket.gethostname() or owner["pid"] <= 0:
        return False
    try:
        os.kill(owner["pid"], 0)
    except PermissionError:
        pass  # it is there, and of another user
    except (OSError, OverflowError):
        return False
    # Process ids are used again; the time of the start tells them apart.
    began = _began(owner["pid"])
    return None in (began, owner.get("began")) or began == owner["began"]


def _began(pid) -> str | None:
    """When a process began, as Linux counts it since the boot with that name."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {stat.rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return None


def _busy(folder, argument, owner) -> str:
    who = "another process"
    if owner:
        who = f"process {owner['pid']} on host {owner['host']}"
        if owner["pid"] == os.getpid():
            who = f"this process ({owner['pid']} on host {owner['host']})"
    return (
        f"`{argument}` {folder} is in use: {who} works in it. Wait until it is done, "
        "end it, or name another folder."
    )


def _elsewhere(folder, argument, owner) -> str:
    path = pathlib.Path(folder) / LOCK_NAME
    return (
        f"`{argument}` {folder} is in use: process {owner['pid']} on host "
        f"{owner['host']} works in it, and cannot be seen from this host. If that "
        f"process has ended, delete {path} and start again."
    )
