"""What a run has finished stays, whatever ends it; its inputs have to stay, too."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from training.tiny_group_run import group_tiny
from training.tiny_search_run import search_tiny

from keras_sda import cli
from keras_sda.data.images.load_image_dataset import load_image_dataset
from keras_sda.pruning import prune
from keras_sda.runs.epoch_backup import EpochBackup
from keras_sda.runs.manifest import Manifest
from keras_sda.runs.output_folder import check_output, claim_output, command_run
from keras_sda.runs.run_inputs import run_inputs
from keras_sda.training import (
    PruneOptions,
    TrainOptions,
    prune_classifier,
    resumed_options,
)
from keras_sda.training.commands.train_classifier import train_classifier
from keras_sda.utils import InvalidInputError

layers = keras.layers


def network():
    x = inputs = keras.Input((8, 8, 1))
    for number, filters in enumerate((8, 12, 8), 1):
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{number}")(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"bn{number}")(x))
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(3, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, outputs, name="small")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    network().save(path)
    return path


@pytest.fixture(scope="module")
def whole(model_file, tmp_path_factory):
    """A run in three steps that nothing interrupted."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    prune_classifier(options_for(model_file, output))
    return output


def options_for(model, output, **options):
    chosen = {"params": 0.4, "steps": 3, "importance": "random", **options}
    return PruneOptions(model=str(model), output=str(output), **chosen)


def claim(options, inputs=None):
    return claim_output(command_run(options), options, inputs)


