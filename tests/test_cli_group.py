"""`keras-sda group` as users see it."""

import json

import keras
import pytest
from cli_runs import check_same_end, fails, stop
from training.tiny_search_run import tiny_classifier

from keras_sda import cli
from keras_sda.training.commands import group_classifier

QUICK = ["--dataset", "digits", "--max_train_examples", "64", "--batch_size", "32"]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    tiny_classifier().save(path)
    return path


def test_group_and_what_follows(capsys, model_file, tmp_path):
    folder = str(tmp_path / "run")
    arguments = ["group", str(model_file), *QUICK, "--conv_rate", "0.5"]
    arguments += ["--num_groups", "4", "--fine_tune_epochs", "1"]
    assert cli.main([*arguments, "--output", folder]) == 0
    text = capsys.readouterr().out
    for part in (
        "Grouped, global: convolutions 50%, dense layers 60%.",
        "Test accuracy with these groups, not trained on: ",
        "Packing, form auto.",
        "macs ",
        "counted as published: params ",
        "packed: params ",
        "test accuracy ",
        "latency ratio packed to before ",
        f"results in {folder}",
    ):
        assert part in text, part
    assert cli.main(["group", "--resume", "--output", folder]) == 0
    assert "nothing to resume" in capsys.readouterr().out
    message = fails(capsys, "prune", "--resume", "--output", folder)
    assert "one of `keras-sda group`, not of `keras-sda prune`" in message
    packed = f"{folder}/packed.keras"
    assert cli.main(["evaluate", packed, "--dataset", "digits"]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert cli.main(["profile", packed]) == 0
    assert "MACs" in capsys.readouterr().out


def test_reconstruct_and_go_on(capsys, monkeypatch, model_file, tmp_path):
    """A run that stopped after its filters were fitted ends in the same bits."""
    arguments = ["group", str(model_file), *QUICK, "--reconstruct", "--form", "none"]
    arguments += ["--conv_rate", "0.5", "--dense_rate", "0.3", "--num_groups", "4"]
    arguments += ["--fine_tune_epochs", "1", "--output"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert cli.main([*arguments, str(whole)]) == 0
    text = capsys.readouterr().out
    assert "% cut, " in text and "% reconstructed, " in text
    assert "Test accuracy cut only, global: " in text
    with monkeypatch.context() as patch:
        patch.setattr(group_classifier, "fine_tune_classifier", stop)
        assert "stop" in fails(capsys, *arguments, stopped)
    assert cli.main(["group", "--resume", "--output", str(stopped)]) == 0
    metrics = check_same_end(whole, stopped, ["steps"])
    assert metrics["accuracy_cut"] == metrics["steps"][0]["accuracy_cut"]
    rows = json.loads((whole / "report.json").read_text())["refits"]
    assert {row["layer"] for row in rows} == {"conv2", "conv3", "predictions"}
    without = ["group", model_file, "--reconstruct", "--output", tmp_path / "no"]
    assert "needs `dataset`" in fails(capsys, *without)


def test_help(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["group", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for name in ("--conv_rate", "--dense_rate", "--scheme", "--balance", "--form",
                 "--local_epochs", "--resume", "MODEL.keras"):  # fmt: skip
        assert name in text
    assert "example: keras-sda group" in text


def test_bad_group(capsys, model_file, tmp_path):
    output = ["--output", tmp_path / "run"]
    start = ["group", model_file, *QUICK]
    assert "`model` is missing" in fails(capsys, "group", *output)
    message = fails(capsys, "group", model_file, "--model", "other.keras", *output)
    assert "Two models" in message
    assert "does not exist" in fails(capsys, "group", "no.keras", *output)
    message = fails(capsys, "group", "--model", "CIFARResNt20", *QUICK, *output)
    assert "Did you mean CIFARResNet20" in message
    message = fails(capsys, "group", "--model", "CIFARResNet20", *output)
    assert "network without weights" in message
    message = fails(capsys, *start, "--conv_rate", "70", *output)
    assert "For 70 % give 0.7" in message
    message = fails(capsys, *start, "--scheme", "globl", *output)
    assert "Did you mean 'global'" in message
    message = fails(capsys, *start, "--scheme", "local", "--balance", "equal", *output)
    assert "nothing to reach in steps" in message
    message = fails(capsys, *start, "--exclude", "nothing", *output)
    assert "nothing" in message
    assert "no training run" in fails(capsys, "group", "--resume", *output)
    keras.Sequential([keras.Input((32, 32, 1)), keras.layers.Flatten()]).save(
        tmp_path / "a.keras"
    )
    message = fails(capsys, "group", tmp_path / "a.keras", *output)
    assert "no layer that can have groups" in message
    assert not (tmp_path / "run").exists()
