"""The manifest of a run: what may go on, with what, and beside whom."""

import dataclasses
import json
import pathlib

import pytest

from keras_sda.runs import Run
from keras_sda.runs.manifest import Manifest, StageEntry
from keras_sda.utils import InvalidInputError


def test_what_is_written_is_read(tmp_path):
    manifest = Manifest(
        "keras-sda prune", {"seed": 1}, {"model": "ab"}, ["backup"],
        {"pruning": {"steps": 2}}, {"step1": StageEntry(3, ["model.keras"], True)},
    )  # fmt: skip
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"layout": 2}, "holds a run of layout 2; this version .* layout 1 alone"),
        ({"files": ["../mine"]}, "run.json is damaged .*no name of a file"),
        ({"stages": {"..": {}}}, "run.json is damaged .*no name of a file"),
        ({"stages": {"a": {"models": ["/etc"]}}}, "no name of a file"),
        ({"stages": {"a": {"epochs": "3"}}}, "stages.a.epochs must be int"),
    ],
)
def test_manifests_that_cannot_be_used(changes, text, tmp_path):
    content = {**dataclasses.asdict(Manifest("mine")), **changes}
    (tmp_path / "run.json").write_text(json.dumps(content))
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(InvalidInputError, match=text):
        Run(tmp_path, "mine").opened().__enter__()
    assert (tmp_path / "run.json").read_bytes() == before


def test_settings_bind_what_is_finished(tmp_path):
    with Run(tmp_path, "mine").opened() as run:
        run.settle("call", {"rate": 0.5, "where": pathlib.Path("a"), "of": {"b", "a"}})
        stage = run.stage("first", {"epochs": 1})
        stage.note(planned=True)
    with Run(tmp_path, "mine").opened() as run:
        run.settle("call", {"rate": 0.5, "where": "a", "of": ["a", "b"]})
        run.stage("first", {"epochs": 1})
        assert run.stage("first").fact("planned", bool)
        # Nothing is finished: what was noted goes.
        run.settle("call", {"rate": 0.7, "where": "a"})
        stage = run.stage("first", {"epochs": 2})
        assert stage.fact("planned", bool) is None
        stage.backup.folder.mkdir()
        (stage.backup.folder / "epoch0001.weights.h5").write_bytes(b"x")
        for name, settings, is_stage in (
            ("call", {"rate": 0.9, "where": "a"}, False),
            ("first", {"epochs": 3}, True),
        ):
            with pytest.raises(InvalidInputError, match="was .*, now .*Repeat the"):
                run.settle(name, settings, is_stage)
        # Another stage has settings of its own.
        run.stage("second", {"epochs": 3})
        run.stage("second", {"epochs": 4})


def test_functions_and_objects_in_settings_have_names(tmp_path):
    class Criterion:
        name = "mine"

    def score(group):
        return group

    values = [Criterion(), score]
    for _ in range(2):
        with Run(tmp_path, "mine").opened() as run:
            run.settle("call", {"values": values})
    (text,) = [str(x) for x in run.manifest.settings.values()]
    assert "Criterion mine" in text and "score" in text and "0x" not in text


def test_one_run_of_one_command(tmp_path):
    with Run(tmp_path, "mine").opened() as run:
        run.settle("call", {})
        assert Run.of(run, "another") is run
        with run.opened() as again:
            assert again is run
    with pytest.raises(InvalidInputError, match="of `mine`, not of `another`"):
        Run.of(tmp_path, "another").opened().__enter__()


def test_the_end_of_a_run(tmp_path):
    run = Run(tmp_path, "mine", work="backup")
    with run.opened():
        run.stage("first").note(rate=0.5)
        (run.work / "first").mkdir(parents=True)
        run.finish()
    assert Manifest.read(tmp_path).finished and not run.work.exists()
