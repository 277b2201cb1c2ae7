"""State dicts in PyTorch's old format are read, and nothing in them is run."""

import collections
import importlib
import io
import os
import pathlib
import pickle
import struct
import sys
import types

import numpy as np
import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
MAGIC = 0x1950A86A20F9469CFC6C


@pytest.fixture
def read(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("legacy_torch").read_legacy_state_dict


@pytest.fixture
def torch(monkeypatch):
    """Just enough of names for a pickle to ask for; made up, not PyTorch."""
    module, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    module._utils = utils
    utils._rebuild_tensor_v2 = types.FunctionType(
        (lambda *arguments: arguments).__code__, {}, "_rebuild_tensor_v2"
    )
    utils._rebuild_tensor_v2.__module__ = "torch._utils"
    utils._rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    for name in ("FloatStorage", "LongStorage", "QInt8Storage"):
        setattr(module, name, type(name, (), {"__module__": "torch"}))
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return module


class Storage:
    """Numbers of one type."""

    def __init__(self, kind, key, values):
        self.kind, self.key, self.values = kind, key, np.asarray(values)


class Tensor:
    """A part of a storage."""

    def __init__(self, rebuild, *arguments):
        self.rebuild, self.arguments = rebuild, arguments

    def __reduce__(self):
        return self.rebuild, (*self.arguments, False, collections.OrderedDict())


class Pickler(pickle.Pickler):
    """Leaves storages out, as PyTorch does."""

    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return ("storage", obj.kind, obj.key, "cpu", len(obj.values), None)
        return None


def written(path, content, storages=()):
    file = io.BytesIO()
    for part in (MAGIC, 1001, {"little_endian": True}):
        pickle.dump(part, file, protocol=2)
    Pickler(file, protocol=2).dump(content)
    pickle.dump([storage.key for storage in storages], file, protocol=2)
    for storage in storages:
        file.write(struct.pack("<q", len(storage.values)))
        file.write(storage.values.tobytes())
    path.write_bytes(file.getvalue())
    return path


def test_tensors_with_their_shapes_strides_and_attributes(read, torch, tmp_path):
    numbers = Storage(torch.FloatStorage, "0", np.arange(10, dtype="<f4"))
    counts = Storage(torch.LongStorage, "1", np.array([7], "<i8"))
    rebuild = torch._utils._rebuild_tensor_v2
    content = collections.OrderedDict(
        kernel=Tensor(rebuild, numbers, 1, (2, 3), (3, 1)),
        turned=Tensor(rebuild, numbers, 1, (3, 2), (1, 3)),
        seen=Tensor(rebuild, counts, 0, (), ()),
    )
    content._metadata = {"": {"version": 1}}
    path = written(tmp_path / "a.pth", content, (numbers, counts))
    found = read(path)
    assert list(found) == ["kernel", "turned", "seen"]
    assert found["kernel"].dtype == np.float32
    np.testing.assert_array_equal(found["kernel"], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(found["turned"], found["kernel"].T)
    assert found["seen"].shape == () and found["seen"] == 7
    found["kernel"][:] = 0  # an array of its own
    assert found["turned"].any()


class Evil:
    """Asks for a command to be run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("place", ["first", "inside"])
def test_nothing_that_a_file_asks_for_is_run(place, read, tmp_path):
    mark = tmp_path / "was_run"
    if place == "inside":
        path = written(tmp_path / "a.pth", {"kernel": Evil(mark)})
    else:
        path = tmp_path / "a.pth"
        path.write_bytes(pickle.dumps(Evil(mark), protocol=2))
    with pytest.raises(pickle.UnpicklingError, match=r"asks for (posix|nt)\.system"):
        read(path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["eval", "getattr", "__import__"])
def test_builtins_are_refused(name, read, tmp_path):
    class Asks:
        def __reduce__(self):
            return __builtins__[name], ("1",)

    path = written(tmp_path / "a.pth", {"kernel": Asks()})
    with pytest.raises(pickle.UnpicklingError, match=name):
        read(path)


def test_a_tensor_beyond_its_storage_is_refused(read, torch, tmp_path):
    numbers = Storage(torch.FloatStorage, "0", np.arange(4, dtype="<f4"))
    tensor = Tensor(torch._utils._rebuild_tensor_v2, numbers, 2, (3,), (1,))
    path = written(tmp_path / "a.pth", {"kernel": tensor}, (numbers,))
    with pytest.raises(pickle.UnpicklingError, match="beyond its storage"):
        read(path)


def test_other_files_are_refused(read, torch, tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(pickle.dumps({"kernel": 1}, protocol=2))
    with pytest.raises(pickle.UnpicklingError, match="no state dict"):
        read(path)
    with pytest.raises(pickle.UnpicklingError, match="more than tensors"):
        read(written(path, {"kernel": 1}))
    strange = Storage(torch.QInt8Storage, "0", np.zeros(2, "i1"))
    tensor = Tensor(torch._utils._rebuild_tensor_v2, strange, 0, (2,), (1,))
    with pytest.raises(pickle.UnpicklingError, match="QInt8Storage"):
        read(written(path, {"kernel": tensor}, (strange,)))