def files(folder):
    """Names and contents."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def break_in_step(monkeypatch, number, error):
    """Makes pruning fail between the plan of a step and its training."""
    module = sys.modules["keras_sda.pruning.prune"]
    original, calls = module.remove_channels, []

    def fail(*arguments):
        calls.append(1)
        if len(calls) == number:
            raise error
        return original(*arguments)

    monkeypatch.setattr(module, "remove_channels", fail)


def same_weights(one, other):
    a, b = (keras.saving.load_model(path / "model.keras") for path in (one, other))
    for x, y in zip(a.weights, b.weights, strict=True):
        np.testing.assert_array_equal(x, y)


def test_last_target_is_checked_before_the_first_step(model_file, tmp_path):
    trained, said = [], []
    with pytest.raises(InvalidInputError, match="floor"):
        prune(network(), macs=0.001, steps=3, fine_tune=trained.append)
    for targets in ({"params": 0.001}, {"params": 0.5, "macs": 0.0001}):
        options = options_for(model_file, tmp_path / "run", **targets)
        with pytest.raises(InvalidInputError, match="floor"):
            prune_classifier(options, said.append)
    assert not trained and not any("step" in text.lower() for text in said)
    assert not list(tmp_path.iterdir())


def test_overwriting_waits_for_the_checks(whole, model_file, tmp_path):
    output = whole
    before = files(output)
    other = tmp_path / "plan.json"
    shutil.copy(output / "plan.json", other)
    other.write_text(other.read_text().replace("conv2", "conv9"))
    for changes, text in (
        ({"params": 0.001}, "floor"),
        ({"params": 0.001, "steps": 1}, "floor"),
        ({"exclude": "conv9"}, "no layers"),
        ({"params": None, "steps": 1, "importance": None, "plan": str(other)}, "conv9"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            prune_classifier(options_for(model_file, output, overwrite=True, **changes))
        assert files(output) == before


def test_an_error_after_a_finished_step_keeps_it(
    whole, model_file, monkeypatch, tmp_path
):
    cut = tmp_path / "cut"
    with monkeypatch.context() as patch:
        break_in_step(patch, 2, RuntimeError("memory"))
        with pytest.raises(RuntimeError):
            prune_classifier(options_for(model_file, cut))
    assert (cut / "backup" / "step1" / "model.keras").is_file()
    prune_classifier(options_for(model_file, cut, resume=True))
    same_weights(cut, whole)
    assert files(cut).keys() == files(whole).keys()
    # Before anything is finished, nothing stays.
    break_in_step(monkeypatch, 1, OSError(28, "full"))
    with pytest.raises(OSError):
        prune_classifier(options_for(model_file, tmp_path / "none"))
    assert not (tmp_path / "none").exists()


FINISHED = {
    "a backup": lambda stage, model: stage.backup.save(model, 1),
    "the weights of a stage": lambda stage, model: stage.finish(model),
    "the model of a step": lambda stage, model: stage.finish_with(model),
    "the groups of a step": lambda stage, model: stage.keep(model, "grouped"),
}
UNFINISHED = (
    "backup/step1/plan.json", "backup/training/.epoch0001-0a1b2c3d.weights.h5",
    "logs/train/events", "backup/weights/architecture.csv", ".model-0a1b2c3d.keras",
    "skipped_files.txt",
)  # fmt: skip


@pytest.mark.parametrize("name", FINISHED)
def test_what_counts_as_finished(name, tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    options = TrainOptions(output=str(tmp_path / "run"))
    run = command_run(options)
    with pytest.raises(ZeroDivisionError), claim_output(run, options):
        FINISHED[name](run.stage("first"), model)
        raise ZeroDivisionError
    (kept,) = (tmp_path / "run" / "backup" / "first").iterdir()
    assert kept.name.endswith((".weights.h5", ".keras"))
    assert not run.manifest.finished and run.has_begun
    assert Manifest.read(run.folder).stages["first"].has_begun
    check_output(dataclasses.replace(options, resume=True))


@pytest.mark.parametrize("name", UNFINISHED)
def test_what_counts_as_unfinished(name, tmp_path):
    options = TrainOptions(output=str(tmp_path / "run"))
    run = command_run(options)
    with pytest.raises(ZeroDivisionError), claim_output(run, options):
        run.stage("first").note(planned=True)
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        raise ZeroDivisionError
    assert not (tmp_path / "run").exists()


OLDER = {
    "a command": ("options.json", '{"model": "a.keras", "dataset": null, "seed": 0}'),
    "a search": ("weights/stage.json", '{"settings": {}, "finished": true}'),
    "a stage": ("stage.json", '{"settings": {}, "finished": false}'),
    "a grouping": ("steps.json", '{"conv_rate": 0.7}'),
    "fine-tuning": ("latest.weights.h5", "weights"),
}


@pytest.mark.parametrize("kind", OLDER)
def test_a_run_of_an_older_layout_is_left_alone(kind, tmp_path):
    """As written before there was a manifest: named, never deleted nor half read."""
    name, text = OLDER[kind]
    rest = tmp_path / "backup" / "latest.weights.h5", tmp_path / "history.csv"
    for path, content in ((tmp_path / name, text), *((path, "x") for path in rest)):
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    before = files(tmp_path)
    output = str(tmp_path)
    train = TrainOptions(output=output)
    calls = [
        lambda: check_output(train),
        lambda: claim(dataclasses.replace(train, overwrite=True)).__enter__(),
        lambda: check_output(dataclasses.replace(train, resume=True)),
        lambda: resumed_options(output, {}),
        lambda: prune(network(), macs=0.5, folder=tmp_path),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError, match="earlier version") as error:
            call()
        text = str(error.value)
        assert "\n" not in text and name in text and "name another folder" in text
        assert files(tmp_path) == before


def test_a_kill_before_the_first_file_does_not_block(tmp_path):
    for name in (".lock", ".run-0a1b2c3d.json"):
        (tmp_path / name).write_text("")
    options = TrainOptions(output=str(tmp_path))
    check_output(options)
    with claim(options):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_only_one_process_at_a_time(tmp_path):
    lock = tmp_path / ".lock"
    lock.write_text(json.dumps({"host": os.uname().nodename, "pid": os.getppid()}))
    options = TrainOptions(output=str(tmp_path))
    text = f"`output` .* is in use: process {os.getppid()} on host"
    with pytest.raises(InvalidInputError, match=text):
        check_output(options)
    with pytest.raises(InvalidInputError, match=text):
        claim(options).__enter__()
    with pytest.raises(InvalidInputError, match=text.replace("output", "folder")):
        prune(network(), macs=0.5, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    lock.unlink()
    run = command_run(options)
    with claim_output(run, options):
        # Both have passed the first check; the second one comes too late.
        with pytest.raises(InvalidInputError, match="this process"):
            claim(options).__enter__()
    with pytest.raises(InvalidInputError, match="is not empty"):
        claim(options).__enter__()
    run.finish()
    again = TrainOptions(output=str(tmp_path), resume=True)
    with pytest.raises(InvalidInputError, match="completed the run"):
        claim(again).__enter__()


def test_replaced_model_is_not_pruned_by_an_old_plan(model_file, monkeypatch, tmp_path):
    model, output = tmp_path / "model.keras", tmp_path / "run"
    shutil.copy(model_file, model)
    with monkeypatch.context() as patch:
        break_in_step(patch, 2, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            prune_classifier(options_for(model, output))
    network().save(model)  # other weights
    before = files(output)
    with pytest.raises(InvalidInputError, match=f"`model` {model} is not what it was"):
        prune_classifier(options_for(model, output, resume=True))
    assert files(output) == before
    # The model of then is taken.
    shutil.copy(model_file, model)
    assert set(Manifest.read(output).inputs) == {"model"}
    assert prune_classifier(options_for(model, output, resume=True))["params"] > 0


@pytest.mark.parametrize("command", ["search", "group", "train", "plan", "dataset"])
def test_replaced_inputs_are_named(command, whole, model_file, tmp_path):
    path, output = tmp_path / "input.keras", str(tmp_path / "run")
    shutil.copy(model_file, path)
    data = load_image_dataset("digits", max_train_examples=64)
    small = {"max_train_examples": 64}
    if command in ("search", "group"):
        run = {"search": search_tiny, "group": group_tiny}[command]
        module = sys.modules[run.__module__]
        kind = getattr(module.training, f"{command.title()}Options")
        extra = {"target_macs": 0.6} if command == "search" else {}
        options = kind(
            **{**module.DEFAULTS, **extra, **small}, model=str(path), output=output
        )
        name, again = "model", lambda: run(path, output, resume=True, **small)
    elif command == "plan":
        path = tmp_path / "plan.json"
        shutil.copy(whole / "plan.json", path)
        given = {"params": None, "steps": 1, "importance": None, "plan": str(path)}
        options = options_for(model_file, output, **given)
        name, again = (
            "plan",
            lambda: prune_classifier(
                options_for(model_file, output, resume=True, **given)
            ),
        )
    else:
        path = tmp_path / "input.weights.h5"
        keras.saving.load_model(model_file).save_weights(path)
        if command == "dataset":
            small = {"max_train_examples": None}  # as if the data were others now
        given = {"model": "CIFARResNet20", "weights": str(path), "output": output}
        options = TrainOptions(**given, **small)
        name = "weights" if command == "train" else "dataset"
        again = lambda: train_classifier(  # noqa: E731
            TrainOptions(**given, **small, resume=True)
        )
    inputs = run_inputs(options, data)
    with claim(options, inputs):
        pass
    if command != "dataset":
        with path.open("ab") as file:
            file.write(b" ")
    with pytest.raises(InvalidInputError, match=f"`{name}` .* is not what it was"):
        again()


def test_inputs_inside_the_output_are_not_overwritten(whole, model_file):
    output = whole
    before = files(output)
    weights = output / "best.weights.h5"
    weights.write_bytes(b"x")
    plan = {
        "params": None,
        "steps": 1,
        "importance": None,
        "plan": str(output / "plan.json"),
    }
    for options, text in (
        (options_for(output / "model.keras", output, overwrite=True), "the model to"),
        (options_for(model_file, output, overwrite=True, **plan), "`plan` .--plan"),
        (TrainOptions(output=str(output), overwrite=True, weights=str(weights)),
         "`weights` .--weights"),
    ):  # fmt: skip
        with pytest.raises(InvalidInputError, match=text):
            check_output(options)
    weights.unlink()
    assert files(output) == before


def test_a_full_disk_leaves_no_probe(tmp_path):
    if os.geteuid():
        pytest.skip("needs root, to mount a tmpfs")
    words = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        with pytest.raises(OSError), (tmp_path / "ballast").open("wb") as file:
            file.write(b"x" * 100_000)
        with pytest.raises(OSError, match="cannot be written .No space left"):
            check_output(TrainOptions(output=str(tmp_path / "run")))
        assert [path.name for path in tmp_path.iterdir()] == ["ballast"]
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_incomplete_weights_of_an_epoch_are_not_loaded(tmp_path):
    """A backup without part of the optimizer, as an interrupted HDF5 file has it."""
    data = np.ones((8, 3), "float32"), np.ones((8, 2), "float32")

    def run(epochs, damage=None):
        keras.utils.set_random_seed(2)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", run_eagerly=True)
        model.optimizer.build(model.trainable_variables)
        backup = EpochBackup(tmp_path / "backup")
        start = backup.restore(model)
        model.fit(*data, batch_size=4, epochs=epochs, initial_epoch=start, verbose=0,
                  shuffle=False, callbacks=[backup])  # fmt: skip
        return start, model.get_weights()

    _, uninterrupted = run(3)
    for finished, resumed in ((1, 0), (2, 1)):
        shutil.rmtree(tmp_path / "backup")
        run(finished)
        with h5py.File(EpochBackup(tmp_path / "backup").newest, "r+") as file:
            del file["optimizer/vars/3"]
        start, weights = run(3)
        assert start == resumed
        for a, b in zip(uninterrupted, weights, strict=True):
            np.testing.assert_array_equal(a, b)


def test_sigterm_ends_as_ctrl_c_does(capsys, monkeypatch):
    import signal

    def killed(options):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("not reached")

    monkeypatch.setattr(sys.modules["keras_sda.cli.main"], "_evaluate", killed)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["evaluate", "model.keras"]) == 143
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("keras-sda: error: terminated") and "--resume" in line
    assert signal.getsignal(signal.SIGTERM) is before
