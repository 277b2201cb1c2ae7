"""metrics.json: one schema, documented by its fields."""

import dataclasses
import json
import re

import pytest

from keras_sda.runs import RunMetrics
from keras_sda.runs.read_metrics import read_metrics
from keras_sda.utils import InvalidInputError

GIVEN = {
    "command": "prune", "model": "model.keras", "params": 5, "macs": 50,
    "strategy": "one device", "device": "CPU", "versions": {"keras": "3"}, "seed": 0,
    "options": {"macs": 0.5}, "params_before": 9, "macs_before": 90,
}  # fmt: skip


def test_every_field_is_documented():
    section = RunMetrics.__doc__.split("Attributes:")[1].split("Example:")[0]
    documented = re.findall(r"^ {8}(\w+):", section, re.MULTILINE)
    assert documented and sorted(documented) == sorted(
        field.name for field in dataclasses.fields(RunMetrics)
    )


def test_what_is_written_is_read(tmp_path):
    RunMetrics(**GIVEN).write(tmp_path)
    found = read_metrics(tmp_path, "prune")
    assert found == {**GIVEN, "dataset": None, "latency": None}
    assert found == RunMetrics(**GIVEN).to_dict()
    with pytest.raises(TypeError, match="accuracy_after"):
        RunMetrics(**GIVEN, accuracy_after=0.5)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"params": None}, "params must be int, not null"),
        ({"loss": None}, "loss must not be null"),
        ({"accuracy": "high"}, "accuracy must be float or null"),
        ({"accuracy": 0.5}, "lacks accuracy_before, accuracy_pruned"),
        ({"epochs": 0.5}, "epochs must be int or"),
    ],
)
def test_damaged_entries(changes, text, tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({**GIVEN, **changes}))
    with pytest.raises(InvalidInputError, match=text):
        read_metrics(tmp_path, "prune")


def test_entries_of_other_versions_do_not_matter(tmp_path):
    """Results of runs that were made before there was a schema."""
    older = {key: GIVEN[key] for key in ("params", "macs", "options")}
    (tmp_path / "metrics.json").write_text(json.dumps({**older, "gpu": 1}))
    assert read_metrics(tmp_path) == {**older, "gpu": 1}
