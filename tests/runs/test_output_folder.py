import dataclasses
import json

import pytest

from keras_sda.runs.output_folder import check_output, claim_output
from keras_sda.training import (
    PruneOptions,
    SearchOptions,
    TrainOptions,
    resumed_options,
)
from keras_sda.utils import InvalidInputError


@pytest.fixture
def run(tmp_path):
    """A folder with a run that was interrupted before its first backup."""
    options = TrainOptions(output=str(tmp_path / "run"), epochs=4, seed=2, strict=True)
    with claim_output(check_output(options), options):
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
    assert (tmp_path / "logs" / "mine.txt").is_file()


def test_checking_makes_no_folder(tmp_path):
    options = TrainOptions(output=str(tmp_path / "a" / "b"))
    assert not check_output(options).exists() and not list(tmp_path.iterdir())


def test_failure_before_the_first_backup_leaves_nothing(tmp_path):
    for output in (tmp_path / "a" / "b", tmp_path):
        options = TrainOptions(output=str(output))
        with pytest.raises(ValueError), claim_output(output, options):
            (output / "logs").mkdir()
            raise ValueError
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_what_can_be_resumed_is_kept(failure, tmp_path):
    options = TrainOptions(output=str(tmp_path))
    with pytest.raises(failure), claim_output(tmp_path, options):
        if failure is ValueError:
            (tmp_path / "backup").mkdir()
            (tmp_path / "backup" / "latest.weights.h5").write_bytes(b"x")
        raise failure
    assert (tmp_path / "options.json").is_file()


def test_failed_overwrite_can_be_repeated(run):
    again = dataclasses.replace(run, overwrite=True)
    folder = check_output(again)
    with pytest.raises(ValueError), claim_output(folder, again):
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
    with claim_output(tmp_path / "run", dataclasses.replace(run, overwrite=True)):
        pass
    assert resumed_options(run.output, {}).overwrite is False
    stored = tmp_path / "run" / "options.json"
    values = json.loads(stored.read_text())
    for text in ("{", "[]", json.dumps({**values, "seed": "x"})):
        stored.write_text(text)
        with pytest.raises(InvalidInputError, match="damaged"):
            resumed_options(run.output, {})


@pytest.mark.parametrize("name", ["", "absent"])
def test_nothing_to_resume(name, tmp_path):
    output = str(tmp_path / name)
    message = "no training run in `output`.*Leave `resume` out"
    with pytest.raises(InvalidInputError, match=message):
        check_output(TrainOptions(output=output, resume=True))
    with pytest.raises(InvalidInputError, match=message):
        resumed_options(output, {})
    assert not list(tmp_path.iterdir())
