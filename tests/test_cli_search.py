"""`keras-sda search` as users see it."""

import keras
import pytest
from cli_runs import check_same_end, fails, stop
from training.tiny_search_run import tiny_classifier

from keras_sda import cli
from keras_sda.search import ChannelSearch

QUICK = ["--dataset", "digits", "--max_train_examples", "64", "--batch_size", "32"]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    tiny_classifier().save(path)
    return path


def test_search_report_and_other_commands(capsys, model_file, tmp_path):
    folder = str(tmp_path / "run")
    arguments = ["search", "--model", str(model_file), *QUICK, "--target_macs", "0.6"]
    arguments += ["--architecture_epochs", "1", "--fine_tune_epochs", "1"]
    assert cli.main([*arguments, "--output", folder]) == 0
    text = capsys.readouterr().out
    for part in (
        "20 channels have a gate, in 2 layers.",
        "Stage 2 of 3, architecture",
        "channels 20 -> ",
        "macs ",
        "test accuracy ",
        f"results in {folder}",
    ):
        assert part in text, part
    assert "Stage 1 of 3" not in text  # the model is one that was saved
    assert cli.main(["report", folder]) == 0
    text = capsys.readouterr().out
    assert "test accuracy of the derived network" in text
    assert "test accuracy after fine-tuning" in text
    assert cli.main(["search", "--resume", "--output", folder]) == 0
    assert "nothing to resume" in capsys.readouterr().out
    for command in ("prune", "train"):
        message = fails(capsys, command, "--resume", "--output", folder)
        assert f"one of `keras-sda search`, not of `keras-sda {command}`" in message
    gated = [f"{folder}/gated.keras", *QUICK, "--output", tmp_path / "again"]
    message = fails(capsys, "search", "--target_macs", "0.5", "--model", *gated)
    assert "gates already" in message
    assert not (tmp_path / "again").exists()


@pytest.mark.large
def test_reconstruct_and_go_on(capsys, monkeypatch, model_file, tmp_path):
    """A run that stopped after its kernels were fitted ends in the same bits."""
    arguments = ["search", "--model", str(model_file), *QUICK, "--target_macs", "0.6"]
    arguments += ["--architecture_epochs", "1", "--fine_tune_epochs", "1"]
    arguments += ["--reconstruct", "--output"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert cli.main([*arguments, str(whole)]) == 0
    text = capsys.readouterr().out
    assert "% cut, " in text and "% reconstructed, " in text
    with monkeypatch.context() as patch:
        patch.setattr(ChannelSearch, "fine_tune", stop)
        assert "stop" in fails(capsys, *arguments, stopped)
    assert cli.main(["search", "--resume", "--output", str(stopped)]) == 0
    check_same_end(whole, stopped, ["accuracy_cut", "accuracy_derived"])


def test_bad_search(capsys, model_file, tmp_path):
    output = ["--output", tmp_path / "run"]
    start = ["search", "--model", model_file, *QUICK]
    assert "`model` is missing" in fails(capsys, "search", *output)
    message = fails(capsys, "search", "--model", "CIFARResNt20", "--target_macs", "0.5")
    assert "Did you mean CIFARResNet20" in message
    message = fails(capsys, "search", "--model", "no.keras", "--target_macs", "0.5")
    assert "does not exist" in message
    message = fails(capsys, *start, *output)
    assert "--lambda_arch" in message and "--target_macs" in message
    both = ["--target_macs", "0.5", "--lambda_arch", "1e-4"]
    assert "Received both" in fails(capsys, *start, *both, *output)
    message = fails(capsys, *start, "--lambda_arch", "-1", *output)
    assert "from 0 up" in message
    start += ["--target_macs"]
    assert "out of reach" in fails(capsys, *start, "0.0001", *output)
    assert "out of reach" in fails(capsys, *start, "1e12", *output)
    start += ["0.5"]
    message = fails(capsys, *start, "--regularizer", "l1", *output)
    assert "one of plain, scaled, macs" in message
    assert "resnet56_cifar" in fails(capsys, *start, "--recipe", "resnet56", *output)
    message = fails(capsys, *start, "--dataset", "no_such_set", *output)
    assert "no_such_set" in message
    assert "no training run" in fails(capsys, "search", "--resume", *output)
    message = fails(capsys, *start, "--output", model_file.parent)
    assert "holds the model to search" in message
    inputs = keras.Input((32, 32, 1))
    outputs = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(inputs))
    outputs = keras.layers.Dense(10, activation="softmax")(outputs)
    keras.Model(inputs, outputs).save(tmp_path / "a.keras")
    message = fails(capsys, *start, "--model", tmp_path / "a.keras", *output)
    assert "no BatchNormalization" in message
    assert not (tmp_path / "run").exists()
