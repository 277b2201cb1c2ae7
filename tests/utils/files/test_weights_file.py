"""Weight files are whole or absent: errors, signals, kills and full disks."""

import contextlib
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

import h5py
import keras
import numpy as np
import pytest

from keras_sda.utils import InvalidInputError, WeightsFile, load_model, save_model
from keras_sda.utils.files import weights_file as module
from keras_sda.utils.files.atomic_write import atomic_write, is_temporary
from keras_sda.utils.hold_interrupts import hold_interrupts


def network(units=2, scale=1.0):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    for variable in (*model.weights, *model.optimizer.variables[2:]):
        variable.assign(np.full(variable.shape, scale))
    return model


def values(model):
    return [np.array(x) for x in (*model.weights, *model.optimizer.variables)]


@pytest.fixture
def file(tmp_path):
    """A complete file of epoch 1."""
    written = WeightsFile(tmp_path / "latest.weights.h5")
    written.write(network(), 1)
    return written


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, SystemExit])
def test_interrupted_at_every_call(error, file, monkeypatch):
    """Whatever call to the system fails: the old file or the new one, and no other."""
    old = file.path.read_bytes()
    new = module._content(network(scale=2.0), 2)
    monkeypatch.setattr(module, "_content", lambda *_: new)
    reached = []
    calls = [(os, "open"), (os, "fsync"), (os, "replace"), (os, "close")]
    calls += [(pathlib.Path, "mkdir"), (pathlib.Path, "write_bytes")]
    for (place, name), count, late in itertools.product(calls, range(3), (False, True)):
        file.path.write_bytes(old)
        original, left = getattr(place, name), [count]

        def fail(*arguments, original=original, left=left, late=late, **named):
            left[0] -= 1
            if left[0] < 0 and not late:
                left[0] = 1000
                raise error(28, "No space left on device")
            result = original(*arguments, **named)
            if left[0] < 0:
                left[0] = 1000
                raise error(28, "No space left on device")
            return result

        raised = False
        with monkeypatch.context() as patch:
            patch.setattr(place, name, fail)
            try:
                file.write(None, 2)
            except error:
                raised = True
        reached.append(raised)
        assert names(file.path.parent) == [file.path.name]
        found = file.path.read_bytes()
        assert found == new or (raised and found == old)
    assert sum(reached) > 10


