import dataclasses
import json

import keras
import pytest

from keras_sda.runs.epoch_backup import EpochBackup
from keras_sda.runs.manifest import Manifest
from keras_sda.runs.output_folder import check_output, claim_output, command_run
from keras_sda.runs.run import Run
from keras_sda.training import (
    PruneOptions,
    SearchOptions,
    TrainOptions,
    resumed_options,
)
from keras_sda.utils import InvalidInputError


def claim(options, inputs=None):
    return claim_output(command_run(options), options, inputs)


@pytest.fixture
def run(tmp_path):
    """A folder with a run that was interrupted before its first backup."""
    options = TrainOptions(output=str(tmp_path / "run"), epochs=4, seed=2, strict=True)
    check_output(options)
    with claim(options):
        pass
    return options


def test_only_runs_are_overwritten(tmp_path):
    for name in ("logs", "backup"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("x")
    for options in ({}, {"overwrite": True}):
        with pytest.raises(InvalidInputError, match="other files.*new folder") as error:
            check_output(TrainOptions(output=str(tmp_path), **options))
        assert "--" not in str(error.value)
    (tmp_path / "options.json").write_text('{"mine": 1}')
    with pytest.raises(InvalidInputError, match="other files"):
        check_output(TrainOptions(output=str(tmp_path), overwrite=True))
    with Run(tmp_path, "ChannelSearch").opened() as other:
        other.settle("weights", {"epochs": 1})  # a call from Python is no command
    with pytest.raises(InvalidInputError, match="other files"):
        check_output(TrainOptions(output=str(tmp_path), overwrite=True))
    assert (tmp_path / "logs" / "mine.txt").is_file()


def test_checking_makes_no_folder(tmp_path):
    options = TrainOptions(output=str(tmp_path / "a" / "b"))
    assert not check_output(options).exists() and not list(tmp_path.iterdir())


def test_failure_before_the_first_backup_leaves_nothing(tmp_path):
    for output in (tmp_path / "a" / "b", tmp_path):
        options = TrainOptions(output=str(output))
        with pytest.raises(ValueError), claim(options):
            (output / "logs").mkdir()
            raise ValueError
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_what_can_be_resumed_is_kept(failure, tmp_path):
    options = TrainOptions(output=str(tmp_path))
    run = command_run(options)
    with pytest.raises(failure), claim_output(run, options):
        if failure is ValueError:
            model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
            run.stage("training").backup.save(model, 1)
        raise failure
    assert (tmp_path / "run.json").is_file()


def test_failed_overwrite_can_be_repeated(run):
    again = dataclasses.replace(run, overwrite=True)
    check_output(again)
    with pytest.raises(ValueError), claim(again):
        raise ValueError
    check_output(again)


def test_resume_compares_what_shapes_the_result(run):
    free = {"data_dir": "elsewhere", "download": True, "strict": False}
    check_output(dataclasses.replace(run, resume=True, **free))
    for change in (
        {"epochs": 5},
        {"deterministic": True},
        {"strategy": "mirrored", "virtual_devices": 2},
    ):
        with pytest.raises(InvalidInputError) as error:
            check_output(dataclasses.replace(run, resume=True, **change))
        for name, value in change.items():
            assert f"{name} was {getattr(run, name)!r}, now {value!r}" in str(
                error.value
            )


def test_resumed_options(run):
    expected = dataclasses.replace(run, resume=True)
    assert resumed_options(run.output, {}) == expected
    given = {"output": run.output, "data_dir": "moved", "resume": True}
    options = resumed_options(run.output, given)
    assert options == dataclasses.replace(expected, data_dir="moved")
    check_output(options)
    with pytest.raises(InvalidInputError, match="seed was 2, now 3"):
        check_output(resumed_options(run.output, {"seed": 3}))
    with pytest.raises(InvalidInputError, match="sed"):
        resumed_options(run.output, {"sed": 3})
    with pytest.raises(InvalidInputError, match="exclude each other"):
        resumed_options(run.output, {"overwrite": True})


@pytest.mark.parametrize("options_class", [PruneOptions, SearchOptions])
def test_another_command_does_not_resume(run, options_class):
    message = f"`keras-sda train`, not of `keras-sda {options_class.command}`"
    with pytest.raises(InvalidInputError, match=message):
        resumed_options(run.output, {}, options_class)


def test_options_after_overwrite_and_with_damage(run, tmp_path):
    with claim(dataclasses.replace(run, overwrite=True)):
        pass
    assert resumed_options(run.output, {}).overwrite is False
    stored = tmp_path / "run" / "run.json"
    values = json.loads(stored.read_text())
    values["options"]["seed"] = "x"
    for text in ("{", "[]", json.dumps(values)):
        stored.write_text(text)
        with pytest.raises(InvalidInputError, match="damaged"):
            resumed_options(run.output, {})


def test_overwriting_deletes_what_the_manifest_names(run, tmp_path):
    folder = tmp_path / "run"
    for name in ("model.keras", "plan.json", "notes.txt"):
        (folder / name).write_text("x")
    manifest = Manifest.read(folder)
    manifest.finished = True
    manifest.write(folder)
    with claim(dataclasses.replace(run, overwrite=True)):
        assert sorted(path.name for path in folder.iterdir()) == [
            ".lock", "notes.txt", "plan.json", "run.json"
        ]  # fmt: skip
    assert not Manifest.read(folder).finished


def test_a_backup_that_was_not_noted_counts(tmp_path):
    """A kill or a full disk comes between a backup and the manifest."""
    options = TrainOptions(output=str(tmp_path / "run"))
    run = command_run(options)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(OSError), claim_output(run, options):
        stage = run.stage("training")
        stage.note(begun=True)
        EpochBackup(stage.folder).save(model, 1)
        raise OSError(28, "full")
    assert (run.work / "training" / "epoch0001.weights.h5").is_file()


@pytest.mark.parametrize("name", ["", "absent"])
def test_nothing_to_resume(name, tmp_path):
    output = str(tmp_path / name)
    message = "no training run in `output`.*Leave `resume` out"
    with pytest.raises(InvalidInputError, match=message):
        check_output(TrainOptions(output=output, resume=True))
    with pytest.raises(InvalidInputError, match=message):
        resumed_options(output, {})
    assert not list(tmp_path.iterdir())
