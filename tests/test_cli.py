"""The command line: what users see, and what they see when something is wrong."""

import json
import pathlib
import sys

import keras
import numpy as np
import pytest
from cli_runs import fails

from keras_sda import cli
from keras_sda.applications import SDAResNet


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A tiny classifier of grey images, saved as the trainer saves it."""
    folder = tmp_path_factory.mktemp("model")
    inputs = keras.Input((32, 32, 1), name="image")
    model = SDAResNet(
        [1, 1],
        base_width=8,
        stem_width=8,
        classes=10,
        input_tensor=keras.layers.Rescaling(1 / 255)(inputs),
    )
    model.save(folder / "model.keras")
    names = "\n".join(f"name {number}" for number in range(10))
    (folder / "labels.txt").write_text(names + "\n")
    return folder / "model.keras"


@pytest.fixture(scope="module")
def export(model_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    assert cli.main(["export", str(model_file), "--output", str(folder)]) == 0
    return folder


def test_help_of_every_command(capsys):
    for command in (
        "train",
        "evaluate",
        "export",
        "predict",
        "profile",
        "list",
        "prune",
        "report",
        "search",
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main([command, "--help"])
        assert stop.value.code == 0
        assert "example: keras-sda " + command in " ".join(
            capsys.readouterr().out.split()
        )


def test_console_script_and_exit_status(capsys, run_python):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert not stop.value.code
    assert capsys.readouterr().out.strip() == keras_version()
    words = ["-m", "keras_sda.cli", "profile", "nothing"]
    # Keras starts in half the time without TensorFlow.
    result = run_python(words, {"KERAS_BACKEND": "numpy"}, check=False)
    assert result.returncode == 2
    assert "keras-sda: error: " in result.stderr
    assert "Traceback" not in result.stderr


def keras_version():
    from keras_sda.version import __version__

    return __version__


def test_profile(capsys, model_file):
    assert cli.main(["profile", "SDAResNet86", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["trainable_params"] == 27_219_880
    assert report["macs"] == 3_879_993_344
    assert cli.main(["profile", str(model_file), "--latency"]) == 0
    text = capsys.readouterr().out
    assert "stage2_sda" in text and "latency" in text
    assert cli.main(["profile", "SDAResNet20", "--input_shape", "64,64,3"]) == 0
    assert "(64, 64, 16)" in capsys.readouterr().out
    # The network is built for what was asked, also where it leaves its size open.
    arguments = ["SDAResNet20", "--input_shape", "48,48,1", "--latency"]
    assert cli.main(["profile", *arguments]) == 0
    assert "(48, 48, 16)" in capsys.readouterr().out
    assert cli.main(["profile", "MobileNetV3Small"]) == 0


def test_list(capsys):
    assert cli.main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["SDASENet86"]["published_top1"] == 78.95
    assert cli.main(["list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in rows)
    assert rows["SDAResNet50"]["weights"]["imagenet"]["licence"] == "apache-2.0"
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    (line,) = (line for line in lines if line.startswith("SDAResNet50 "))
    assert "27.31M" in line and "4.09G" in line
    assert "imagenet 81.21 timm/resnet50.a1_in1k apache-2.0" in line
    assert any(line.endswith("cifar10 88.71 apache-2.0") for line in lines)


def test_export_and_predict(capsys, export, tmp_path):
    assert (export / "1" / "saved_model.pb").is_file()
    labels = (export / "1" / "assets" / "labels.txt").read_text().splitlines()
    assert labels == [f"name {number}" for number in range(10)]
    image = tmp_path / "image.png"
    keras.utils.save_img(image, np.random.uniform(0, 255, (20, 30, 3)), scale=False)
    assert cli.main(["predict", str(export), str(image), "--top_k", "2"]) == 0
    assert "name " in capsys.readouterr().out
    assert cli.main(["predict", str(export), str(image), "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    scores = [row["score"] for row in result["predictions"]]
    assert scores == sorted(scores, reverse=True) and len(scores) == 5


def test_evaluate(capsys, model_file):
    assert cli.main(["evaluate", str(model_file), "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["num_images"] == 360
    assert 0 <= metrics["accuracy"] <= 1


def test_bad_predict(capsys, export, tmp_path):
    empty = tmp_path / "empty.png"
    empty.touch()
    text = tmp_path / "text.jpg"
    text.write_text("not an image")
    assert "empty" in fails(capsys, "predict", export, empty)
    assert str(text) in fails(capsys, "predict", export, text)
    assert "cannot be read" in fails(capsys, "predict", export, tmp_path / "no.png")
    assert "holds no export" in fails(capsys, "predict", tmp_path / "none", text)


def test_bad_export(capsys, model_file, tmp_path):
    output = ["--output", tmp_path / "out"]
    assert "does not exist" in fails(capsys, "export", "none.keras", *output)
    cut = tmp_path / "cut.keras"
    cut.write_bytes(model_file.read_bytes()[:1000])
    assert "damaged" in fails(capsys, "export", cut, *output)
    labels = tmp_path / "labels.txt"
    labels.write_text("one\ntwo\n")
    message = fails(capsys, "export", model_file, *output, "--labels", labels)
    assert "10" in message and "2" in message
    assert not (tmp_path / "out").exists()


def test_bad_profile(capsys):
    assert "Did you mean" in fails(capsys, "profile", "SDAResNot50")
    assert "does not exist" in fails(capsys, "profile", "missing.keras")
    message = fails(capsys, "profile", "SDAResNet20", "--input_shape", "16,16,1")
    assert "at least 32x32" in message


def test_latency_at_a_size_that_the_model_does_not_take(capsys, model_file):
    arguments = [model_file, "--latency", "--input_shape", "64,64,1"]
    assert "built for (32, 32, 1)" in fails(capsys, "profile", *arguments)


def test_bad_train(capsys, tmp_path):
    output = ["--output", tmp_path / "run"]
    assert "Did you mean" in fails(capsys, "train", "--model", "SDAResNt20", *output)
    assert "no_such_set" in fails(capsys, "train", "--dataset", "no_such_set", *output)
    message = fails(capsys, "train", "--dataset", "kmnist", *output)
    assert "--data_dir" in message and "TFDS_DATA_DIR" in message
    assert "weights" in fails(capsys, "train", "--weights", "none.keras", *output)
    message = fails(capsys, "train", "--recipe", "cifr", *output)
    assert "cifar" in message
    assert not (tmp_path / "run").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    message = fails(capsys, "train", "--output", tmp_path / "full")
    assert "holds other files" in message
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


PRUNED = {
    "curves.png",
    "history.csv",
    "labels.txt",
    "metrics.json",
    "model.keras",
    "plan.json",
    "report.csv",
    "report.json",
    "report.md",
    "report.png",
    "run.json",
}
QUICK = ["--dataset", "digits", "--max_train_examples", "64", "--batch_size", "32"]


@pytest.fixture(scope="module")
def pruned(model_file, tmp_path_factory):
    """A run of prune: two steps, each with an epoch of fine-tuning."""
    folder = tmp_path_factory.mktemp("pruned") / "run"
    arguments = ["--macs", "0.6", "--importance", "taylor", "--steps", "2", *QUICK]
    arguments += ["--fine_tune_epochs", "1", "--importance_examples", "64"]
    arguments += ["--report_latency", "--output", str(folder)]
    assert cli.main(["prune", str(model_file), *arguments]) == 0
    return folder


def test_prune(capsys, model_file, pruned):
    assert {path.name for path in pruned.iterdir()} == PRUNED
    metrics = json.loads((pruned / "metrics.json").read_text())
    small = keras.saving.load_model(pruned / "model.keras")
    assert small.count_params() == metrics["params"] < metrics["params_before"]
    assert metrics["macs"] <= 0.6 * metrics["macs_before"]
    assert metrics["latency"]["ratio"] > 0 and len(metrics["steps"]) == 2
    assert {"accuracy_before", "accuracy_pruned", "accuracy"} <= set(metrics)
    assert len((pruned / "history.csv").read_text().splitlines()) == 3
    assert cli.main(["evaluate", str(pruned / "model.keras"), "--json"]) == 0
    accuracy = json.loads(capsys.readouterr().out)["accuracy"]
    np.testing.assert_allclose(accuracy, metrics["accuracy"], atol=1e-6)


def test_report(capsys, pruned, tmp_path):
    assert cli.main(["report", str(pruned)]) == 0
    text = capsys.readouterr().out
    assert "MACs: " in text and "test accuracy after fine-tuning" in text
    assert cli.main(["report", str(pruned), "--layers"]) == 0
    assert "| stem_conv | Conv2D |" in capsys.readouterr().out
    assert cli.main(["report", str(pruned), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"]
    assert "holds no report" in fails(capsys, "report", tmp_path)
    assert cli.main(["report", str(pruned), "--compare", str(pruned)]) == 0
    lines = capsys.readouterr().out.splitlines()
    macs = next(line for line in lines if line.startswith("| MACs"))
    _, _, one, other, _ = macs.split("|")
    assert one == other and "%" in one
    assert any(line.startswith("| stem_conv |") for line in lines)
    compared = ["report", pruned, "--compare"]
    assert "holds no report" in fails(capsys, *compared, tmp_path)
    assert "without --json" in fails(capsys, *compared, pruned, "--json")


def test_prune_replays_a_plan(capsys, model_file, tmp_path):
    replay = ["--plan", str(tmp_path / "a" / "plan.json")]
    for name, how in (
        ("a", ["--params", "0.5", "--round_to", "2", "--exclude", "stem_conv"]),
        ("b", replay),
        ("c", [*replay, *QUICK[:4]]),  # with images, kernels are fitted
    ):
        output = ["--output", str(tmp_path / name)]
        assert cli.main(["prune", str(model_file), *how, *output]) == 0
    a, b = (keras.saving.load_model(tmp_path / n / "model.keras") for n in "ab")
    assert a.get_layer("stem_conv").filters == 8
    for x, y in zip(a.weights, b.weights, strict=True):
        np.testing.assert_array_equal(x, y)
    told = capsys.readouterr().out
    assert told.count("Without images, channels are chosen by their weights") == 1
    assert not (tmp_path / "a" / "history.csv").exists()
    rows = json.loads((tmp_path / "c" / "report.json").read_text())["refits"]
    fitted = [row for row in rows if row["error_after"] is not None]
    assert fitted and all(x["error_after"] <= x["error_before"] for x in fitted)
    assert "% cut, " in told and "% reconstructed, " in told
    metrics = json.loads((tmp_path / "c" / "metrics.json").read_text())
    assert 0 <= metrics["accuracy_cut"] <= 1
    wanted = ["prune", model_file, *replay, "--reconstruct", "--output", tmp_path / "d"]
    assert "needs `dataset`" in fails(capsys, *wanted)


@pytest.mark.large
def test_prune_goes_on_where_it_was_killed(capsys, run_python, model_file, tmp_path):
    """Killed in the second epoch of fine-tuning; ends in the same weights."""
    arguments = ["prune", model_file, "--macs", "0.6", *QUICK]
    arguments += ["--fine_tune_epochs", "2", "--output"]
    words = repr([str(word) for word in arguments])
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    program = """
import os, signal, sys
from keras_sda import cli
from keras_sda.training import fine_tune_classifier
module = sys.modules["keras_sda.training.commands.fine_tune_classifier"]
class Killer(module.SeedPerEpoch):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
"""
    result = run_python(
        f"{program}module.SeedPerEpoch = Killer\ncli.main({words} + [{killed!r}])",
        check=False,
    )
    assert result.returncode == -9
    (kept,) = (tmp_path / "killed" / "backup" / "step1").glob("*.weights.h5")
    assert kept.name == "epoch0001.weights.h5"
    assert "is not empty" in fails(capsys, *arguments, killed)
    again = ["prune", "--resume", "--output", killed]
    assert cli.main(again) == 0
    assert cli.main([*map(str, arguments), whole]) == 0
    capsys.readouterr()
    files = [tmp_path / name / "model.keras" for name in ("whole", "killed")]
    a, b = (keras.saving.load_model(path) for path in files)
    for x, y in zip(a.weights, b.weights, strict=True):
        np.testing.assert_array_equal(x, y)
    assert not (tmp_path / "killed" / "backup").exists()
    histories = [
        [line.split(",")[:2] for line in (path.parent / "history.csv").open()]
        for path in files
    ]
    assert histories[0] == histories[1] and len(histories[0]) == 3
    # What is complete stays as it is.
    assert cli.main(again) == 0
    assert "nothing to resume" in capsys.readouterr().out
    message = fails(capsys, *again, "--macs", "0.5")
    assert "macs was 0.6, now 0.5" in message


def test_prune_goes_on_between_steps(capsys, monkeypatch, model_file, tmp_path):
    """Steps that are done are not planned again; the result is the same."""
    module = sys.modules["keras_sda.training.commands.prune_classifier"]
    arguments = ["prune", str(model_file), "--params", "0.5", "--steps", "3"]
    arguments += ["--importance", "random", "--output"]
    cut, whole = str(tmp_path / "cut"), str(tmp_path / "whole")
    original, planned = module.make_plan, []

    def interrupted(*positional, **named):
        planned.append(1)
        if len(planned) == 3:
            raise KeyboardInterrupt
        return original(*positional, **named)

    monkeypatch.setattr(module, "make_plan", interrupted)
    assert cli.main([*arguments, cut]) == 130
    assert not (tmp_path / "cut" / "metrics.json").exists()
    assert cli.main(["prune", "--resume", "--output", cut]) == 0
    assert len(planned) == 4
    assert cli.main([*arguments, whole]) == 0
    files = [tmp_path / name / "model.keras" for name in ("whole", "cut")]
    a, b = (keras.saving.load_model(path) for path in files)
    for x, y in zip(a.weights, b.weights, strict=True):
        np.testing.assert_array_equal(x, y)


def test_bad_prune(capsys, model_file, tmp_path):
    output = ["--output", tmp_path / "run"]
    start = ["prune", model_file]
    assert "must be given" in fails(capsys, *start, *output)
    assert "`model` is missing" in fails(capsys, "prune", "--macs", "0.5", *output)
    assert "does not exist" in fails(capsys, "prune", "no.keras", "--macs", 1, *output)
    start += ["--macs", "0.5"]
    assert "--dataset" in fails(capsys, *start, "--importance", "taylor", *output)
    assert "one of" in fails(capsys, *start, "--importance", "l3", *output)
    assert "--dataset" in fails(capsys, *start, "--fine_tune_epochs", "2", *output)
    assert "--plan" in fails(capsys, *start, "--plan", "plan.json", *output)
    assert "no layers" in fails(capsys, *start, "--exclude", "nothing", *output)
    assert "recipe" in fails(capsys, *start, *QUICK, "--recipe", "cifr", *output)
    macs = ["prune", model_file, "--macs"]
    assert "floor" in fails(capsys, *macs, "0.0001", *output)
    assert "at most 1" in fails(capsys, *macs, "1.5", *output)
    plan = ["prune", model_file, "--plan"]
    assert "no.json" in fails(capsys, *plan, tmp_path / "no.json", *output)
    assert not (tmp_path / "run").exists()
    message = fails(capsys, *start, "--output", model_file.parent)
    assert "holds the model to prune" in message
    message = fails(capsys, "prune", "--resume", *output)
    assert "no training run" in message
    assert model_file.exists()


def test_prune_overwrites_only_its_own_files(capsys, model_file, pruned, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(pruned, folder)
    (folder / "notes.txt").write_text("mine")
    arguments = ["prune", str(model_file), "--macs", "0.7", "--output", str(folder)]
    assert "is not empty" in fails(capsys, *arguments)
    assert cli.main([*arguments, "--overwrite"]) == 0
    assert not (folder / "history.csv").exists()
    assert (folder / "notes.txt").read_text() == "mine"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "accuracy" not in metrics


def test_interruption_says_how_to_go_on(capsys, monkeypatch):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["keras_sda.cli.main"], "_evaluate", interrupted)
    assert cli.main(["evaluate", "model.keras"]) == 130
    assert "--resume" in capsys.readouterr().err


def test_full_disk_is_one_line(capsys, monkeypatch):
    def full(options):
        raise OSError(28, "No space left on device", "runs/x/model.keras")

    monkeypatch.setattr(sys.modules["keras_sda.cli.main"], "_evaluate", full)
    assert "No space left" in fails(capsys, "evaluate", "model.keras")


def test_repository_programs_have_help(run_program):
    root = pathlib.Path(__file__).parents[1]
    programs = sorted((root / "applications").glob("*.py"))
    assert len(programs) >= 5
    for program in programs:
        result = run_program(program, "--help")
        assert "--output" in result.stdout + result.stderr, program.name
