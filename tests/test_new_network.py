"""A network is one file and nothing else: that of the docs, by name everywhere."""

import importlib
import json
import pathlib
import re
import sys

import keras
import numpy as np
import pytest
from pruning.surgery_checks import randomize, run_surgery_test
from test_case import infer

from keras_sda import applications, cli
from keras_sda.analysis import profile
from keras_sda.applications.get_model import REGISTERED
from keras_sda.data import load_image_dataset
from keras_sda.export import split_groups
from keras_sda.layers import SelectiveDepthAttention
from keras_sda.pruning import prune
from keras_sda.search import add_channel_gates, channel_gates, close_gates, derive
from keras_sda.training import make_strategy
from keras_sda.training.commands.open_classifier import open_classifier
from keras_sda.utils import InvalidInputError

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "extending.md"
NAME = "NarrowSDAResNet"


@pytest.fixture(scope="module")
def constructor(tmp_path_factory):
    """The network of the docs, imported from one file of a user."""
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    (code,) = [text for text in found if text.startswith("# narrow_network.py")]
    folder = tmp_path_factory.mktemp("network")
    (folder / "narrow_network.py").write_text(code)
    before = dict(REGISTERED)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("narrow_network").NarrowSDAResNet
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("narrow_network", None)
        REGISTERED.clear()
        REGISTERED.update(before)


@pytest.fixture(scope="module")
def model(constructor):
    """It, for images that are as small as its trunk allows; no test changes it."""
    model = applications.get_model(NAME.lower())(input_shape=(32, 32, 3))
    randomize(model)
    return model


def images():
    return np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")


def test_it_goes_by_its_name(constructor, capsys):
    assert applications.get_model(NAME) is constructor
    with pytest.raises(InvalidInputError, match=f"Did you mean {NAME}"):
        applications.get_model("NarowSDAResNet")
    assert NAME not in applications.list_models()
    assert cli.main(["list"]) == 0
    assert f"your own files: {NAME}\n" in capsys.readouterr().out


def test_masked_is_small_before_and_after_it_is_saved(model, tmp_path):
    small, plan = run_surgery_test(model, tmp_path=tmp_path, export=False)
    assert {"stem_conv", "stage1_block1_conv1"} <= set(plan.remove)
    attention = [x for x in small.layers if isinstance(x, SelectiveDepthAttention)]
    assert [layer.name for layer in attention] == ["stage1_sda", "stage2_sda"]


def test_its_macs_are_counted_and_met(model):
    rows = {row.name: row.macs for row in profile(model).layers}
    assert rows["stem_conv"] == 16 * 16 * 7 * 7 * 3 * 8
    result = prune(model, macs=0.5)
    assert result.report.macs_after == profile(result.model).macs
    assert result.report.macs_after <= 0.5 * result.report.macs_before


def test_gates_close_and_go(model):
    gated = add_channel_gates(model)
    np.testing.assert_allclose(infer(gated, images()), infer(model, images()), 1e-4)
    for gate in channel_gates(gated):
        gate.s.assign(np.where(np.arange(gate.channels) % 3, 1.0, -1.0))
        gate.beta.assign(1e4)
    small = derive(gated).model
    close_gates(gated)
    np.testing.assert_allclose(
        infer(small, images()), infer(gated, images()), atol=1e-5
    )
    assert small.count_params() < 0.9 * model.count_params()


def test_export_takes_its_portable_form(model):
    portable = split_groups(model)
    np.testing.assert_allclose(infer(portable, images()), infer(model, images()), 1e-4)


def test_commands_take_its_name_and_its_files(constructor, tmp_path, capsys):
    import tensorflow as tf

    model, _ = open_classifier(NAME, load_image_dataset("digits"), make_strategy())
    shape = ",".join(map(str, model.input_shape[1:]))
    assert cli.main(["profile", NAME, "--input_shape", shape, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["macs"] == profile(model).macs
    model.save(tmp_path / "model.keras")
    words = ["--macs", "0.6", "--output", str(tmp_path / "small")]
    assert cli.main(["prune", str(tmp_path / "model.keras"), *words]) == 0
    path = tmp_path / "small" / "model.keras"
    small = keras.saving.load_model(path)
    assert profile(small).macs <= 0.6 * profile(model).macs
    served = ["--output", str(tmp_path / "served")]
    assert cli.main(["export", str(path), *served]) == 0
    pixels = np.random.default_rng(0).uniform(0, 255, (2, *small.input_shape[1:]))
    pixels = pixels.astype("float32")
    exported = tf.saved_model.load(str(tmp_path / "served" / "1"))
    answer = exported.signatures["serving_default"](images=pixels)["probabilities"]
    np.testing.assert_allclose(answer, infer(small, pixels), atol=1e-5)


@pytest.mark.large
def test_it_is_trained_by_its_name(constructor, tmp_path):
    words = ["--dataset", "digits", "--max_train_examples", "64", "--batch_size", "32"]
    words += ["--model", NAME, "--epochs", "1", "--output", str(tmp_path / "run")]
    assert cli.main(["train", *words]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["model"] == NAME
    assert (tmp_path / "run" / "model.keras").is_file()


def test_what_is_refused(constructor):
    def refuses(match, *arguments):
        with pytest.raises(InvalidInputError, match=match):
            applications.register_model(*arguments)

    def freehand(input_shape, classes):
        raise NotImplementedError

    refuses("without input_tensor, weights", freehand)
    refuses("`constructor` must be a function", 3)
    refuses("is that of a network of this package", constructor, "resnet50")
    refuses("is that of a network of this package", constructor, "SDAResNet20")
    refuses("must be a word", constructor, "my net")
    refuses("must be a word", lambda **options: None)
    assert list(REGISTERED) == [NAME]
    applications.register_model(constructor, "narrowsdaresnet")
    assert list(REGISTERED) == ["narrowsdaresnet"]
    applications.register_model(constructor)
    assert list(REGISTERED) == [NAME]
