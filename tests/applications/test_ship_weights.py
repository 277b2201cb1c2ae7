"""tools/ship_weights.py: from the folder of a run to the file in the package."""

import importlib.util
import json
import pathlib

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from keras_sda.applications import SDAResNet20
from keras_sda.applications.checkpoints.safetensors_weights import to_torch_tensors
from keras_sda.applications.presets.presets import PRESETS
from keras_sda.training.commands.build_classifier import build_classifier
from keras_sda.utils import InvalidInputError

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool():
    path = ROOT / "tools" / "ship_weights.py"
    spec = importlib.util.spec_from_file_location("ship_weights", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    build_classifier(SDAResNet20, 32, 3, 10).save(folder / "model.keras")
    metrics = {
        "model": "SDAResNet20",
        "dataset": "cifar10",
        "accuracy": 0.8871,
        "classes": 10,
        "image_size": 32,
        "num_test": 10_000,
        "recipe": "cifar",
        "seed": 3,
        "epochs": 15,
        "device": "a machine",
        "versions": {"keras": "3", "jax": "0"},
        "options": {
            "model": "SDAResNet20",
            "dataset": "cifar10",
            "seed": 3,
            "ema": False,
            "output": "somewhere",
        },
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_row_and_file(tool, run_dir, tmp_path, capsys):
    row = tool.ship_weights(run_dir, tmp_path)
    assert row.keys() == PRESETS["SDAResNet20"]["weights"]["cifar10"].keys()
    assert row["top1"] == 88.71 and row["seed"] == 3
    assert row["command"] == (
        "keras-sda train --model SDAResNet20 --dataset cifar10 --seed 3 --no-ema"
    )
    model = keras.saving.load_model(run_dir / "model.keras")
    tensors = load_file(tmp_path / "sdaresnet20_cifar10.safetensors")
    for name, value in to_torch_tensors(model).items():
        np.testing.assert_array_equal(tensors[name], value)
    assert tool.main([str(run_dir), "--weights_folder", str(tmp_path)]) == 0
    assert "'cifar10': {'source': 'package'" in capsys.readouterr().out


def test_refusals(tool, run_dir, tmp_path, monkeypatch, capsys):
    assert tool.main([str(tmp_path)]) == 2
    assert "holds no metrics.json" in capsys.readouterr().err
    monkeypatch.setattr(tool, "LIMIT", 1_000_000)
    with pytest.raises(InvalidInputError, match="at most 1,000,000"):
        tool.ship_weights(run_dir, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "metrics.json").write_text((run_dir / "metrics.json").read_text())
    SDAResNet20(depth_attention=False).save(other / "model.keras")
    with pytest.raises(InvalidInputError, match="named network .* depth attention"):
        tool.ship_weights(other, tmp_path / "new")