def test_every_missing_variable_is_noticed(file):
    whole = file.path.read_bytes()
    with h5py.File(file.path) as opened:
        found = []
        opened.visititems(
            lambda name, item: (
                found.append(name) if isinstance(item, h5py.Dataset) else None
            )
        )
    assert len(found) == 6
    model = network(scale=5.0)
    before = values(model)
    for name in found:
        file.path.write_bytes(whole)
        with h5py.File(file.path, "r+") as opened:
            del opened[name]
        assert "5 of 6 variables" in file.problem(model)
        with pytest.raises(InvalidInputError, match="5 of 6 variables"):
            file.read(model)
    for keep in (0, 100, len(whole) // 2, len(whole) - 1):
        file.path.write_bytes(whole[:keep])
        assert "cannot be read" in file.problem(model)
        with pytest.raises(InvalidInputError, match="cannot be read"):
            file.read(model)
    file.path.unlink()
    assert "cannot be read" in file.problem(model)
    for a, b in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_models_are_errors(file):
    deeper = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    deeper.add(keras.layers.Dense(2))
    for model, text in (
        (network(units=4), r"has the shape \(3, 2\), not \(3, 4\)"),
        (
            keras.Sequential([keras.Input((3,)), keras.layers.ReLU()]),
            "not in the model",
        ),
    ):
        with pytest.raises(InvalidInputError, match=text):
            file.problem(model)
    assert "2 of 4 variables" in file.problem(deeper)
    # An optimizer of another kind, and weights alone for a compiled model.
    adam = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    adam.compile("adam", "mse")
    adam.optimizer.build(adam.trainable_variables)
    with pytest.raises(InvalidInputError, match="another model or optimizer"):
        file.problem(adam)
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    assert file.read(plain) == 1
    file.write(plain)
    assert file.epoch is None and "of 6 variables" in file.problem(network())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_many_moments(number, file):
    """Real signals: each comes through, none leaves half a file."""

    class Stop(BaseException):
        pass

    def stop(*_):
        raise Stop

    before = signal.signal(number, stop)
    model, stopped = network(scale=2.0), 0
    delays = np.random.default_rng(0).uniform(0, 0.03, 15)
    try:
        for delay in delays:
            sender = threading.Timer(delay, os.kill, (os.getpid(), number))
            try:
                sender.start()
                while True:
                    file.write(model, 7)
            except Stop:
                stopped += 1
            sender.join()
            assert file.problem() == ""
    finally:
        signal.signal(number, before)
    # On a slow machine it may be that none came to its end.
    assert stopped == len(delays) and file.read(model) in (1, 7)
    assert names(file.path.parent) == [file.path.name]


@pytest.fixture
def interrupts():
    """Tests in the background of a shell start with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_held_signals_come_afterwards(interrupts):
    done = []
    with pytest.raises(KeyboardInterrupt):
        with hold_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            done.append(1)
        done.append(2)
    assert done == [1]
    # Elsewhere than in the main thread there is nothing to hold.
    thread = threading.Thread(target=lambda: contextlib.ExitStack().enter_context(
        hold_interrupts()))  # fmt: skip
    thread.start()
    thread.join()


def test_kills_at_many_moments(file, monkeypatch):
    """SIGKILL leaves a whole file, and at most a temporary one known as such."""
    model = network()
    content = module._content(model, 3)
    monkeypatch.setattr(module, "_content", lambda *_: content)
    generator = np.random.default_rng(1)
    left = 0
    for _ in range(15):
        pid = os.fork()
        if not pid:  # Nothing of TensorFlow runs in the child.
            try:
                while True:
                    file.write(None, 3)
            finally:
                os._exit(1)
        time.sleep(generator.uniform(0.001, 0.02))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert file.problem() == "" and file.epoch in (1, 3)
        others = [path for path in file.path.parent.iterdir() if path != file.path]
        left += len(others)
        assert all(map(is_temporary, others))
        for path in others:
            path.unlink()


@pytest.fixture
def full_disk(tmp_path):
    """A disk of a megabyte."""
    if os.geteuid():
        pytest.skip("needs root, to mount a tmpfs")
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk(full_disk):
    """One error that can be caught; what was there stays and can be replaced later."""
    model = keras.Sequential([keras.Input((200,)), keras.layers.Dense(200)])
    file, saved = WeightsFile(full_disk / "a.weights.h5"), full_disk / "model.keras"
    file.write(model, 1)
    save_model(model, saved)
    ballast = full_disk / "ballast"
    for free in (100_000, 0):
        with contextlib.suppress(OSError), ballast.open("wb") as opened:
            while shutil.disk_usage(full_disk).free > free:
                opened.write(b"x" * 4096)
                opened.flush()
        with pytest.raises(OSError, match="No space left"):
            file.write(model, 2)
        with pytest.raises(OSError, match="No space left"):
            save_model(model, saved)
        assert file.problem(model) == "" and file.epoch == 1
        assert load_model(saved).count_params() == model.count_params()
        ballast.unlink()
        assert names(full_disk) == ["a.weights.h5", "model.keras"]
    file.write(model, 2)
    assert file.read(model) == 2


def test_temporaries_of_atomic_write_are_known(tmp_path):
    for name in ("latest.weights.h5", "model.keras", "labels", "options.json"):
        with atomic_write(tmp_path / name) as temporary:
            assert is_temporary(temporary) and not is_temporary(tmp_path / name)
            temporary.write_text("x")
    for name in (".lock", ".hidden.json", ".probe-0a1b2c3d4", ".a-0a1b2c3.json"):
        assert not is_temporary(tmp_path / name)
