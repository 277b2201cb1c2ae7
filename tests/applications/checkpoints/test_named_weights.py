"""Weights with a name: what there is, how it gets here, what it may be used for."""

import subprocess
import sys
import zipfile

import huggingface_hub
import numpy as np
import pytest
from absl import logging
from applications.timm_checkpoints import checkpoint
from huggingface_hub import constants
from safetensors.numpy import load_file, save_file

from keras_sda import applications
from keras_sda.applications import SDAResNet20, preprocess_input
from keras_sda.applications.checkpoints.download_weights import download_weights
from keras_sda.applications.checkpoints.load_weights import load_weights
from keras_sda.applications.checkpoints.named_weights import (
    WEIGHTS_FOLDER,
    weight_names,
)
from keras_sda.applications.checkpoints.safetensors_weights import to_torch_tensors
from keras_sda.applications.presets.presets import PRESETS
from keras_sda.utils import InvalidInputError

SOURCES = [
    (network, name, source)
    for network, row in PRESETS.items()
    for name, source in row.get("weights", {}).items()
]
RESNET50 = PRESETS["SDAResNet50"]["weights"]["imagenet"]
SHIPPED = [item for item in SOURCES if item[2]["source"] == "package"]


@pytest.mark.parametrize("network, name, source", SOURCES)
def test_rows(network, name, source):
    assert source["layout"] in ("timm", "authors")
    assert 50 < source["top1"] < 100
    assert source["classes"] in (10, 1000)
    if source["licence"] == "unknown":
        assert name != "imagenet" and "licence" in source["note"]
    else:
        assert source["licence"] in ("apache-2.0", "bsd-3-clause", "mit")
    # One preprocessing for all, and preprocess_input does it.
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 2, 2, 3))
    mean, std = (source["preprocessing"][key] for key in ("mean", "std"))
    expected = (pixels / 255 - mean) / std
    np.testing.assert_allclose(preprocess_input(pixels.copy()), expected, rtol=1e-6)
    documentation = getattr(applications, network).__doc__
    assert name in documentation and str(source["top1"]) in documentation


def test_the_networks_that_have_weights():
    assert set(weight_names()["imagenet"]) == {
        "SDAResNet50",
        "SDAResNet101",
        "SDAResNet152",
        "SDASENet50",
    }
    info = applications.model_info("sdaresnet50")
    assert info["name"] == "SDAResNet50"
    assert info["weights"]["imagenet"]["repository"] == "timm/resnet50.a1_in1k"
    info["weights"].clear()
    assert PRESETS["SDAResNet50"]["weights"]
    assert applications.model_info("SDACBAM86")["weights"] == {}
    with pytest.raises(InvalidInputError, match="`name` must be one of"):
        applications.model_info("SDAResNet51")


@pytest.mark.parametrize(
    "build, text",
    [
        (
            lambda: SDAResNet20(weights="imagenet"),
            "No weights are published under 'imagenet' for SDAResNet20. SDAResNet20 "
            "has 'cifar10'.*'imagenet' for SDAResNet50, ",
        ),
        (
            lambda: applications.SDAPyConv50(weights="imagenet"),
            "No weights are published under 'imagenet' for SDAPyConv50. There are",
        ),
        (
            lambda: applications.SDARes2Net50(weights="imagenet"),
            "has 'timm/res2net50_26w_4s.in1k' .licence: unknown.. The card names no",
        ),
        (
            lambda: applications.SDAResNet([1, 2], weights="imagenet"),
            "belong to a named network",
        ),
        (
            lambda: SDAResNet20(weights="cifar10", input_shape=(32, 32, 1)),
            "3 channels .RGB.. Received: a model for 1",
        ),
        (
            lambda: SDAResNet20(weights="cifar10", depth_attention=False),
            "fits SDAResNet20, and the model is SDAResNet20 with depth_attention=False",
        ),
        (
            lambda: SDAResNet20(weights="imagnet"),
            "must be None, 'cifar10' or .*Did you mean 'imagenet'",
        ),
    ],
)
def test_names_that_do_not_fit(build, text):
    with pytest.raises(InvalidInputError, match=text):
        build()


def test_generic_constructor_and_preprocessing_inside():
    """The network is recognised by its layers, not by how it was built."""
    import keras

    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    model = SDAResNet20(input_tensor=x, classes=10)
    load_weights(model, "cifar10")
    shipped = load_file(WEIGHTS_FOLDER / "sdaresnet20_cifar10.safetensors")
    for name, value in to_torch_tensors(model).items():
        np.testing.assert_array_equal(value, shipped[name], err_msg=name)


