"""One process at a time in a folder; locks of killed processes do not count."""

import json
import os
import signal
import socket

import pytest

from keras_sda.utils import InvalidInputError, folder_lock
from keras_sda.utils.files.folder_lock import LOCK_NAME, check_not_locked

HOST = socket.gethostname()


class Other:
    """Another process that holds a folder."""

    def __init__(self, folder):
        ready, tell = os.pipe()
        self.pid = os.fork()
        if not self.pid:  # Nothing of TensorFlow runs in the child.
            try:
                with folder_lock(folder):
                    os.write(tell, b"x")
                    signal.pause()
            finally:
                os._exit(1)
        os.read(ready, 1)
        os.close(ready)
        os.close(tell)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def lock_of(folder, **changes):
    """Writes the lock that a process could have left; nobody holds it."""
    content = {"host": HOST, "pid": os.getppid(), "began": None, **changes}
    (folder / LOCK_NAME).write_text(json.dumps(content))


def test_another_process_is_named_and_a_killed_one_is_not_waited_for(tmp_path):
    other = Other(tmp_path)
    try:
        for attempt in (
            lambda: folder_lock(tmp_path, "output").__enter__(),
            lambda: check_not_locked(tmp_path, "output"),
        ):
            with pytest.raises(InvalidInputError) as error:
                attempt()
            text = str(error.value)
            assert f"`output` {tmp_path} is in use" in text
            assert f"process {other.pid} on host {HOST}" in text
    finally:
        other.kill()
    # What it left does not keep anybody out.
    assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == other.pid
    check_not_locked(tmp_path)
    with folder_lock(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_released_after_an_error_and_shared_within_a_process(tmp_path):
    with pytest.raises(KeyError), folder_lock(tmp_path / "new" / "er"):
        raise KeyError
    folder = tmp_path / "new" / "er"
    assert folder.is_dir() and not list(folder.iterdir())
    with folder_lock(folder):
        with folder_lock(folder):
            pass
        assert (folder / LOCK_NAME).exists()
        with pytest.raises(InvalidInputError, match=f"this process .{os.getpid()}"):
            folder_lock(folder, shared=False).__enter__()
    assert not list(folder.iterdir())
    with folder_lock(None):
        pass


def test_a_number_that_was_used_again(tmp_path):
    """The process id is alive, but began at another time: the lock is a dead one's."""
    lock_of(tmp_path, began="another boot 123")
    check_not_locked(tmp_path)
    with folder_lock(tmp_path):
        pass


def test_alive_where_the_disk_knows_no_locks(tmp_path):
    lock_of(tmp_path)
    with pytest.raises(InvalidInputError, match=f"process {os.getppid()} on host"):
        folder_lock(tmp_path).__enter__()
    assert (tmp_path / LOCK_NAME).is_file()


def test_another_host_says_how_to_go_on(tmp_path):
    lock_of(tmp_path, host="elsewhere", pid=12)
    with pytest.raises(InvalidInputError) as error:
        folder_lock(tmp_path).__enter__()
    assert "process 12 on host elsewhere" in str(error.value)
    assert f"delete {tmp_path / LOCK_NAME}" in str(error.value)
    (tmp_path / LOCK_NAME).unlink()
    with folder_lock(tmp_path):
        pass


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"host": 1}', '{"host": "a", "pid": "b"}']
)
def test_half_a_lock_of_a_killed_process(content, tmp_path):
    (tmp_path / LOCK_NAME).write_text(content)
    check_not_locked(tmp_path)
    with folder_lock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_dead_numbers(tmp_path):
    for pid in (2**22 + 7, 2**70, 0 - 2**40):
        lock_of(tmp_path, pid=pid)
        with folder_lock(tmp_path):
            pass
