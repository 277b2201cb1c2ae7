"""Real interruptions of all commands, as `tools/interrupt_runs.py` makes them."""

import csv
import json
import pathlib

import pytest

PROGRAM = pathlib.Path(__file__).parents[2] / "tools" / "interrupt_runs.py"


@pytest.mark.large
def test_four_interrupted_runs(run_python, tmp_path):
    """Every command and every cause once."""
    result = run_python(
        [PROGRAM, "--runs", "4", "--seed", "1", "--output", tmp_path / "runs"],
        timeout=1800,
    )
    rows = list(csv.DictReader((tmp_path / "runs" / "interrupted.csv").open()))
    assert [row["command"] for row in rows] == ["train", "prune", "search", "group"]
    assert {row["outcome"] for row in rows} <= {"bit-equal", "one line"}, rows
    summary = json.loads((tmp_path / "runs" / "interrupted.json").read_text())
    assert sum(summary["totals"].values()) == 4
    assert "4 interrupted runs" in result.stdout
