"""The converter of PyTorch checkpoints; what needs PyTorch is skipped without it."""

import importlib.util
import pathlib
import pickle

import numpy as np
import pytest
from safetensors.numpy import load_file

from keras_sda.applications import SDAResNet, load_weights
from keras_sda.applications.checkpoints.safetensors_weights import to_torch_tensors
from keras_sda.utils import InvalidInputError

TOOL = pathlib.Path(__file__).parents[2] / "tools" / "convert_torch_checkpoint.py"
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="needs PyTorch, which keras_sda does not install",
)
DEPTHS, WIDTH, GROUPS, CLASSES = [2, 3], 8, 4, 5

# A network under the authors' names, of the specification's text.
NETWORK = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, inputs, planes, stride, groups):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if stride != 1 or inputs != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False),
                nn.BatchNorm2d(4 * planes),
            )

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return y + (x if self.downsample is None else self.downsample(x))

class Stage(nn.Module):
    def __init__(self, inputs, planes, blocks, stride, groups, least):
        super().__init__()
        outputs = 4 * planes
        width = max(outputs // 16, least)
        self.layers = nn.ModuleList(
            Block(outputs if i else inputs, planes, 1 if i else stride, groups)
            for i in range(blocks)
        )
        self.fc = nn.Sequential(
            nn.Conv2d(outputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.fcs = nn.ModuleList(nn.Conv2d(width, outputs, 1) for _ in range(blocks))

    def forward(self, x):
        maps = []
        for layer in self.layers:
            maps.append(layer(x))
            x = torch.relu(maps[-1])
        v = self.fc(sum(maps).mean((2, 3), keepdim=True))
        a = torch.softmax(torch.stack([fc(v) for fc in self.fcs]), 0)
        return torch.relu(sum(w * z for w, z in zip(a, maps)))

class Network(nn.Module):
    def __init__(self, depths, width, groups, least, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for i, blocks in enumerate(depths):
            planes, stride = width * 2**i, 2 if i else 1
            stage = Stage(inputs, planes, blocks, stride, groups, least)
            setattr(self, f"stage{i + 1}", stage)
            inputs = 4 * planes
        self.bn2 = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, classes)
        self.num_stages = len(depths)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        for i in range(self.num_stages):
            x = getattr(self, f"stage{i + 1}")(x)
        x = self.bn2(x.mean((2, 3), keepdim=True)).flatten(1)
        return self.fc(x)

def tiny():
    torch.manual_seed(0)
    model = Network([2, 3], 8, 4, 8, 5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.running_var):
                nn.init.uniform_(value, 0.5, 1.5)
            for value in (module.bias, module.running_mean):
                nn.init.normal_(value, 0.0, 0.3)
    return model
"""


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("convert_torch_checkpoint", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def network(tmp_path, monkeypatch):
    """The folder of the module `sda_tiny_network`, importable, and its network."""
    (tmp_path / "sda_tiny_network.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    spec = importlib.util.spec_from_file_location(
        "sda_tiny_network", tmp_path / "sda_tiny_network.py"
    )
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "sda_tiny_network", module)
    spec.loader.exec_module(module)
    return module.tiny()


def keras_network(**options):
    return SDAResNet(
        DEPTHS,
        groups=GROUPS,
        base_width=WIDTH,
        stem_width=WIDTH,
        min_width=8,
        classes=CLASSES,
        input_shape=(64, 64, 3),
        classifier_activation=None,
        **options,
    )


class Evil:
    """Opens (and so creates) a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@needs_torch
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_outputs_agree_with_torch(tool, network, tmp_path, wrapper, prefix):
    import torch

    if prefix:
        state = torch.nn.DataParallel(network).state_dict()
        assert all(name.startswith(prefix) for name in state)
    else:
        state = network.state_dict()
    content = {wrapper: state, "epoch": 3} if wrapper else state
    torch.save(content, tmp_path / "in.pth")
    lines = []
    tool.convert(tmp_path / "in.pth", tmp_path / "out.safetensors", log=lines.append)
    model = keras_network()
    tensors = load_file(tmp_path / "out.safetensors")
    assert set(tensors) == set(to_torch_tensors(model))
    assert tool.compare_names(model, tensors).fits
    load_weights(model, tmp_path / "out.safetensors")
    difference, largest = tool.output_difference(network, model)
    assert difference < 1e-4 * max(1, largest) and largest > 0.1
    counters = sum(name.endswith("num_batches_tracked") for name in state)
    assert any(f"left out: {counters} counters" in line for line in lines)


@needs_torch
def test_command_line_with_both_networks(tool, network, tmp_path, capsys, monkeypatch):
    import torch

    torch.save(network.state_dict(), tmp_path / "in.pth")
    monkeypatch.setattr(
        tool, "build_keras_model", lambda name, tensors: keras_network()
    )
    arguments = [str(tmp_path / "in.pth"), str(tmp_path / "out.safetensors")]
    arguments += ["--model", "sdaresnet86"]
    status = tool.main([*arguments, "--torch_model", "sda_tiny_network:tiny"])
    text = capsys.readouterr().out
    assert status == 0 and "network: SDAResNet86\n" in text
    number = len(to_torch_tensors(keras_network()))
    assert f"mapped: {number} tensors" in text
    assert "left over in the file: nothing" in text
    assert "missing from the file: nothing" in text
    assert "largest difference of the outputs on a random image" in text
    assert (tmp_path / "out.safetensors").is_file()

    # The file exists now.
    assert tool.main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert tool.main([*arguments, "--overwrite"]) == 0


@needs_torch
def test_torch_network_that_computes_something_else(
    tool, network, tmp_path, capsys, monkeypatch
):
    import sys

    import torch

    torch.save(network.state_dict(), tmp_path / "in.pth")
    module = sys.modules["sda_tiny_network"]
    monkeypatch.setattr(
        module.Network, "forward", lambda self, x: self.fc(x.mean().expand(1, 64))
    )
    monkeypatch.setattr(
        tool, "build_keras_model", lambda name, tensors: keras_network()
    )
    out = tmp_path / "out.safetensors"
    arguments = [str(tmp_path / "in.pth"), str(out), "--model", "SDAResNet86"]
    for name, text in (
        ("sda_tiny_network:tiny", "other outputs"),
        ("sda_tiny_network:huge", "cannot be imported"),
        ("no_such_module:tiny", "cannot be imported"),
        ("tiny", "package.module:function"),
        ("os:getcwd", "torch.nn.Module"),
    ):
        assert tool.main([*arguments, "--torch_model", name]) == 2
        error = capsys.readouterr().err
        assert text in error and error.count("\n") == 1, error
        assert list(tmp_path.glob("*.safetensors")) == []


@needs_torch
@pytest.mark.parametrize("kind", ["zip", "legacy", "raw"])
def test_malicious_pickle_is_refused_and_not_run(tool, tmp_path, capsys, kind):
    import torch

    made, path = tmp_path / "made_by_the_pickle", tmp_path / "in.pth"
    content = {"state_dict": Evil(str(made))}
    if kind == "raw":
        path.write_bytes(pickle.dumps(content, protocol=4))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    made.unlink(missing_ok=True)
    assert tool.main([str(path), str(tmp_path / "out.safetensors")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "torch.save(model.state_dict()" in error
    assert not made.exists()
    assert not (tmp_path / "out.safetensors").exists()
    if kind != "raw":
        assert "nothing was run" in error


@needs_torch
@pytest.mark.parametrize("parallel", [False, True])
def test_whole_model_is_refused(tool, network, tmp_path, parallel):
    import torch

    model = torch.nn.DataParallel(network) if parallel else network
    torch.save(model, tmp_path / "in.pth")
    with pytest.raises(InvalidInputError, match="whole pickled model") as info:
        tool.read_state_dict(tmp_path / "in.pth")
    asked_for = "DataParallel" if parallel else "sda_tiny_network.Network"
    assert asked_for in str(info.value)
    assert "torch.save(model.state_dict(), 'state_dict.pth')" in str(info.value)


@needs_torch
def test_contents_that_cannot_be_used(tool, tmp_path):
    import torch

    one, path = torch.ones(2), tmp_path / "in.pth"
    for content, text in (
        ({"a": one, "lr": 0.1}, r"no plain tensors.*lr \(float\)"),
        ({"a": one * float("nan"), "b": one / 0}, "NaN or infinity.*2: a, b"),
        ({"a.b": one, "module.a.b": one}, "twice.*1: a.b"),
        ({"a": one.to_sparse()}, "no plain tensors"),
        ({"a": one * 1j}, "no plain tensors"),
        ({}, "empty"),
        ({"state_dict": {}}, "empty"),
        ([one], "no state dict but one list"),
        (one, "no state dict but one Tensor"),
    ):
        torch.save(content, path)
        with pytest.raises(InvalidInputError, match=text):
            tool.read_state_dict(path)


@needs_torch
def test_files_that_cannot_be_read(tool, network, tmp_path):
    import torch

    path = tmp_path / "in.pth"
    torch.save(network.state_dict(), path)
    whole = path.read_bytes()
    scripted = tmp_path / "script.pth"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), scripted)
    for content, text in (
        (whole[: len(whole) // 2], "cannot be read"),
        (b"hello", "cannot be read"),
        (b"", "cannot be read"),
        (scripted.read_bytes(), "TorchScript"),
    ):
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match=text):
            tool.read_state_dict(path)
    with pytest.raises(InvalidInputError, match="not a file"):
        tool.read_state_dict(tmp_path / "absent.pth")


@needs_torch
def test_half_precision_and_views_become_plain_float32(tool, tmp_path):
    import torch

    base = torch.arange(6.0).reshape(2, 3)
    torch.save({"a": base.T, "b": base[:1], "c": base.bfloat16()}, tmp_path / "in.pth")
    tool.convert(tmp_path / "in.pth", tmp_path / "o.safetensors", log=lambda text: None)
    tensors = load_file(tmp_path / "o.safetensors")
    assert {value.dtype.name for value in tensors.values()} == {"float32"}
    np.testing.assert_array_equal(tensors["a"], base.numpy().T)
    np.testing.assert_array_equal(tensors["b"], base.numpy()[:1])


@needs_torch
def test_network_is_guessed_and_checked(tool, tmp_path, capsys):
    import torch

    from keras_sda.applications import SDAResNet20

    tensors = to_torch_tensors(SDAResNet20(classes=7))
    state = {name: torch.from_numpy(value.copy()) for name, value in tensors.items()}
    torch.save(state, tmp_path / "in.pth")
    arguments = [str(tmp_path / "in.pth"), str(tmp_path / "out.safetensors")]
    assert tool.main(arguments) == 0
    text = capsys.readouterr().out
    assert "network: SDAResNet20 (guessed" in text
    assert f"mapped: {len(tensors)} tensors" in text
    model = SDAResNet20(classes=7, weights=tmp_path / "out.safetensors")
    np.testing.assert_array_equal(
        to_torch_tensors(model)["fc.weight"], tensors["fc.weight"]
    )
    # Another network: named, and nothing is written.
    (tmp_path / "out.safetensors").unlink()
    assert tool.main([*arguments, "--model", "SDAResNet32"]) == 2
    out, error = capsys.readouterr()
    assert "missing from the file: " in out and "stage1.layers.3" in out
    assert "SDAResNet20" in error and "does not fit SDAResNet32" in error
    assert not (tmp_path / "out.safetensors").exists()


def test_wrong_arguments(tool, tmp_path, capsys):
    source, out = tmp_path / "in.pth", tmp_path / "out.safetensors"
    source.write_bytes(b"x")
    for arguments, text in (
        ([source, tmp_path / "out.h5"], ".safetensors"),
        ([source, out, "--model", "SDASENet68"], "SDASENet86"),
        ([source, out, "--model", "ResNet50"], "keras.applications"),
        ([tmp_path / "absent.pth", out], "absent.pth"),
    ):
        assert tool.main([str(word) for word in arguments]) == 2
        error = capsys.readouterr().err
        assert text in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == [source]


def test_without_torch(tmp_path, run_python):
    (tmp_path / "in.pth").write_bytes(b"x")
    words = ["convert", str(tmp_path / "in.pth"), str(tmp_path / "out.safetensors")]
    code = f"""
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
sys.argv = {words!r}
runpy.run_path({str(TOOL)!r}, run_name="__main__")
"""
    result = run_python(code, {"KERAS_BACKEND": "numpy"}, check=False)
    assert result.returncode == 2
    assert "pip install torch" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
