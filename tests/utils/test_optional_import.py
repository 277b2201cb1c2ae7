"""Every extra, not installed: one line that names it, and no run lost for it."""

import pathlib
import re
import sys
import tomllib
import types

import keras
import numpy as np
import pytest
from absl import logging
from training.tiny_training import train_tiny

from keras_sda import analysis, cli, grouping, search
from keras_sda.applications.checkpoints.download_weights import download_weights
from keras_sda.pruning import PruningReport
from keras_sda.training.commands.draw_curves import draw_curves
from keras_sda.utils import InvalidInputError, optional_import
from keras_sda.utils.draw_in_run import draw_in_run
from keras_sda.utils.optional_import import _EXTRAS, warn_once

PROJECT = pathlib.Path(__file__).parents[2] / "pyproject.toml"


@pytest.fixture
def hide(monkeypatch):
    """Packages as good as not installed, and warnings as in a new process."""
    warn_once.cache_clear()
    yield lambda *names: [monkeypatch.setitem(sys.modules, x, None) for x in names]
    warn_once.cache_clear()


@pytest.fixture
def warnings(monkeypatch):
    texts = []
    monkeypatch.setattr(
        logging, "warning", lambda text, *words: texts.append(text % words)
    )
    return texts


@pytest.mark.parametrize("package", _EXTRAS)
def test_the_extra_that_is_named_brings_the_package(package, hide):
    hide(package)
    extra, distribution = _EXTRAS[package]
    text = rf"^This needs {distribution}, .* pip install \"keras-sda\[{extra}\]\"\.$"
    with pytest.raises(InvalidInputError, match=text):
        optional_import.optional_import(f"{package}.sub", "This")
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    assert [re.match("[a-z_-]+", line)[0] for line in extras[extra]] == [distribution]
    assert extra in extras["all"][0]


def draw_search(path):
    search.plot_search([], {}, path)


def draw_groups(path):
    grouping.plot_group_sizes(types.SimpleNamespace(layers=[]), path)


def draw_attention(path):
    analysis.plot_depth_attention({"stage1": np.ones((2, 2, 3)) / 2}, path)


def draw_history(path):
    draw_curves([{"epoch": 1, "loss": 0.5}], path)


@pytest.mark.parametrize(
    "draw", [draw_search, draw_groups, draw_attention, draw_history]
)
def test_who_asks_for_a_picture_is_told(draw, hide, tmp_path):
    hide("matplotlib")
    with pytest.raises(InvalidInputError, match=r"Drawing .*keras-sda\[plot\]"):
        draw(tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())


def test_a_run_goes_on_without_pictures_and_logs(hide, warnings, tmp_path):
    hide("matplotlib", "tensorboard")
    train_tiny(tmp_path, epochs=1, max_train_examples=64)
    assert (tmp_path / "model.keras").is_file()
    assert (tmp_path / "metrics.json").is_file()
    assert not (tmp_path / "curves.png").exists() and not (tmp_path / "logs").exists()
    # Another picture of the same run is not worth another warning.
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(2)(x))
    PruningReport.of(model, model).save(tmp_path)
    assert (tmp_path / "report.json").is_file()
    assert not (tmp_path / "report.png").exists()
    found = [text for text in warnings if "keras-sda[" in text]
    assert len(found) == 2
    assert "TensorBoard" in found[0] and "keras-sda[tensorboard]" in found[0]
    assert "No picture was drawn" in found[1] and "keras-sda[plot]" in found[1]


def test_a_picture_that_cannot_be_drawn_ends_no_run(hide, warnings):
    def broken(number):
        raise RuntimeError(f"no font {number}")

    draw_in_run(broken, 5)
    assert warnings == ["No picture was drawn. no font 5"]

    def full():
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        draw_in_run(full)


def test_weights_of_the_hub_name_the_extra_and_the_file(hide):
    hide("huggingface_hub")
    source = {"repository": "some/model", "file": "a.safetensors", "revision": None}
    text = r"imagenet.*keras-sda\[hub\]\", or download 'a.safetensors'.*\)\.$"
    with pytest.raises(InvalidInputError, match=text):
        download_weights(source)


def test_one_line_on_the_command_line(hide, capsys, tmp_path):
    hide("keras_cv")
    words = ["train", "--dataset", "digits", "--augmentation", "keras_cv"]
    words += ["--max_train_examples", "64", "--output", str(tmp_path / "run")]
    assert cli.main(words) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("keras-sda: error: augmentation='keras_cv' needs keras-cv")
    assert 'pip install "keras-sda[keras-cv]", or use augmentation=' in line