def test_other_classes_and_no_classifier(monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda *words: said.append(words))
    whole = SDAResNet20(weights="cifar10")
    other = SDAResNet20(weights="cifar10", classes=100)
    features = SDAResNet20(weights="cifar10", include_top=False)
    assert len(said) == 1
    for model in (other, features):
        np.testing.assert_array_equal(
            model.get_layer("stage3_sda").expand.kernel,
            whole.get_layer("stage3_sda").expand.kernel,
        )
    np.testing.assert_array_equal(
        other.get_layer("head_bn").gamma, whole.get_layer("head_bn").gamma
    )


@pytest.mark.parametrize("network, name, source", SHIPPED)
def test_shipped_file(network, name, source):
    path = WEIGHTS_FOLDER / source["file"]
    assert path.stat().st_size <= 4_000_000
    tensors = load_file(path)
    assert all(np.isfinite(value).all() for value in tensors.values())
    assert {value.dtype for value in tensors.values()} == {np.dtype("float32")}
    assert tensors["fc.weight"].shape[0] == source["classes"]
    assert source["command"].startswith("keras-sda train --model " + network)


@pytest.mark.large
@pytest.mark.parametrize("network, name, source", SHIPPED)
def test_accuracy_on_real_images(network, name, source, shared_data):
    from keras_sda.training import load_image_dataset

    split = load_image_dataset(name, data_dir=shared_data).test_split
    images, labels = (np.asarray(array[:2000]) for array in split.arrays)
    model = getattr(applications, network)(weights=name)
    scores = model.predict(
        preprocess_input(images.astype("float32")), batch_size=250, verbose=0
    )
    accuracy = (scores.argmax(-1) == labels.reshape(-1)).mean()
    expected = source["top1"] / 100
    # Three standard deviations of 2000 drawn from the 10,000 test images.
    spread = (expected * (1 - expected) / 2000 * (1 - 2000 / 10_000)) ** 0.5
    assert abs(accuracy - expected) < 3 * spread, accuracy


def test_wheel_holds_the_shipped_weights(tmp_path):
    pytest.importorskip("setuptools", reason="building a wheel needs setuptools")
    import pathlib
    import shutil

    root = pathlib.Path(__file__).parents[3]
    source = tmp_path / "source"
    source.mkdir()
    files = "pyproject.toml", "setup.py", "README.md", "LICENSE", "keras_sda_command.py"
    for name in files:
        shutil.copy(root / name, source)
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "keras_sda", source / "keras_sda", ignore=skip)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "bdist_wheel", "-d", str(tmp_path)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for _, _, row in SHIPPED:
        assert f"keras_sda/applications/weights/{row['file']}" in names


def test_file_from_the_cache_needs_no_connection(tmp_path, monkeypatch):
    revision = RESNET50["revision"]
    folder = tmp_path / "models--timm--resnet50.a1_in1k" / "snapshots" / revision
    folder.mkdir(parents=True)
    save_file(checkpoint([1], classes=2), folder / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", None)
    assert download_weights(RESNET50) == folder / "model.safetensors"


@pytest.mark.parametrize("offline", ["1", "0"])
def test_no_connection_and_no_cache(offline, run_python, tmp_path):
    """Against a port where nothing listens, with and without the offline mode."""
    code = """
from keras_sda.applications.checkpoints.download_weights import download_weights
from keras_sda.applications.presets.presets import PRESETS
from keras_sda.utils import InvalidInputError
import time
start = time.monotonic()
try:
    download_weights(PRESETS["SDAResNet50"]["weights"]["imagenet"])
except InvalidInputError as error:
    print(f"{time.monotonic() - start:.0f} {error}")
"""
    env = {
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": offline,
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "KERAS_BACKEND": "numpy",  # starts in half the time
    }
    seconds, text = run_python(code, env=env).stdout.split(" ", 1)
    assert int(seconds) < 15
    assert "'model.safetensors' of repository 'timm/resnet50.a1_in1k'" in text
    assert "weights='path/model.safetensors'" in text and "HF_HOME" in text
    assert ("HF_HUB_OFFLINE is set" in text) == (offline == "1")
    assert "://" not in text


def test_download_once_the_repository_answers(tmp_path, monkeypatch):
    save_file(checkpoint([1], classes=2), tmp_path / "model.safetensors")
    calls = []

    def download(local_files_only=False, **wanted):
        calls.append((local_files_only, wanted))
        if local_files_only:
            raise FileNotFoundError("not in the cache")
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(
        huggingface_hub, "get_hf_file_metadata", lambda url, timeout: None
    )
    assert download_weights(RESNET50) == tmp_path / "model.safetensors"
    assert [local for local, _ in calls] == [True, False]
    assert calls[1][1]["revision"] == RESNET50["revision"]
